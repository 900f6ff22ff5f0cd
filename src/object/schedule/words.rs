//! A schedule in words, from what it means, not from how it is written.

use std::{fmt, time::Duration};

use super::{
    Kind, Schedule,
    field::{Field, Set},
    names::{self, day_numbers, list, values, weekdays},
    spec::{DayRule, Spec},
};
use crate::object::duration::spell_duration;

/// Up to this many times of day are told one by one.
const MOST_TIMES: u32 = 6;

/// One field in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldWords {
    /// Which field.
    pub field: Field,
    /// How it is written; for a descriptor such as `@daily` how it would be written.
    pub text: String,
    /// What it means.
    pub words: String,
}

impl Schedule {
    /// What the schedule means, in one sentence without an end: `every 5 minutes`,
    /// `at 02:30 on Monday through Friday`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Spec(spec) => describe(spec),
            Kind::Every(delay) => every(*delay),
        }
    }

    /// What each field means; nothing for `@every`, which has no fields.
    #[must_use]
    pub fn field_words(&self) -> Vec<FieldWords> {
        let Kind::Spec(spec) = &self.kind else { return Vec::new() };
        let words = |(field, text): (Field, &String)| FieldWords {
            field,
            text: text.clone(),
            words: field_words(spec, field),
        };
        Field::ALL.into_iter().zip(spec.texts()).map(words).collect()
    }
}

fn every(delay: Duration) -> String {
    let apart = spell_duration(delay);
    let alone = apart.strip_prefix("1 ").filter(|unit| !unit.contains(' '));
    let every = format!("every {}", alone.unwrap_or(&apart));
    if delay < Duration::from_secs(60) {
        // The name of a job ends in the minute it is due, so the second one is never made.
        return format!("{every}, of which at most one a minute becomes a job");
    }
    every
}

fn describe(spec: &Spec) -> String {
    if spec.minutes.is_empty() || spec.hours.is_empty() || spec.months.is_empty() {
        let empty = Field::ALL.into_iter().find(|field| spec.set(*field).is_empty());
        return format!("never: the {} field is empty", empty.unwrap_or(Field::Minute));
    }
    if !spec.fires() {
        return "never: there is no such day".to_owned();
    }
    let days = match days(spec) {
        // `at 02:30` alone could be taken for once.
        None if at_times(spec).is_some() => Some("every day".to_owned()),
        days => days,
    };
    let times = times(spec);
    days.map_or_else(|| times.clone(), |days| format!("{times} {days}"))
}

fn times(spec: &Spec) -> String {
    if let Some(times) = at_times(spec) {
        return times;
    }
    let minutes = even(spec.minutes, Field::Minute).map(|step| match step {
        1 => "every minute".to_owned(),
        step => format!("every {step} minutes"),
    });
    let on_the_hour = spec.minutes.same_values(Set::of([0]));
    let word = if spec.hours.len() == 1 { "hour" } else { "hours" };
    let these_hours = format!("the {word} {}", values(spec.hours, |hour| format!("{hour:02}")));
    match (minutes, even(spec.hours, Field::Hour)) {
        (Some(minutes), Some(1)) => minutes,
        (Some(minutes), _) => format!("{minutes} of {these_hours}"),
        (None, Some(1)) if on_the_hour => "on the hour, every hour".to_owned(),
        (None, Some(1)) => format!("{} every hour", past(spec.minutes)),
        (None, Some(step)) if on_the_hour => format!("on the hour, every {step} hours from 00:00 on"),
        (None, Some(step)) => format!("{}, every {step} hours from 00:00 on", past(spec.minutes)),
        (None, None) if on_the_hour => format!("on the hour, in {these_hours}"),
        (None, None) => format!("{} {these_hours}", past(spec.minutes)),
    }
}

