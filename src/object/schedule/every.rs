//! `@every <duration>`: a fixed delay, in Go's notation for durations.

use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What a magnitude may reach on the way, for the one negative number that needs it.
const LIMIT: u64 = 1 << 63;

/// Go's units in nanoseconds. Both the micro sign and the Greek mu are microseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
];

/// Why a text is no Go duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EveryError {
    /// Nothing there, or no number where one should be.
    #[error("expected numbers with units such as `1h30m`, after exactly one blank")]
    NoNumber,
    /// A number without a unit.
    #[error("a number lacks its unit (`h`, `m`, `s`, `ms`, `us` or `ns`): write `5m` for 5 minutes")]
    NoUnit,
    /// A unit that Go does not know, such as `d`.
    #[error("a unit is unknown: there are `h`, `m`, `s`, `ms`, `us` and `ns`; a day is `24h`")]
    UnknownUnit,
    /// More than about 292 years.
    #[error("it is longer than 292 years")]
    TooLong,
}

/// The delay of `@every <text>`: whole seconds, at least one.
pub(super) fn parse(text: &str) -> Result<Duration, EveryError> {
    let nanos = go_duration(text)?;
    // Anything below one second, zero and negative ones included, is one second; what is not a
    // whole second is cut off.
    let seconds = u64::try_from(nanos).unwrap_or(0) / NANOS_PER_SECOND;
    Ok(Duration::from_secs(seconds.max(1)))
}

/// Go's `time.ParseDuration`: nanoseconds.
fn go_duration(text: &str) -> Result<i64, EveryError> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(EveryError::NoNumber);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = take(rest, |c| c.is_ascii_digit());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => take(after, |c| c.is_ascii_digit()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(EveryError::NoNumber);
        }
        let (unit, after) = take(after, |c| c != '.' && !c.is_ascii_digit());
        if unit.is_empty() {
            return Err(EveryError::NoUnit);
        }
        let &(_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(EveryError::UnknownUnit)?;

        let whole = whole.bytes().try_fold(0_u64, |value, digit| {
            value.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|v| *v <= LIMIT)
        });
        let value = whole
            .and_then(|whole| whole.checked_mul(unit))
            .and_then(|whole| whole.checked_add(part_of(fraction, unit)))
            .filter(|value| *value <= LIMIT)
            .ok_or(EveryError::TooLong)?;
        total = total.checked_add(value).filter(|v| *v <= LIMIT).ok_or(EveryError::TooLong)?;
        rest = after;
    }
    if negative {
        return Ok(0_i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| EveryError::TooLong)
}

/// `0.<fraction>` of a unit, in floating point as Go does it, so that the rounding is Go's.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn part_of(fraction: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1_f64;
    for digit in fraction.bytes() {
        // Digits that no longer fit 63 bits are ignored.
        let Some(more) = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0'))) else {
            break;
        };
        if more > LIMIT {
            break;
        }
        value = more;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// The longest beginning of such characters, and the rest.
fn take(text: &str, such: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !such(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_go_does() {
        for (text, seconds) in [
            ("1h30m", 5_400),
            ("1.5h", 5_400),
            (".5h", 1_800),
            ("1.h", 3_600),
            ("30m1h30m", 7_200),
            ("0", 1),
            ("-0", 1),
            ("+5m", 300),
            ("-1h", 1),
            ("1ns", 1),
            ("1\u{b5}s", 1),
            ("1999ms", 1),
            ("2540400h", 9_145_440_000),
            ("0.99999999999999999999999999h", 3_600),
            ("-9223372036854775808ns", 1),
            ("9223372036854775807ns", 9_223_372_036),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_as_go_does() {
        for (text, error) in [
            ("", EveryError::NoNumber),
            ("+", EveryError::NoNumber),
            (" 1h", EveryError::NoNumber),
            (".h", EveryError::NoNumber),
            ("90", EveryError::NoUnit),
            ("1.5.5h", EveryError::NoUnit),
            ("1d", EveryError::UnknownUnit),
            ("1h ", EveryError::UnknownUnit),
            ("1H", EveryError::UnknownUnit),
            ("2562048h", EveryError::TooLong),
            ("9223372036854775808ns", EveryError::TooLong),
            ("9223372036854775809ns", EveryError::TooLong),
            ("99999999999999999999999s", EveryError::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
