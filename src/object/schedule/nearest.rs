//! The nearest schedule whose runs are far enough apart.
//!
//! Nearest means: nothing but times of day changes, and as few of them as possible. A field that
//! goes by steps (`*`, `*/2`) gets the next step that divides the hour or the day; a field that
//! lists values keeps those that are far enough apart. Whatever is proposed has been parsed and
//! measured, so a proposal never fails the same limit again.

use std::time::Duration;

use super::{
    Kind, Schedule,
    field::{Field, Set},
    gap::Gaps,
    names::runs,
    spec::Spec,
    words::even,
};

const DAY: Duration = Duration::from_secs(86_400);

impl Schedule {
    /// The nearest schedule with at least `minimum` between any two runs.
    ///
    /// None when this one passes already or never fires, and when `minimum` is above a day: there
    /// days would have to be chosen, and that is for people to do.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use plimsoll::object::schedule::Schedule;
    /// let five_minutes = Duration::from_secs(300);
    /// let schedule = Schedule::parse("*/1 * * * *")?;
    /// assert_eq!(schedule.nearest_passing(five_minutes).as_deref(), Some("*/5 * * * *"));
    /// # Ok::<(), plimsoll::object::schedule::ScheduleError>(())
    /// ```
    #[must_use]
    pub fn nearest_passing(&self, minimum: Duration) -> Option<String> {
        if self.passes(minimum)? || minimum > DAY {
            return None;
        }
        match &self.kind {
            Kind::Every(_) => {
                let seconds = minimum.as_secs() + u64::from(minimum.subsec_nanos() > 0);
                Self::proposed(format!("@every {}", go_duration(seconds)), minimum)
            }
            Kind::Spec(spec) => {
                let passes = |choice: &Choice| {
                    let gap =
                        spec.at_times(&choice.minute, choice.hour.as_deref()).map(|spec| Gaps::of(&spec));
                    gap.is_some_and(|gaps| gaps.min.apart() >= Some(minimum))
                };
                let choice = candidates(spec, minimum).into_iter().find(passes)?;
                let [_, hour, days @ ..] = spec.texts();
                let times = [&choice.minute, choice.hour.as_ref().unwrap_or(hour)];
                let fields: Vec<&str> = times.into_iter().chain(days).map(String::as_str).collect();
                let prefix = self.prefix().unwrap_or_default();
                Self::proposed(format!("{prefix}{}", fields.join(" ")), minimum)
            }
        }
    }

    /// Whether all gaps are long enough; none when it never fires.
    fn passes(&self, minimum: Duration) -> Option<bool> {
        self.min_gap().apart().map(|apart| apart >= minimum)
    }

    fn proposed(text: String, minimum: Duration) -> Option<String> {
        Self::parse(&text).ok()?.passes(minimum)?.then_some(text)
    }
}

/// A minute and an hour field to try. The other fields, and an hour field that stays, are not read
/// again: each may be as long as an object.
struct Choice {
    minute: String,
    /// None where it stays.
    hour: Option<String>,
}

/// Minute and hour fields to try, the nearest first.
fn candidates(spec: &Spec, minimum: Duration) -> Vec<Choice> {
    let [minute, hour, ..] = spec.texts();
    let minutes_apart = ceiling(minimum, 60);
    let hours_apart = ceiling(minimum, 3_600);
    let fewer_minutes = thinner(spec.minutes, Field::Minute, minute, minutes_apart);
    let fewer_hours = thinner(spec.hours, Field::Hour, hour, hours_apart);

    let one = |set: Set| set.first().map(|value| value.to_string()).unwrap_or_default();
    let (one_minute, one_hour) = (one(spec.minutes), one(spec.hours));
    let mut candidates: Vec<Choice> = Vec::new();
    candidates.extend(fewer_minutes.into_iter().map(|minute| Choice { minute, hour: None }));
    candidates.push(Choice { minute: one_minute.clone(), hour: None });
    let at_one_minute = |hour| Choice { minute: one_minute.clone(), hour: Some(hour) };
    candidates.extend(fewer_hours.into_iter().map(at_one_minute));
    candidates.push(at_one_minute(one_hour));
    candidates
}