/// `at 02:30`, `at 09:00, 12:00 and 15:00`, when there are few enough times in a day.
fn at_times(spec: &Spec) -> Option<String> {
    let few = spec.minutes.len() * spec.hours.len() <= MOST_TIMES;
    few.then(|| {
        let minutes = spec.minutes;
        let times = spec.hours.iter().flat_map(|hour| minutes.iter().map(move |m| (hour, m)));
        let times = times.map(|(hour, minute)| format!("{hour:02}:{minute:02}"));
        format!("at {}", list(times.collect()))
    })
}

/// `at 5 minutes past`.
fn past(minutes: Set) -> String {
    let word = if minutes.same_values(Set::of([1])) { "minute" } else { "minutes" };
    format!("at {} {word} past", values(minutes, |minute| minute.to_string()))
}

/// None for every day.
fn days(spec: &Spec) -> Option<String> {
    let all_months = spec.months.same_values(Field::Month.full());
    let months = names::months(spec.months);
    let of_month = || day_numbers(spec.days_of_month);
    let of_week = || weekdays(spec.days_of_week);
    let days = match spec.day_rule() {
        DayRule::Every | DayRule::Never if all_months => return None,
        DayRule::Every | DayRule::Never => return Some(format!("every day in {months}")),
        DayRule::OfMonth => format!("on {}", of_month()),
        DayRule::OfWeek => format!("on {}", of_week()),
        DayRule::Either => format!("on {} and also on every {}", of_month(), of_week()),
    };
    let of = match spec.day_rule() {
        DayRule::OfMonth => "of",
        _ => "in",
    };
    Some(match (all_months, spec.day_rule()) {
        (true, DayRule::OfWeek) => days,
        (true, DayRule::OfMonth) => format!("{days} of the month"),
        (true, _) => days.replacen(" and also", " of the month and also", 1),
        (false, _) => format!("{days} {of} {months}"),
    })
}

fn field_words(spec: &Spec, field: Field) -> String {
    let set = spec.set(field);
    if set.is_empty() {
        return "nothing at all".to_owned();
    }
    if set.same_values(field.full()) {
        return match field {
            Field::Minute => "every minute",
            Field::Hour => "every hour",
            Field::Month => "every month",
            Field::DayOfMonth | Field::DayOfWeek if set.has_star() => "any day",
            // Without a star the other day field can't narrow it down.
            Field::DayOfMonth | Field::DayOfWeek => "every day, whatever the other day field says",
        }
        .to_owned();
    }
    let either = spec.day_rule() == DayRule::Either;
    let words = match field {
        Field::Minute => {
            let word = if set.len() == 1 { "minute" } else { "minutes" };
            format!("{word} {}", values(set, |minute| minute.to_string()))
        }
        Field::Hour => {
            let word = if set.len() == 1 { "hour" } else { "hours" };
            format!("{word} {}", values(set, |hour| format!("{hour:02}")))
        }
        Field::DayOfMonth => day_numbers(set),
        Field::Month => names::months(set),
        Field::DayOfWeek => weekdays(set),
    };
    match field {
        Field::DayOfMonth if either => format!("{words}, or the day of the week below"),
        Field::DayOfWeek if either => format!("{words}, or the day of the month above"),
        _ => words,
    }
}

/// The step of a set such as `*/5`, which goes around its field evenly.
pub(super) fn even(set: Set, field: Field) -> Option<u32> {
    let size = field.highest() + 1 - field.lowest();
    let step = set.even_step()?;
    (set.first() == Some(field.lowest()) && size.is_multiple_of(step) && set.len() * step == size)
        .then_some(step)
}

