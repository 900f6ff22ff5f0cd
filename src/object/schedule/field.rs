//! One of the five fields: what may stand in it, and the set of values it stands for.

use std::fmt;

use super::error::{FieldProblem, ScheduleError, excerpt};

/// A field of a schedule, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 12, or `jan` to `dec` in any case.
    Month,
    /// 0 (Sunday) to 6, or `sun` to `sat` in any case. Not 7.
    DayOfWeek,
}

/// The values a field stands for, and whether it had a star.
///
/// The star matters for the two day fields alone: with a star in either, a day has to match both,
/// without one it has to match only one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    bits: u64,
    star: bool,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Field {
    /// All five, as they are written.
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::DayOfMonth, Self::Month, Self::DayOfWeek];

    /// The smallest value.
    #[must_use]
    pub const fn lowest(self) -> u32 {
        match self {
            Self::Minute | Self::Hour | Self::DayOfWeek => 0,
            Self::DayOfMonth | Self::Month => 1,
        }
    }

    /// The largest value.
    #[must_use]
    pub const fn highest(self) -> u32 {
        match self {
            Self::Minute => 59,
            Self::Hour => 23,
            Self::DayOfMonth => 31,
            Self::Month => 12,
            Self::DayOfWeek => 6,
        }
    }

    /// Every value of the field.
    #[must_use]
    pub fn full(self) -> Set {
        Set::of(self.lowest()..=self.highest())
    }

    /// Reads a field: a comma list of `value`, `from-to` or `*`, each with an optional `/step`.
    ///
    /// Empty items are dropped, so `,` is a valid field that stands for nothing at all.
    pub(super) fn parse(self, text: &str) -> Result<Set, ScheduleError> {
        text.split(',').filter(|item| !item.is_empty()).try_fold(Set::default(), |set, item| {
            let found = self.parse_item(item).map_err(|problem| ScheduleError::Field {
                field: self,
                item: excerpt(item),
                problem,
            })?;
            Ok(Set { bits: set.bits | found.bits, star: set.star || found.star })
        })
    }

    fn parse_item(self, item: &str) -> Result<Set, FieldProblem> {
        let (range, step_text) = match item.split_once('/') {
            None => (item, None),
            Some((_, step)) if step.contains('/') => return Err(FieldProblem::TwoSlashes),
            Some((range, step)) => (range, Some(step)),
        };
        let (first, last) = match range.split_once('-') {
            None => (range, None),
            Some((first, last)) => (first, Some(last)),
        };

        // After a star whatever follows a hyphen is ignored: `*-foo` is valid, and is `*`.
        let star = matches!(first, "*" | "?");
        let (from, to) = if star {
            (self.lowest().into(), self.highest().into())
        } else {
            let from = self.value(first)?;
            let to = match last {
                Some(last) if last.contains('-') => return Err(FieldProblem::TwoHyphens),
                Some(last) => self.value(last)?,
                // `5/15` means `5-59/15`.
                None if step_text.is_some() => self.highest().into(),
                None => from,
            };
            (from, to)
        };
        let step = step_text.map_or(Ok(1), number)?;

        if from < u64::from(self.lowest()) {
            return Err(FieldProblem::Below { value: from, lowest: self.lowest() });
        }
        if to > u64::from(self.highest()) {
            let (value, highest) = (to, self.highest());
            return Err(FieldProblem::Above { value, highest, sunday: self.is_sunday(value) });
        }
        if from > to {
            let ends = (from, to, self.lowest(), self.highest());
            return Err(FieldProblem::Backwards { ends });
        }
        if step == 0 {
            return Err(FieldProblem::ZeroStep);
        }
        // Both ends are within the field by now, so at most 60 values; a step beyond them leaves
        // the first value alone.
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let bits = (from..=to).step_by(step).fold(0, |bits, value| bits | 1 << value);
        Ok(Set { bits, star: star && step == 1 })
    }

    fn value(self, text: &str) -> Result<u64, FieldProblem> {
        let names: &[&str] = match self {
            Self::Month => &MONTHS,
            Self::DayOfWeek => &WEEKDAYS,
            Self::Minute | Self::Hour | Self::DayOfMonth => &[],
        };
        let value = (self.lowest()..).zip(names).find(|(_, name)| is_name(text, name));
        value.map_or_else(|| number(text), |(value, _)| Ok(value.into()))
    }

    fn is_sunday(self, value: u64) -> bool {
        self == Self::DayOfWeek && value == 7
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day-of-month",
            Self::Month => "month",
            Self::DayOfWeek => "day-of-week",
        })
    }
}

impl Set {
    /// The set of these values, without a star; values beyond 63 are left out.
    pub(super) fn of(values: impl IntoIterator<Item = u32>) -> Self {
        let bit = |value| 1_u64.checked_shl(value).unwrap_or(0);
        Self { bits: values.into_iter().fold(0, |bits, value| bits | bit(value)), star: false }
    }