/// Texts for a field whose values are at least `apart` from each other.
fn thinner(set: Set, field: Field, text: &str, apart: u32) -> Vec<String> {
    let size = field.highest() + 1;
    let by_steps = text.contains(['*', '?', '/']) && set.first() == Some(0);
    let step = set.even_step().filter(|_| by_steps).unwrap_or(size);
    let steps = (apart.max(step)..size).filter(|step| size.is_multiple_of(*step) && size / step <= set.len());
    let steps = steps.map(|step| format!("*/{step}"));

    // From the first value on, every value that is far enough from the one before; around the
    // end of the field too, or not, when there is nothing after it.
    let mut kept: Vec<u32> = Vec::new();
    for value in set.iter() {
        if kept.last().is_none_or(|last| value - last >= apart) {
            kept.push(value);
        }
    }
    let open = written(Set::of(kept.iter().copied()), field);
    while let (Some(first), Some(last)) = (kept.first(), kept.last())
        && kept.len() > 1
        && first + size - last < apart
    {
        kept.pop();
    }
    let closed = written(Set::of(kept), field);
    steps.chain([open, closed]).collect()
}

/// A field as one would write it: `*/5`, `1-5`, `0-49/7`, `0,30`.
fn written(set: Set, field: Field) -> String {
    match (even(set, field), set.even_step(), set.first(), set.last()) {
        (Some(1), ..) => return "*".to_owned(),
        (Some(step), ..) if set.len() > 2 => return format!("*/{step}"),
        (None, Some(step), Some(first), Some(last)) if step > 1 && set.len() > 3 => {
            return format!("{first}-{last}/{step}");
        }
        _ => {}
    }
    let parts = runs(set).into_iter().map(|(from, to)| match to - from {
        0 => from.to_string(),
        1 => format!("{from},{to}"),
        _ => format!("{from}-{to}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// How many units a duration fills, the last one perhaps in part; at least one.
fn ceiling(duration: Duration, unit_seconds: u64) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    // At most the minutes of a day here.
    u32::try_from(seconds.div_ceil(unit_seconds)).unwrap_or(u32::MAX).max(1)
}

/// A duration as Go reads it, which knows no days.
fn go_duration(seconds: u64) -> String {
    let units = [(seconds / 3_600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let filled = units.into_iter().filter(|(amount, _)| *amount > 0);
    filled.map(|(amount, unit)| format!("{amount}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(schedule: &str, minutes: u64) -> Option<String> {
        Schedule::parse(schedule).unwrap().nearest_passing(Duration::from_secs(minutes * 60))
    }

    #[test]
    fn proposes_what_is_near() {
        for (schedule, minutes, near) in [
            ("* * * * *", 5, "*/5 * * * *"),
            ("*/1 * * * *", 5, "*/5 * * * *"),
            ("*/4 * * * 1-5", 5, "*/5 * * * 1-5"),
            ("*/7 * * * *", 5, "*/10 * * * *"),
            ("* * * * *", 7, "*/10 * * * *"),
            ("*/59 * * * *", 5, "0 * * * *"),
            ("59,0 * * * *", 5, "0 * * * *"),
            ("0,1,30 * * * *", 5, "0,30 * * * *"),
            ("0-10 * * * *", 5, "0,5,10 * * * *"),
            ("0-10 9 * * *", 5, "0,5,10 9 * * *"),
            ("5/10 * * * *", 15, "5,25,45 * * * *"),
            ("0 0/6,0/13 * * *", 61, "0 */6 * * *"),
            ("* 9-17 1 * *", 30, "*/30 9-17 1 * *"),
            ("0,59 0,23 * * *", 5, "0 0,23 * * *"),
            ("*/15 * * * *", 60, "0 * * * *"),
            ("* * * * *", 90, "0 */2 * * *"),
            ("30 1-3 * * *", 90, "30 1,3 * * *"),
            ("0 0,23 * * *", 120, "0 0 * * *"),
            ("@hourly", 120, "0 */2 * * *"),
            ("* * * * *", 1_440, "0 0 * * *"),
            ("@every 1m", 5, "@every 5m"),
            ("@every 10s", 90, "@every 1h30m"),
            ("TZ=Europe/Berlin * * * * *", 5, "TZ=Europe/Berlin */5 * * * *"),
        ] {
            assert_eq!(nearest(schedule, minutes).as_deref(), Some(near), "{schedule} {minutes}");
        }
    }

    #[test]
    fn proposes_nothing_silly() {
        for (schedule, minutes) in
            [("*/5 * * * *", 5), (", * * * *", 5), ("0 0 13 * 5", 2_880), ("* * * * *", 1_441)]
        {
            assert_eq!(nearest(schedule, minutes), None, "{schedule} {minutes}");
        }
    }
}