/// `288 runs a day`; `at most 2 runs a day, 104.35 a year`.
pub(super) fn runs_per_day(f: &mut fmt::Formatter<'_>, most: u64, average: f64) -> fmt::Result {
    let runs = if most == 1 { "run" } else { "runs" };
    // A day has at most 86,400 runs; an average that is short of all of them shows.
    match u32::try_from(most).map(f64::from) {
        Ok(0.0) => f.write_str("no runs"),
        Ok(most) if (most - average).abs() < 1e-6 => write!(f, "{most} {runs} a day"),
        _ if average < 1.0 => {
            write!(f, "at most {most} {runs} a day, {:.2} a year on average", average * 365.2425)
        }
        _ => write!(f, "at most {most} {runs} a day, {average:.2} on average"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_means() {
        for (schedule, words) in [
            ("* * * * *", "every minute"),
            ("*/1 * * * *", "every minute"),
            ("*/5 * * * *", "every 5 minutes"),
            ("0-59/30 * * * *", "every 30 minutes"),
            ("*/7 * * * *", "at 0, 7, 14, 21, 28, 35, 42, 49 and 56 minutes past every hour"),
            ("59,0 * * * *", "at 0 and 59 minutes past every hour"),
            ("*/90 * * * *", "on the hour, every hour"),
            ("1 * * * *", "at 1 minute past every hour"),
            ("@hourly", "on the hour, every hour"),
            ("30 2 * * 1-5", "at 02:30 on Monday through Friday"),
            ("30 2 * * *", "at 02:30 every day"),
            ("0 */6 * * *", "at 00:00, 06:00, 12:00 and 18:00 every day"),
            ("0 */2 * * *", "on the hour, every 2 hours from 00:00 on"),
            ("7 */3 * * *", "at 7 minutes past, every 3 hours from 00:00 on"),
            ("0 8-17 * * 1", "on the hour, in the hours 08 through 17 on Monday"),
            ("15 8-17 * * 1", "at 15 minutes past the hours 08 through 17 on Monday"),
            ("*/5 9-16 * * *", "every 5 minutes of the hours 09 through 16"),
            ("* 2 * * *", "every minute of the hour 02"),
            ("0 0 13 * 5", "at 00:00 on day 13 of the month and also on every Friday"),
            ("0 0 13 2 5", "at 00:00 on day 13 and also on every Friday in February"),
            ("0 0 1,15-17 * *", "at 00:00 on days 1 and 15 through 17 of the month"),
            ("0 0 1 jan/3 *", "at 00:00 on day 1 of January, April, July and October"),
            ("0 0 * 6-8 *", "at 00:00 every day in June through August"),
            ("0 0 29 2 *", "at 00:00 on day 29 of February"),
            ("0 0 30 2 *", "never: there is no such day"),
            (", * * * *", "never: the minute field is empty"),
            ("@every 5m", "every 5 minutes"),
            ("@every 1h", "every hour"),
            ("@every 90s", "every 1 minute 30 seconds"),
            ("@every 1ns", "every second, of which at most one a minute becomes a job"),
        ] {
            let described = Schedule::parse(schedule).unwrap().describe();
            assert_eq!(described, words, "{schedule}");
        }
    }

    #[test]
    fn fields_one_by_one() {
        let words = |text: &str| -> Vec<String> {
            let words = Schedule::parse(text).unwrap().field_words();
            words.into_iter().map(|field| field.words).collect()
        };
        assert_eq!(
            words("*/20 9-17 13 * 5"),
            [
                "minutes 0, 20 and 40",
                "hours 09 through 17",
                "day 13, or the day of the week below",
                "every month",
                "Friday, or the day of the month above"
            ]
        );
        assert_eq!(words("@weekly")[4], "Sunday");
        assert_eq!(words(", * 1-31 * *")[0], "nothing at all");
        assert_eq!(words("@every 5m"), [] as [String; 0]);
    }

    #[test]
    fn runs_per_day_in_words() {
        for (schedule, words) in [
            ("*/5 * * * *", "288 runs a day"),
            ("0 0 * * *", "1 run a day"),
            ("0 0,12 * * 1", "at most 2 runs a day, 104.35 a year on average"),
            ("0 * * * 1-5", "at most 24 runs a day, 17.14 on average"),
            ("@every 7m", "at most 206 runs a day, 205.71 on average"),
            ("0 0 30 2 *", "no runs"),
        ] {
            assert_eq!(Schedule::parse(schedule).unwrap().runs_per_day().to_string(), words);
        }
    }
}
