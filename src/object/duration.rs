//! Durations as people write them in policies: `5m`, `1h30m`, `90d`.
//!
//! The notation is Go's, as everywhere in Kubernetes, with `d` for days added, and without what
//! makes no sense as a limit: signs, and units below the millisecond. Reading is exact (integer
//! arithmetic throughout), and printing what was read gives the same duration back, to the millisecond.

use std::time::Duration;

const NANOS_PER_MILLI: u128 = 1_000_000;
const NANOS_PER_SECOND: u128 = 1_000 * NANOS_PER_MILLI;

/// The units, largest first, with their length in nanoseconds. `ms` comes before `m` and `s` so
/// that the first unit a text starts with is the right one.
const UNITS: [(&str, u128); 5] = [
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("ms", NANOS_PER_MILLI),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// There is no text at all.
    #[error("expected a duration such as `5m` or `1h30m`, found nothing")]
    Empty,
    /// A sign in front: a limit is never negative, and `+` adds nothing.
    #[error("expected a duration without a sign, found `{0}`")]
    Signed(String),
    /// A number without a unit, such as `90`.
    #[error(
        "expected a unit (`d`, `h`, `m`, `s` or `ms`) after `{number}`: write `{number}s` or `{number}m`"
    )]
    NoUnit {
        /// The number that stands alone.
        number: String,
    },
    /// Something that is no number where one should be, or no unit where one should be.
    #[error("expected numbers with the units `d`, `h`, `m`, `s` or `ms`, such as `1h30m`, found `{0}`")]
    Unreadable(String),
    /// A unit that comes twice or after a smaller one, such as `30m1h`.
    #[error("expected each unit once, the largest first (`1h30m`), found `{0}`")]
    Order(String),
    /// More than about 584 years.
    #[error("expected at most 213503d, found `{0}`")]
    TooLong(String),
}

/// Reads `5m`, `1h30m`, `1.5h`, `90d`, `0`.
///
/// ```
/// # use std::time::Duration;
/// # use plimsoll::object::duration::parse_duration;
/// assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
/// assert!(parse_duration("90").is_err());
/// ```
///
/// # Errors
///
/// Says what was expected and what was found instead.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text.starts_with(['+', '-']) {
        return Err(DurationError::Signed(excerpt(text)));
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    let mut smallest = u128::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let unreadable = || DurationError::Unreadable(excerpt(text));
        let number = leading(rest, |c| c.is_ascii_digit() || c == '.');
        let after = rest.strip_prefix(number).unwrap_or_default();
        if !number.contains(|c: char| c.is_ascii_digit()) {
            return Err(unreadable());
        }
        if after.is_empty() {
            return Err(DurationError::NoUnit { number: excerpt(number) });
        }
        let (after, unit) = UNITS
            .iter()
            .find_map(|(name, length)| Some((after.strip_prefix(name)?, *length)))
            .ok_or_else(unreadable)?;
        if unit >= smallest {
            return Err(DurationError::Order(excerpt(text)));
        }
        smallest = unit;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return Err(unreadable());
        }
        nanos = digits(whole)
            .and_then(|whole| whole.checked_mul(unit))
            .and_then(|whole| whole.checked_add(part_of(fraction, unit)))
            .and_then(|both| both.checked_add(nanos))
            .ok_or_else(|| DurationError::TooLong(excerpt(text)))?;
        rest = after;
    }
    let nanos = u64::try_from(nanos).map_err(|_| DurationError::TooLong(excerpt(text)))?;
    Ok(Duration::from_nanos(nanos))
}

