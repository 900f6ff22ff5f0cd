//! Why a schedule is refused: where, what, and how to mend it.

use super::{every::EveryError, field::Field, zone::ZoneError};

/// Why a schedule is not valid. Each message is whole: no cause has to be printed behind it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// There is no schedule.
    #[error("expected a schedule such as `*/5 * * * *` or `@daily`, found nothing")]
    Empty,
    /// Not five fields.
    #[error(
        "expected 5 fields (minute, hour, day of month, month, day of week), found {found}{}",
        field_count_hint(*found)
    )]
    FieldCount {
        /// How many there are.
        found: usize,
    },
    /// A field that can't be read.
    #[error("failed to read the {field} field at `{item}`: {problem}")]
    Field {
        /// Which field.
        field: Field,
        /// The item of its comma list.
        item: String,
        /// What is wrong with it.
        problem: FieldProblem,
    },
    /// A word after `@` that is none of the known ones.
    #[error(
        "expected @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or \
         `@every <duration>`, in lower case and with nothing before or after, found `{0}`"
    )]
    UnknownDescriptor(String),
    /// A duration after `@every` that can't be read.
    #[error("failed to read the duration of `@every {text}`: {problem}")]
    Every {
        /// What stands after `@every `.
        text: String,
        /// What is wrong with it.
        problem: EveryError,
    },
    /// `TZ=` without a blank after the zone.
    #[error("expected a blank and a schedule after the time zone, found `{0}` alone")]
    ZoneAlone(String),
    /// A time zone that is not valid, or that we do not know.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// `TZ` somewhere in the schedule.
    #[error("found `TZ` in the schedule: write the time zone into spec.timeZone instead")]
    ZoneInSchedule,
    /// `TZ` in the schedule, and `timeZone` too.
    #[error("found both `TZ` in the schedule and spec.timeZone: take `TZ` out of the schedule")]
    ZoneTwice,
}

/// What is wrong with one item of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldProblem {
    /// Neither a number nor, for months and weekdays, a name.
    #[error("{}", not_a_number(.0))]
    NotANumber(String),
    /// A number below zero.
    #[error("expected no negative number, found -{0}")]
    Negative(i64),
    /// A number beyond 63 bits.
    #[error("the number {0} is too large")]
    Huge(String),
    /// Below the smallest value.
    #[error("expected {lowest} or more, found {value}")]
    Below {
        /// What was found.
        value: u64,
        /// The smallest value.
        lowest: u32,
    },
    /// Above the largest value.
    #[error(
        "expected at most {highest}, found {value}{}",
        if *sunday { "; for Sunday write 0".to_owned() } else { above_hint(*highest) }
    )]
    Above {
        /// What was found.
        value: u64,
        /// The largest value.
        highest: u32,
        /// Whether this is a 7 as the day of the week, which other crons take for Sunday.
        sunday: bool,
    },
    /// A range whose beginning is after its end.
    #[error(
        "a range can't run backwards from {} to {}; write `{}`",
        ends.0, ends.1, around(*ends)
    )]
    Backwards {
        /// From, to, and the smallest and largest value of the field.
        ends: (u64, u64, u32, u32),
    },
    /// More than one `/`.
    #[error("expected at most one `/`")]
    TwoSlashes,
    /// More than one `-`.
    #[error("expected at most one `-`")]
    TwoHyphens,
    /// A step of zero.
    #[error("expected a step of at least 1")]
    ZeroStep,
}

fn field_count_hint(found: usize) -> &'static str {
    match found {
        6 | 7 => "; Kubernetes knows neither seconds nor years",
        0 | 1 => "; a word such as `@daily` must be the first thing in the schedule",
        _ => "",
    }
}

fn above_hint(highest: u32) -> String {
    let lowest = if matches!(highest, 12 | 31) { 1 } else { 0 };
    format!("; it goes from {lowest} to {highest}")
}

/// The two ranges that together go around the end of the field.
fn around((from, to, lowest, highest): (u64, u64, u32, u32)) -> String {
    let range = |from: u64, to: u64| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    // The end may be below the field, as in `5-0` for a day of the month.
    if to < lowest.into() {
        return range(from, highest.into());
    }
    format!("{},{}", range(from, highest.into()), range(lowest.into(), to))
}

fn not_a_number(found: &str) -> String {
    match found {
        "" => "expected a number before and after each `-` and `/`, found nothing".to_owned(),
        _ => format!(
            "expected a number (for months and weekdays also a name of three letters), found \
             `{found}`; `L`, `W`, `#` and `H` are unknown to Kubernetes"
        ),
    }
}

/// At most forty characters of what was found, so that a message stays readable.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
