use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use plimsoll::policy::{Policy, load};
use plimsoll::waiver::{Limits, Standing, assess};

/// The value of a waiver's annotation: it counts only up to its end and no longer than it may last.
pub fn waiver(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = limits();
    let now: Timestamp = super::NOW.parse().unwrap();
    let assessed = assess(text, "min-replicas", &[limits], now);
    assessed.note();
    assert!(!assessed.end_in_words().is_empty());
    assessed.covers(Some("app"));
    match &assessed.standing {
        Standing::Active | Standing::Expiring => {
            let ends = assessed.ends.expect("the policy requires an end");
            let lasts = Duration::try_from(ends.duration_since(now)).expect("it has not ended");
            assert!(lasts <= limits.max_duration, "{text}: {lasts:?}");
        }
        Standing::Grace | Standing::Expired => {
            assert!(assessed.ends.is_some_and(|ends| ends <= now), "{text}");
        }
        Standing::Invalid(why) => assert!(!why.is_empty(), "{text}"),
    }
    // What has ended never counts again.
    let later = assess(text, "min-replicas", &[limits], now + Duration::from_secs(3 * 86_400)).standing;
    let ended = |standing: &Standing| matches!(standing, Standing::Grace | Standing::Expired);
    assert!(!ended(&assessed.standing) || ended(&later), "{text}");
}

fn limits() -> &'static Limits {
    static POLICIES: OnceLock<Vec<Policy>> = OnceLock::new();
    &POLICIES.get_or_init(|| load::embedded().unwrap())[0].waivers
}