    /// Whether the field had a `*` or `?` that counts: a step above one makes it not count.
    #[must_use]
    pub const fn has_star(self) -> bool {
        self.star
    }

    /// Whether the value is in the set.
    #[must_use]
    pub const fn contains(self, value: u32) -> bool {
        value < 64 && self.bits & 1 << value != 0
    }

    /// Whether the set is empty, as for the field `,`.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// How many values there are.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.bits.count_ones()
    }

    /// The values as bits: bit 5 is set when 5 is in the set.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.bits
    }

    /// The values in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> + Clone {
        (0..64).filter(move |value| self.contains(*value))
    }

    /// The smallest value.
    #[must_use]
    pub fn first(self) -> Option<u32> {
        (!self.is_empty()).then(|| self.bits.trailing_zeros())
    }

    /// The largest value.
    #[must_use]
    pub fn last(self) -> Option<u32> {
        (!self.is_empty()).then(|| 63 - self.bits.leading_zeros())
    }

    /// Neighbouring values.
    pub(super) fn pairs(self) -> impl Iterator<Item = (u32, u32)> + Clone {
        self.iter().zip(self.iter().skip(1))
    }

    /// Whether both sets hold the same values, stars aside.
    pub(super) const fn same_values(self, other: Self) -> bool {
        self.bits == other.bits
    }

    /// The distance between neighbours when it is the same for all (of at least two) values.
    pub(super) fn even_step(self) -> Option<u32> {
        let mut steps = self.pairs().map(|(one, next)| next - one);
        let step = steps.next()?;
        steps.all(|other| other == step).then_some(step)
    }
}

/// Whether `text` is this name in any case.
///
/// Go's lower-casing goes rune by rune, and turns U+0130 (capital I with a dot) into a plain `i`:
/// `FRİ` is Friday. Rust's gives two characters there, so it is done by hand.
fn is_name(text: &str, name: &str) -> bool {
    let lower = |c: char| if c == '\u{130}' { 'i' } else { c.to_ascii_lowercase() };
    text.chars().map(lower).eq(name.chars())
}

/// Go's `Atoi` for values that must not be negative: a sign and leading zeros are fine, anything
/// beyond 63 bits is not.
fn number(text: &str) -> Result<u64, FieldProblem> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FieldProblem::NotANumber(excerpt(text)));
    }
    // Only overflow is left to go wrong here.
    let value: i64 = digits.parse().map_err(|_| FieldProblem::Huge(excerpt(text)))?;
    if negative && value > 0 {
        return Err(FieldProblem::Negative(value));
    }
    Ok(value.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(field: Field, text: &str) -> Vec<u32> {
        field.parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).iter().collect()
    }

    #[test]
    fn reads_lists_ranges_and_steps() {
        assert_eq!(values(Field::Minute, "59,0"), [0, 59]);
        assert_eq!(values(Field::Minute, "*/7"), [0, 7, 14, 21, 28, 35, 42, 49, 56]);
        assert_eq!(values(Field::Minute, "50/4"), [50, 54, 58]);
        assert_eq!(values(Field::Minute, "10-40/20"), [10, 30]);
        assert_eq!(values(Field::Minute, "+5,007"), [5, 7]);
        assert_eq!(values(Field::Minute, "*/9223372036854775807"), [0]);
        assert_eq!(values(Field::Minute, ",,"), [] as [u32; 0]);
        assert_eq!(values(Field::Month, "jan/3"), [1, 4, 7, 10]);
        assert_eq!(values(Field::DayOfWeek, "FR\u{130},Mon"), [1, 5]);
        assert_eq!(Field::Hour.parse("*-foo"), Field::Hour.parse("?"));
    }

    #[test]
    fn a_star_survives_step_one_only() {
        for (text, star) in [("*", true), ("?", true), ("*/1", true), ("*/2", false), ("5,*", true)] {
            assert_eq!(Field::DayOfMonth.parse(text).map(Set::has_star), Ok(star), "{text}");
        }
        assert_eq!(Field::DayOfMonth.parse("1-31").map(Set::has_star), Ok(false));
    }

    #[test]
    fn errors_say_how_to_mend() {
        let error = |field: Field, text: &str| field.parse(text).unwrap_err().to_string();
        for (field, text, says) in [
            (Field::DayOfWeek, "7", "write 0"),
            (Field::Hour, "22-2", "`22-23,0-2`"),
            (Field::Hour, "24", "0 to 23"),
            (Field::DayOfMonth, "0", "1 or more"),
            (Field::Minute, "*/0", "at least 1"),
            (Field::Minute, "*/-1", "negative"),
            (Field::Minute, "*/5/5", "one `/`"),
            (Field::Minute, "1-2-3", "one `-`"),
            (Field::Minute, "*/9223372036854775808", "too large"),
            (Field::Minute, "/5", "before"),
            (Field::DayOfMonth, "L", "`L`"),
        ] {
            let message = error(field, text);
            assert!(message.contains(says), "{text}: {message}");
            assert!(message.contains(&field.to_string()), "{text}: {message}");
        }
    }
}
