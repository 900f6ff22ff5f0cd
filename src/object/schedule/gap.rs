//! The smallest and the largest gap between two runs, in closed form.
//!
//! No sampling: all firings of a schedule lie on some days, at the same times on each of them. So
//! a gap is one of three things, and the smallest and largest of each are known at once:
//!
//! * between two neighbouring minutes of one hour,
//! * from the last minute of one hour to the first minute of the next hour of the same day,
//! * from the last time of one day to the first time of the next day.
//!
//! All of it is without daylight saving time. Where clocks are moved, a real gap can be shorter
//! once a year (a weekly job at 01:30 in New York runs twice within an hour in November) or longer;
//! a limit that counted those would forbid weekly jobs.

use std::{fmt, time::Duration};

use jiff::civil::DateTime;

use super::{
    days::{Days, date},
    field::Field,
    spec::{DayRule, Spec},
    words,
};
use crate::object::duration::spell_duration;

const MINUTES_PER_DAY: u32 = 1_440;

/// The time between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The schedule never fires.
    Never,
    /// All gaps are the same.
    Even {
        /// How far any two runs are apart.
        apart: Duration,
    },
    /// One of several gaps, and two runs between which it occurs.
    Between {
        /// How far these two runs are apart.
        apart: Duration,
        /// The earlier run.
        first: Moment,
        /// The run after it.
        second: Moment,
    },
}

/// A run on a wall clock, with as much of the date as matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// An example of it: the same recurs every hour, day, week, year or cycle of years.
    pub at: DateTime,
    /// What is the same whenever it recurs.
    pub detail: Detail,
}

/// How much of a date matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The minute: it recurs in several hours.
    Minute,
    /// The time: it recurs on several days.
    Time,
    /// The time and the weekday.
    Weekday,
    /// The time, the day and the month.
    Date,
    /// Everything, including the year.
    Full,
}

/// How often a schedule runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunsPerDay {
    /// On a day on which it runs.
    pub most: u64,
    /// Over all days of the calendar.
    pub average: f64,
}

/// The smallest and the largest gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gaps {
    /// The smallest.
    pub min: Gap,
    /// The largest. That of `0 0 29 2 *` is eight years, around 2100.
    pub max: Gap,
}

/// A gap before it is known how to tell it.
#[derive(Clone, Copy)]
struct Step {
    minutes: u32,
    from: Time,
    to: Time,
    detail: Detail,
}

#[derive(Clone, Copy)]
struct Time {
    day: u32,
    hour: u32,
    minute: u32,
}

impl Gap {
    /// How far the two runs are apart; none for a schedule that never fires.
    #[must_use]
    pub const fn apart(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Even { apart } | Self::Between { apart, .. } => Some(apart),
        }
    }

    /// Both runs and their distance: `59 minutes past and on the hour: 1 minute apart`.
    #[must_use]
    pub fn explain(self) -> String {
        match (self.apart().map(spell_duration), self.runs()) {
            (None, _) => "it never fires".to_owned(),
            (Some(apart), None) => format!("always {apart} apart"),
            (Some(apart), Some(runs)) => format!("{runs}: {apart} apart"),
        }
    }

    /// Both runs, where not any two will do: `59 minutes past and on the hour`.
    #[must_use]
    pub fn runs(self) -> Option<String> {
        let Self::Between { first, second, .. } = self else { return None };
        let next_day = first.detail == Detail::Time && first.at.date() != second.at.date();
        Some(format!("{first} and {second}{}", if next_day { " the next day" } else { "" }))
    }
}

impl Gaps {
    pub(super) const NEVER: Self = Self { min: Gap::Never, max: Gap::Never };

    pub(super) const fn even(apart: Duration) -> Self {
        Self { min: Gap::Even { apart }, max: Gap::Even { apart } }
    }

    pub(super) fn of(spec: &Spec) -> Self {
        Self::find(spec).unwrap_or(Self::NEVER)
    }

    fn find(spec: &Spec) -> Option<Self> {
        let days = Days::of(spec)?;
        let (first_minute, last_minute) = (spec.minutes.first()?, spec.minutes.last()?);
        let (first_hour, last_hour) = (spec.hours.first()?, spec.hours.last()?);
        let day = days.first;
        let time = |day, hour, minute| Time { day, hour, minute };

        let several_hours = if spec.hours.len() > 1 { Detail::Minute } else { Detail::Time };
        let within_hours = spec.minutes.pairs().map(|(one, next)| Step {
            minutes: next - one,
            from: time(day, first_hour, one),
            to: time(day, first_hour, next),
            detail: several_hours,
        });
        let every_hour = spec.hours.same_values(Field::Hour.full());
        let between_hours = spec.hours.pairs().map(|(one, next)| Step {
            minutes: (next - one) * 60 + first_minute - last_minute,
            from: time(day, one, last_minute),
            to: time(day, next, first_minute),
            detail: if every_hour { Detail::Minute } else { Detail::Time },
        });
        let between_days = [days.shortest, days.longest].map(|leap| {
            let to = leap.from + leap.days;
            Step {
                minutes: leap.days * MINUTES_PER_DAY + first_hour * 60 + first_minute
                    - last_hour * 60
                    - last_minute,
                from: time(leap.from, last_hour, last_minute),
                to: time(to, first_hour, first_minute),
                detail: Detail::between_days(spec, leap.from, to),
            }
        });

        // Of equal gaps the one that is told most simply comes first.
        let steps = || within_hours.clone().chain(between_hours.clone()).chain(between_days);
        let min = steps().min_by_key(|step| step.minutes)?;
        let max = steps().min_by_key(|step| u32::MAX - step.minutes)?;
        if min.minutes == max.minutes {
            return Some(Self::even(min.apart()));
        }
        Some(Self { min: min.told(), max: max.told() })
    }
}

