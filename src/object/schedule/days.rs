//! Distances between the days on which a schedule fires, over the whole Gregorian calendar.
//!
//! The calendar repeats after 400 years, to the weekday. A stretch of days is summed up by its
//! first and last matching day and the shortest and longest way between neighbours, and two
//! adjacent stretches sum up to one. So 28 kinds of month make 14 kinds of year, 400 of those make
//! the calendar, and the calendar followed by itself closes the circle: about 600 additions
//! instead of 146,097 days. Where all days match, or weekdays alone count, a day or a week is
//! enough of a calendar.

use jiff::{ToSpan, civil::Date};

use super::{
    field::Field,
    spec::{DayRule, Spec},
};

/// Where the cycle is begun, so that the days named in messages are of our time. It is a Monday.
const FIRST_YEAR: u32 = 2024;
const FIRST_WEEKDAY: u32 = 1;
const FIRST_DAY: Date = jiff::civil::date(2024, 1, 1);

/// The way from one matching day to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leap {
    /// The day it begins, counted from the first day of the stretch.
    pub(super) from: u32,
    /// Its length in days.
    pub(super) days: u32,
}

/// Consecutive days, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stretch {
    days: u32,
    /// How many of the days match.
    matching: u32,
    first: Option<u32>,
    last: Option<u32>,
    shortest: Option<Leap>,
    longest: Option<Leap>,
}

/// All days on which a schedule fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Days {
    /// Which share of all days match.
    pub(super) share: f64,
    /// The first of them.
    pub(super) first: u32,
    pub(super) shortest: Leap,
    pub(super) longest: Leap,
}

impl Days {
    /// None when no day matches.
    pub(super) fn of(spec: &Spec) -> Option<Self> {
        let all_months = spec.months.same_values(Field::Month.full());
        let cycle = match spec.day_rule() {
            DayRule::Never => return None,
            DayRule::Every if all_months => Stretch::default().and_day(true),
            DayRule::OfWeek if all_months => (0..7).fold(Stretch::default(), |week, day| {
                week.and_day(spec.days_of_week.contains((FIRST_WEEKDAY + day) % 7))
            }),
            rule => Stretch::of_calendar(spec, rule != DayRule::OfMonth && rule != DayRule::Every),
        };
        let circle = cycle.then(cycle);
        Some(Self {
            share: f64::from(cycle.matching) / f64::from(cycle.days),
            first: cycle.first?,
            shortest: circle.shortest?,
            longest: circle.longest?,
        })
    }
}

/// The date of a day that is counted from the beginning of the cycle.
pub(super) fn date(day: u32) -> Date {
    // Two cycles reach to the year 2824, well within the calendar.
    FIRST_DAY.saturating_add(i64::from(day).days())
}

impl Stretch {
    fn blank(days: u32) -> Self {
        Self { days, ..Self::default() }
    }

    /// This stretch and the day after it.
    fn and_day(self, matches: bool) -> Self {
        let day = matches.then_some(0);
        self.then(Self { days: 1, matching: matches.into(), first: day, last: day, ..Self::default() })
    }

    /// This stretch and the one after it.
    fn then(self, next: Self) -> Self {
        let shift = |leap: Leap| Leap { from: leap.from + self.days, ..leap };
        let bridge = match (self.last, next.first) {
            (Some(last), Some(first)) => Some(Leap { from: last, days: self.days + first - last }),
            _ => None,
        };
        Self {
            days: self.days + next.days,
            matching: self.matching + next.matching,
            first: self.first.or_else(|| next.first.map(|day| day + self.days)),
            last: next.last.map(|day| day + self.days).or(self.last),
            shortest: shorter(shorter(self.shortest, bridge), next.shortest.map(shift)),
            longest: longer(longer(self.longest, bridge), next.longest.map(shift)),
        }
    }

    fn of_month(spec: &Spec, length: u32, first_weekday: u32) -> Self {
        (1..=length).fold(Self::default(), |month, day| {
            month.and_day(spec.matches_day_number(day, (first_weekday + day - 1) % 7))
        })
    }

