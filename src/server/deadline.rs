//! How long an answer may take: the API server says so in `?timeout=`.

use std::time::Duration;

use axum::http::Uri;
use tokio::time::Instant;

/// What the API server assumes when nobody says otherwise.
const DEFAULT: Duration = Duration::from_secs(10);
/// The API server never waits longer for admission, so a larger figure is no API server's.
const LONGEST: Duration = Duration::from_secs(34);
/// What travelling back and being read may take, at least.
const MARGIN: Duration = Duration::from_millis(100);

/// The two instants that end a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// When the review should have its answer ready. It may need a little more to write it down.
    pub(super) review: Instant,
    /// When the server answers in its stead, that it took too long.
    pub(super) answer: Instant,
}

impl Deadline {
    /// The deadline of a request that arrived at `arrived`.
    ///
    /// The margin before the client's own end is a tenth of its timeout, 100 ms at the least, and
    /// never more than half of it. The review gets all of the margin off, the server half. A
    /// timeout that can't be read counts as absent: refusing the request for it would let a change
    /// in the API server's spelling stop a cluster.
    pub(super) fn of(uri: &Uri, arrived: Instant) -> Self {
        let timeout = uri
            .query()
            .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("timeout=")))
            .and_then(parse_go_duration)
            .map_or(DEFAULT, |timeout| timeout.min(LONGEST));
        let margin = (timeout / 10).max(MARGIN).min(timeout / 2);
        Self { review: arrived + (timeout - margin), answer: arrived + (timeout - margin / 2) }
    }
}

/// Reads what Go's `Duration.String` writes, such as `3s`, `1m30s`, `500ms` or `1.5h`; `None` for
/// anything else, negative ones and those beyond a `Duration` included.
fn parse_go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, tail) = rest.split_at_checked(number)?;
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(value.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(query: &str) -> (u128, u128) {
        let now = Instant::now();
        let deadline = Deadline::of(&format!("/validate{query}").parse().unwrap(), now);
        ((deadline.review - now).as_millis(), (deadline.answer - now).as_millis())
    }

    #[test]
    fn the_margin_is_a_tenth_and_at_least_100_ms() {
        assert_eq!(millis("?timeout=3s"), (2700, 2850));
        assert_eq!(millis("?timeout=1s"), (900, 950));
        assert_eq!(millis("?timeout=500ms"), (400, 450));
        assert_eq!(millis("?timeout=100ms"), (50, 75));
        assert_eq!(millis("?dryRun=All&timeout=2s"), (1800, 1900));
    }

    #[test]
    fn absent_and_unreadable_timeouts_are_the_default_and_large_ones_bounded() {
        for query in ["", "?", "?timeout=", "?timeout=soon", "?timeout=-3s", "?timeout=3", "?timeouts=1s"] {
            assert_eq!(millis(query), (9000, 9500), "{query}");
        }
        assert_eq!(millis("?timeout=48h"), (30_600, 32_300));
    }

    #[test]
    fn go_durations() {
        for (text, expected) in [
            ("3s", Some(3_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1.5h", Some(5_400_000)),
            ("2h0m0.25s", Some(7_200_250)),
            ("2000000ns", Some(2)),
            ("3000µs", Some(3)),
            ("0", Some(0)),
            (".5s", Some(500)),
            (".s", None),
            ("s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("", None),
            ("99999999999999999999999999h", None),
        ] {
            assert_eq!(parse_go_duration(text).map(|d| d.as_millis()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9.hmsnuµ+%]{0,24}|.{0,8}") {
            let _ = parse_go_duration(&text);
        }

        #[test]
        fn whole_seconds_are_read_as_go_writes_them(seconds in 0_u64..200_000) {
            let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let text = match (h, m) {
                (0, 0) => format!("{s}s"),
                (0, _) => format!("{m}m{s}s"),
                _ => format!("{h}h{m}m{s}s"),
            };
            prop_assert_eq!(parse_go_duration(&text), Some(Duration::from_secs(seconds)));
        }
    }
}
