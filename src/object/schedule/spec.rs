//! Five fields together: which minutes of which days they stand for.

use jiff::civil::{Date, DateTime};

use super::{
    error::ScheduleError,
    field::{Field, Set},
};

/// A schedule of five fields, or a descriptor such as `@daily` that stands for five fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    texts: [String; 5],
    /// The minutes of an hour.
    pub minutes: Set,
    /// The hours of a day.
    pub hours: Set,
    /// The days of a month.
    pub days_of_month: Set,
    /// The months, January being 1.
    pub months: Set,
    /// The days of the week, Sunday being 0.
    pub days_of_week: Set,
}

/// What decides whether a day matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DayRule {
    /// Any day of the months.
    Every,
    /// The day of the month alone.
    OfMonth,
    /// The day of the week alone.
    OfWeek,
    /// Either: both fields are restricted, and a day has to match only one of them.
    Either,
    /// No day at all.
    Never,
}

impl Spec {
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let mut fields = text.split_whitespace();
        let mut next = || fields.next().map(str::to_owned);
        let texts = (next(), next(), next(), next(), next());
        let count = text.split_whitespace().count();
        let (Some(m), Some(h), Some(dom), Some(month), Some(dow)) = texts else {
            return Err(ScheduleError::FieldCount { found: count });
        };
        if count > 5 {
            return Err(ScheduleError::FieldCount { found: count });
        }
        Ok(Self {
            minutes: Field::Minute.parse(&m)?,
            hours: Field::Hour.parse(&h)?,
            days_of_month: Field::DayOfMonth.parse(&dom)?,
            months: Field::Month.parse(&month)?,
            days_of_week: Field::DayOfWeek.parse(&dow)?,
            texts: [m, h, dom, month, dow],
        })
    }

    /// The same days at other times, or, without an hour, in the same hours. It has no texts.
    pub(super) fn at_times(&self, minute: &str, hour: Option<&str>) -> Option<Self> {
        Some(Self {
            texts: Default::default(),
            minutes: Field::Minute.parse(minute).ok()?,
            hours: hour.map_or(Ok(self.hours), |hour| Field::Hour.parse(hour)).ok()?,
            ..*self
        })
    }

    /// The text of each field; for a descriptor the text it stands for.
    #[must_use]
    pub const fn texts(&self) -> &[String; 5] {
        &self.texts
    }

    /// The values of one field.
    #[must_use]
    pub const fn set(&self, field: Field) -> Set {
        match field {
            Field::Minute => self.minutes,
            Field::Hour => self.hours,
            Field::DayOfMonth => self.days_of_month,
            Field::Month => self.months,
            Field::DayOfWeek => self.days_of_week,
        }
    }

    /// Whether it fires on that day, at whatever time.
    #[must_use]
    pub fn matches_day(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset().unsigned_abs().into();
        self.months.contains(date.month().unsigned_abs().into())
            && self.matches_day_number(date.day().unsigned_abs().into(), weekday)
    }

    /// Whether a wall clock that shows this minute makes it fire.
    #[must_use]
    pub fn matches(&self, minute: DateTime) -> bool {
        self.minutes.contains(minute.minute().unsigned_abs().into())
            && self.hours.contains(minute.hour().unsigned_abs().into())
            && self.matches_day(minute.date())
    }

    /// The rule that is often got wrong: a star in either day field makes a day match when both
    /// fields do; without a star one of them is enough.
    pub(super) fn matches_day_number(&self, day: u32, weekday: u32) -> bool {
        let of_month = self.days_of_month.contains(day);
        let of_week = self.days_of_week.contains(weekday);
        if self.days_of_month.has_star() || self.days_of_week.has_star() {
            of_month && of_week
        } else {
            of_month || of_week
        }
    }

    /// Whether it ever fires.
    pub(super) fn fires(&self) -> bool {
        let longest = |month| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let a_day = match self.day_rule() {
            DayRule::Never => false,
            // Every month has all weekdays.
            DayRule::Every | DayRule::OfWeek | DayRule::Either => !self.months.is_empty(),
            DayRule::OfMonth => {
                let earliest = self.days_of_month.first();
                self.months.iter().any(|month| earliest.is_some_and(|day| day <= longest(month)))
            }
        };
        a_day && !self.minutes.is_empty() && !self.hours.is_empty()
    }

    pub(super) fn day_rule(&self) -> DayRule {
        let (of_month, of_week) = (self.days_of_month, self.days_of_week);
        let all_month = of_month.same_values(Field::DayOfMonth.full());
        let all_week = of_week.same_values(Field::DayOfWeek.full());
        if of_month.has_star() || of_week.has_star() {
            // A set with a star is full, so at most one of the two says anything.
            match (all_month, all_week) {
                (true, true) => DayRule::Every,
                (true, false) if of_week.is_empty() => DayRule::Never,
                (true, false) => DayRule::OfWeek,
                (false, _) if of_month.is_empty() => DayRule::Never,
                (false, _) => DayRule::OfMonth,
            }
        } else {
            match (of_month.is_empty(), of_week.is_empty()) {
                _ if all_month || all_week => DayRule::Every,
                (true, true) => DayRule::Never,
                (true, false) => DayRule::OfWeek,
                (false, true) => DayRule::OfMonth,
                (false, false) => DayRule::Either,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_rules() {
        for (days, rule) in [
            ("* * *", DayRule::Every),
            ("13 * *", DayRule::OfMonth),
            ("* * 5", DayRule::OfWeek),
            ("*/1 * 5", DayRule::OfWeek),
            ("5,* * 1", DayRule::OfWeek),
            ("13 * 5", DayRule::Either),
            ("*/2 * 5", DayRule::Either),
            ("1-31 * 5", DayRule::Every),
            ("13 * 0-6", DayRule::Every),
            (", * 1", DayRule::OfWeek),
            (", * *", DayRule::Never),
            (", * ,", DayRule::Never),
            ("* * ,", DayRule::Never),
        ] {
            let spec = Spec::parse(&format!("0 0 {days}")).unwrap();
            assert_eq!(spec.day_rule(), rule, "{days}");
        }
    }
}