impl Step {
    fn apart(self) -> Duration {
        Duration::from_secs(u64::from(self.minutes) * 60)
    }

    fn told(self) -> Gap {
        let Self { from, to, detail, .. } = self;
        let moment = |time: Time| Moment { at: time.at(), detail };
        Gap::Between { apart: self.apart(), first: moment(from), second: moment(to) }
    }
}

impl Time {
    fn at(self) -> DateTime {
        // Hours are below 24 and minutes below 60, so both fit, and are a time of day.
        date(self.day).at(self.hour as i8, self.minute as i8, 0, 0)
    }
}

impl Detail {
    /// What matters of two neighbouring days on which a schedule fires.
    fn between_days(spec: &Spec, from: u32, to: u32) -> Self {
        let (from, to) = (date(from), date(to));
        let all_months = spec.months.same_values(Field::Month.full());
        let same_date = (from.month(), from.day()) == (to.month(), to.day());
        match spec.day_rule() {
            DayRule::Every if all_months => Self::Time,
            DayRule::OfWeek if all_months => Self::Weekday,
            DayRule::Every | DayRule::OfMonth if !same_date => Self::Date,
            _ => Self::Full,
        }
    }
}

impl RunsPerDay {
    pub(super) fn of(spec: &Spec) -> Self {
        let runs = spec.minutes.len() * spec.hours.len();
        let share = Days::of(spec).map_or(0.0, |days| days.share);
        Self { most: if share > 0.0 { runs.into() } else { 0 }, average: f64::from(runs) * share }
    }

    pub(super) fn every(delay: Duration) -> Self {
        // A delay is at least one second.
        let seconds = delay.as_secs().max(1);
        // Jobs are named after the minute that they are due, so one a minute is the most there is.
        let most = 86_400_u64.div_ceil(seconds).min(MINUTES_PER_DAY.into());
        Self { most, average: (86_400.0 / delay.as_secs_f64()).min(f64::from(MINUTES_PER_DAY)) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.at.strftime("%H:%M");
        match self.detail {
            Detail::Minute => match self.at.minute() {
                0 => f.write_str("on the hour"),
                1 => f.write_str("1 minute past"),
                minute => write!(f, "{minute} minutes past"),
            },
            Detail::Time => write!(f, "{time}"),
            Detail::Weekday => write!(f, "{time} on {}", self.at.strftime("%A")),
            Detail::Date => write!(f, "{time} on {}", self.at.strftime("%-d %B")),
            Detail::Full => write!(f, "{time} on {}", self.at.strftime("%A %-d %B %Y")),
        }
    }
}

impl fmt::Display for RunsPerDay {
    /// `288 runs a day`, `2 runs a day, on 1 day in 7`, `1 run a day, on 0.27 % of all days`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        words::runs_per_day(f, self.most, self.average)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(text: &str) -> Gaps {
        Gaps::of(&Spec::parse(text).unwrap())
    }

    #[test]
    fn names_both_runs_of_the_smallest_gap() {
        for (schedule, told) in [
            ("59,0 * * * *", "59 minutes past and on the hour: 1 minute apart"),
            ("*/7 * * * *", "56 minutes past and on the hour: 4 minutes apart"),
            ("0,10 9-17 * * *", "on the hour and 10 minutes past: 10 minutes apart"),
            ("0,59 0,23 * * *", "23:59 and 00:00 the next day: 1 minute apart"),
            ("0 */5 * * *", "20:00 and 00:00 the next day: 4 hours apart"),
            ("10,30 2 * * *", "02:10 and 02:30: 20 minutes apart"),
            ("0 23,1 * * 1,2", "23:00 on Monday and 01:00 on Tuesday: 2 hours apart"),
            ("0,59 23,0 31,1 12,1 *", "23:59 on 31 December and 00:00 on 1 January: 1 minute apart"),
            ("0 0 1 * *", "00:00 on 1 February and 00:00 on 1 March: 28 days apart"),
            ("0 0 28,1 2,3 *", "00:00 on 28 February and 00:00 on 1 March: 1 day apart"),
            (
                "0 0 13 * 5",
                "00:00 on Friday 12 January 2024 and 00:00 on Saturday 13 January 2024: 1 day apart",
            ),
            (
                "0 0 1 1 *",
                "00:00 on Wednesday 1 January 2025 and 00:00 on Thursday 1 January 2026: \
                 365 days apart",
            ),
            ("* * * * *", "always 1 minute apart"),
            ("0 0 * * 1", "always 7 days apart"),
            (", * * * *", "it never fires"),
        ] {
            assert_eq!(gaps(schedule).min.explain(), told, "{schedule}");
        }
    }

    #[test]
    fn the_largest_gap_counts_century_years() {
        let max = gaps("0 0 29 2 *").max;
        assert_eq!(max.apart(), Some(Duration::from_secs(2_921 * 86_400)));
        assert!(max.explain().contains("29 February 2096"), "{}", max.explain());
    }
}