    /// The 400 years. Without weekdays to look at there are but four kinds of month.
    fn of_calendar(spec: &Spec, weekdays_count: bool) -> Self {
        // The kinds of month and of year are worked out when they are first met.
        let mut months = [[None; 7]; 4];
        let mut years = [[None; 7]; 2];
        let mut weekday = FIRST_WEEKDAY;
        let mut calendar = Self::default();
        for year in FIRST_YEAR..FIRST_YEAR + 400 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let whole = remembered(&mut years, leap.into(), weekday, || {
                Self::of_year(spec, leap, weekday, &mut months)
            });
            calendar = calendar.then(whole);
            weekday = if weekdays_count { (weekday + whole.days) % 7 } else { weekday };
        }
        calendar
    }

    fn of_year(spec: &Spec, leap: bool, first_weekday: u32, kinds: &mut [[Option<Self>; 7]; 4]) -> Self {
        let months = Field::Month.lowest()..=Field::Month.highest();
        months.fold(Self::default(), |year, month| {
            let length = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            if !spec.months.contains(month) {
                return year.then(Self::blank(length));
            }
            let weekday = (first_weekday + year.days) % 7;
            let month = remembered(kinds, length - 28, weekday, || Self::of_month(spec, length, weekday));
            year.then(month)
        })
    }
}

/// Of equally long ways the earlier is kept.
fn shorter(one: Option<Leap>, next: Option<Leap>) -> Option<Leap> {
    match (one, next) {
        (Some(one), Some(next)) if next.days < one.days => Some(next),
        _ => one.or(next),
    }
}

fn longer(one: Option<Leap>, next: Option<Leap>) -> Option<Leap> {
    match (one, next) {
        (Some(one), Some(next)) if next.days > one.days => Some(next),
        _ => one.or(next),
    }
}

/// One kind of month or year, worked out when it is first asked for.
fn remembered(
    table: &mut [[Option<Stretch>; 7]],
    row: u32,
    weekday: u32,
    work_out: impl FnOnce() -> Stretch,
) -> Stretch {
    let (row, column) = (row as usize, weekday as usize);
    match table.get_mut(row).and_then(|row| row.get_mut(column)) {
        Some(kind) => *kind.get_or_insert_with(work_out),
        None => work_out(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The days of 400 years.
    const CYCLE_DAYS: u32 = 146_097;

    fn days(text: &str) -> Option<Days> {
        Days::of(&Spec::parse(&format!("0 0 {text}")).unwrap())
    }

    #[test]
    fn the_cycle_is_the_calendar() {
        let every = Spec::parse("* * * * *").unwrap();
        assert_eq!(Stretch::of_calendar(&every, true).matching, CYCLE_DAYS);
        assert_eq!(Stretch::of_calendar(&every, false).matching, CYCLE_DAYS);
        assert_eq!(date(CYCLE_DAYS), jiff::civil::date(2424, 1, 1));
        assert_eq!(FIRST_DAY.weekday().to_sunday_zero_offset(), 1);
    }

    #[test]
    fn agrees_with_a_walk_over_every_day() {
        for text in [
            "29 2 *",
            "13 * 5",
            "31 * *",
            "28,1 2,3 *",
            "*/2 * *",
            "* 5 1",
            "29 2 1",
            "* * 5",
            "* 2 *",
            "* * *",
        ] {
            let spec = Spec::parse(&format!("0 0 {text}")).unwrap();
            let all: Vec<u32> = (0..2 * CYCLE_DAYS).filter(|day| spec.matches_day(date(*day))).collect();
            let ways = || all.windows(2).map(|w| w[1] - w[0]);
            let found = days(text).unwrap();
            assert_eq!(Some(found.shortest.days), ways().min(), "{text}");
            assert_eq!(Some(found.longest.days), ways().max(), "{text}");
            assert_eq!(found.first, all[0], "{text}");
            let share = all.len() as f64 / f64::from(2 * CYCLE_DAYS);
            assert!((found.share - share).abs() < 1e-12, "{text}");
            for leap in [found.shortest, found.longest] {
                assert!(all.windows(2).any(|w| w == [leap.from, leap.from + leap.days]), "{text}");
            }
        }
    }

    #[test]
    fn some_days_never_come() {
        assert_eq!(days("30 2 *"), None);
        assert_eq!(days("31 4,6,9,11 *"), None);
        assert_eq!(days(", * *"), None);
    }
}