/// Writes a duration the shortest way: `5m`, `1h30m`, `90d`, `0s`.
///
/// What is below a millisecond can't be written and is left out.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let text: String = split(duration)
        .iter()
        .filter(|(amount, ..)| *amount > 0)
        .map(|(amount, unit, _)| format!("{amount}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Writes a duration in words: `5 minutes`, `1 hour 30 minutes`, `90 days`, `no time`.
#[must_use]
pub fn spell_duration(duration: Duration) -> String {
    let words: Vec<String> = split(duration)
        .iter()
        .filter(|(amount, ..)| *amount > 0)
        .map(|(amount, _, word)| format!("{amount} {word}{}", if *amount == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() { "no time".to_owned() } else { words.join(" ") }
}

fn split(duration: Duration) -> [(u64, &'static str, &'static str); 5] {
    let seconds = duration.as_secs();
    [
        (seconds / 86_400, "d", "day"),
        (seconds / 3_600 % 24, "h", "hour"),
        (seconds / 60 % 60, "m", "minute"),
        (seconds % 60, "s", "second"),
        (u64::from(duration.subsec_millis()), "ms", "millisecond"),
    ]
}

/// The longest beginning of `text` that consists of such characters.
fn leading(text: &str, such: impl Fn(char) -> bool) -> &str {
    text.find(|c| !such(c)).and_then(|end| text.get(..end)).unwrap_or(text)
}

/// The value of a possibly empty run of digits; none when it is too large.
fn digits(text: &str) -> Option<u128> {
    text.bytes().try_fold(0_u128, |value, digit| {
        value.checked_mul(10)?.checked_add(u128::from(digit.saturating_sub(b'0')))
    })
}

/// `0.<fraction>` of a unit in nanoseconds; what is below a nanosecond is cut off.
fn part_of(fraction: &str, unit: u128) -> u128 {
    // Fifteen places are more than a nanosecond of a day needs, and keep the product in 128 bits.
    let places = fraction.bytes().take(15);
    let (value, scale) = places.fold((0, 1), |(value, scale): (u128, u128), digit| {
        (value * 10 + u128::from(digit.saturating_sub(b'0')), scale * 10)
    });
    value * unit / scale
}

fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> u64 {
        parse_duration(text).unwrap_or_else(|e| panic!("{text}: {e}")).as_secs()
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(seconds("5m"), 300);
        assert_eq!(seconds("1h30m"), 5_400);
        assert_eq!(seconds("1.5h"), 5_400);
        assert_eq!(seconds(".5h"), 1_800);
        assert_eq!(seconds("90d"), 7_776_000);
        assert_eq!(seconds("0"), 0);
        assert_eq!(seconds("0s"), 0);
        assert_eq!(parse_duration("1s500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_duration("1.0000000019s"), Ok(Duration::from_nanos(1_000_000_001)));
    }

    #[test]
    fn refuses_with_a_way_out() {
        let text = |text: &str| parse_duration(text).unwrap_err().to_string();
        assert!(text("90").ends_with("write `90s` or `90m`"), "{}", text("90"));
        assert!(text("5m30").contains("after `30`"));
        assert!(text("-5m").contains("without a sign"));
        assert!(text("30m1h").contains("largest first"));
        assert!(text("1h1h").contains("largest first"));
        assert!(text("999999999999d").contains("at most"));
        assert!(text("99999999999999999999999999999999999999999999d").contains("at most"));
        for nonsense in ["m", ".m", "5 m", "5min", "1.2.3s", "1..s", "٥m", "5w", "5M"] {
            assert!(text(nonsense).contains("such as"), "{nonsense}: {}", text(nonsense));
        }
    }

    #[test]
    fn writes_shortest() {
        for text in ["5m", "1h30m", "90d", "1d12h", "1s500ms", "0s"] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Ok(text));
        }
        assert_eq!(spell_duration(Duration::from_secs(60)), "1 minute");
        assert_eq!(spell_duration(Duration::from_secs(5_400)), "1 hour 30 minutes");
        assert_eq!(spell_duration(Duration::ZERO), "no time");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn near_misses_never_panic(text in "[0-9.dhms+-]{0,60}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn what_is_written_reads_back(millis in 0_u64..10_000_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
