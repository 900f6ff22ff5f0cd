use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use plimsoll::object::schedule::{End, Gap, Schedule};

/// Where clocks are moved in every way there is.
const ZONES: [&str; 4] = ["UTC", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"];

/// A schedule: gaps hold for what fires, time goes on, and what is proposed instead passes.
pub fn schedule(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let created = Schedule::validate_create(text, Some("Europe/Berlin"));
    let _ = Schedule::validate_update(text, None, "TZ=UTC 0 0 * * *", None);
    let _ = Schedule::as_controller_reads(text, Some("Europe/Berlin"));
    let schedule = match Schedule::parse_in_any_zone(text) {
        Ok(schedule) => schedule,
        Err(error) => {
            assert!(created.is_err(), "{text:?} is no schedule and yet created");
            assert!(error.to_string().len() < 1_000, "{error}");
            return;
        }
    };
    assert!(!schedule.describe().is_empty());
    assert!(schedule.field_words().len() <= 5);
    let (min, max) = (schedule.min_gap(), schedule.max_gap());
    assert!(!min.explain().is_empty() && min.apart() <= max.apart());
    assert_eq!(min == Gap::Never, schedule.never_fires());
    let runs = schedule.runs_per_day();
    assert!(runs.average <= runs.most as f64 + 1e-9, "{text}: {runs:?}");
    for minimum in [90, 300, 3_600, 86_400].map(Duration::from_secs) {
        if let Some(other) = schedule.nearest_passing(minimum) {
            let gap = Schedule::parse(&other).expect("what is proposed can be read").min_gap();
            assert!(gap.apart() >= Some(minimum), "{text} to {other}: {minimum:?}");
        }
    }
    for zone in ZONES {
        fires(&schedule, zone);
    }
}

fn fires(schedule: &Schedule, zone: &str) {
    let own = schedule.zone().is_some();
    let zone = TimeZone::get(zone).expect("a zone");
    let start: Timestamp = super::NOW.parse().unwrap();
    let firings = schedule.next_firings(start, &zone, 8);
    assert_eq!(firings.end == End::NeverFires, schedule.never_fires());
    let mut last = start;
    for (index, firing) in firings.firings.iter().enumerate() {
        let at = firing.at.timestamp();
        assert!(at > last, "{schedule}: {at} after {last}");
        // Where no clock is moved, gaps are what they are said to be.
        if index > 0 && !own && zone == TimeZone::UTC {
            let apart = at.duration_since(last);
            let bound = |gap: Gap| SignedDuration::try_from(gap.apart().unwrap()).unwrap();
            let (min, max) = (bound(schedule.min_gap()), bound(schedule.max_gap()));
            assert!((min..=max).contains(&apart), "{schedule}: {apart:?} is not within {min:?} and {max:?}");
        }
        if let Some(spec) = schedule.spec() {
            assert!(firing.stray || spec.matches(firing.at.datetime()), "{schedule}: {}", firing.at);
        }
        last = at;
    }
}
