//! Schedules that a real apiserver has judged, through our reading of them.
//!
//! `data/cron-cases.json` holds what `cron.ParseStandard` said to each, whether an apiserver let
//! it in, its gaps over a scan of up to forty years, and firings around the moving of clocks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use plimsoll::object::schedule::{End, FieldProblem, Schedule, ScheduleError, zone};
use serde_json::Value;

const CASES: &str = include_str!("data/cron-cases.json");

/// How many there are: a case that is dropped must be noticed.
const COUNT: usize = 146;

/// Schedules whose largest gap lies outside the years that were scanned, and that gap in days:
/// there is no leap day between 2096 and 2104.
const LARGEST_GAP_NOT_SCANNED: [(&str, u64); 1] = [("0 0 29 2 *", 2_921)];

struct Case {
    value: Value,
}

impl Case {
    fn all() -> Vec<Self> {
        let file: Value = serde_json::from_str(CASES).unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), COUNT, "cases were dropped or added");
        cases.iter().map(|value| Self { value: value.clone() }).collect()
    }

    fn schedule(&self) -> &str {
        self.value["schedule"].as_str().unwrap()
    }

    fn time_zone(&self) -> Option<&str> {
        self.value["timeZone"].as_str()
    }

    fn flag(&self, name: &str) -> bool {
        self.value[name].as_bool().unwrap_or_else(|| panic!("{self}: no {name}"))
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        self.value[name].as_u64().map(Duration::from_secs)
    }

    /// As the controller reads it, in UTC where it says nothing else.
    fn stored(&self) -> Schedule {
        Schedule::as_controller_reads(self.schedule(), self.time_zone())
            .unwrap_or_else(|error| panic!("{self}: {error}"))
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} in {:?}", self.schedule(), self.time_zone())
    }
}

#[test]
fn verdicts_are_the_apiservers() {
    let (mut created, mut updated) = (0, 0);
    for case in Case::all() {
        let (schedule, time_zone) = (case.schedule(), case.time_zone());
        let parsed = Schedule::parse(schedule);
        assert_eq!(parsed.is_ok(), case.flag("parseOK"), "{case}: {parsed:?}");

        let create = Schedule::validate_create(schedule, time_zone);
        assert_eq!(create.is_ok(), case.flag("validOnCreate"), "{case}: {create:?}");
        created += usize::from(create.is_ok());

        let update = Schedule::validate_update(schedule, time_zone, "TZ=UTC 1 1 1 1 1", None);
        let valid = case.flag("validOnUpdateWhenOldScheduleContainedTZ");
        assert_eq!(update.is_ok(), valid, "{case}: {update:?}");
        updated += usize::from(update.is_ok());

        let stored = Schedule::as_controller_reads(schedule, time_zone);
        assert_eq!(stored.is_ok(), case.flag("controllerParseOK"), "{case}: {stored:?}");
    }
    println!("{COUNT} cases, {created} valid on create, {updated} on update");
}

#[test]
fn an_update_may_keep_what_a_create_may_not_have() {
    let update = Schedule::validate_update;
    // A zone that stays is not looked at again, even one that does not exist.
    assert!(update("0 0 * * *", Some("Nowhere/City"), "1 0 * * *", Some("Nowhere/City")).is_ok());
    assert!(update("0 0 * * *", Some("Nowhere/City"), "1 0 * * *", None).is_err());
    assert_eq!(update("TZ=UTC 0 0 * * *", None, "0 0 * * *", None), Err(ScheduleError::ZoneInSchedule));
    assert_eq!(
        update("TZ=UTC 0 0 * * *", Some("UTC"), "TZ=UTC 1 0 * * *", Some("UTC")),
        Err(ScheduleError::ZoneTwice)
    );
}

#[test]
fn errors_have_the_same_cause() {
    let mut causes = BTreeSet::new();
    for case in Case::all() {
        let Some(theirs) = case.value["parseError"].as_str() else { continue };
        let ours = Schedule::parse(case.schedule()).unwrap_err();
        let problem = match &ours {
            ScheduleError::Field { problem, .. } => Some(problem),
            _ => None,
        };
        let (cause, same) = match theirs {
            t if t.starts_with("expected exactly 5 fields") => {
                ("fields", matches!(ours, ScheduleError::FieldCount { .. }))
            }
            t if t.starts_with("unrecognized descriptor") => {
                ("descriptor", matches!(ours, ScheduleError::UnknownDescriptor(_)))
            }
            t if t.starts_with("failed to parse duration") => {
                ("duration", matches!(ours, ScheduleError::Every { .. }))
            }
            t if t.starts_with("provided bad location") => ("zone", matches!(ours, ScheduleError::Zone(_))),
            t if t.starts_with("invalid schedule format") => {
                ("panic", matches!(ours, ScheduleError::ZoneAlone(_)))
            }
            t if t.contains("value out of range") => ("huge", matches!(problem, Some(FieldProblem::Huge(_)))),
            t if t.starts_with("failed to parse int") => {
                ("number", matches!(problem, Some(FieldProblem::NotANumber(_))))
            }
            t if t.starts_with("negative number") => {
                ("negative", matches!(problem, Some(FieldProblem::Negative(_))))
            }
            t if t.starts_with("step of range") => ("step", matches!(problem, Some(FieldProblem::ZeroStep))),
            t if t.starts_with("too many slashes") => {
                ("slashes", matches!(problem, Some(FieldProblem::TwoSlashes)))
            }
            t if t.starts_with("too many hyphens") => {
                ("hyphens", matches!(problem, Some(FieldProblem::TwoHyphens)))
            }
            t if t.contains("below minimum") => {
                ("below", matches!(problem, Some(FieldProblem::Below { .. })))
            }
            t if t.contains("above maximum") => {
                ("above", matches!(problem, Some(FieldProblem::Above { .. })))
            }
            t if t.contains("beyond end of range") => {
                ("backwards", matches!(problem, Some(FieldProblem::Backwards { .. })))
            }
            t => panic!("{case}: an error of theirs that is new to us: {t}"),
        };
        assert!(same, "{case}: ours is {ours:?}, theirs {theirs}");
        causes.insert(cause);
    }
    assert!(causes.len() >= 11, "{causes:?}");
}

#[test]
fn gaps_are_those_of_the_scan() {
    let mut compared = 0;
    for case in Case::all() {
        let Ok(schedule) = Schedule::parse(case.schedule()) else {
            assert_eq!(case.seconds("minGapSecondsUTC"), None, "{case}");
            continue;
        };
        let gaps = schedule.gaps();
        assert_eq!(gaps.min.apart(), case.seconds("minGapSecondsUTC"), "{case}");
        let larger = LARGEST_GAP_NOT_SCANNED.iter().find(|(text, _)| *text == case.schedule());
        let max = match larger {
            Some((_, days)) => Some(Duration::from_secs(days * 86_400)),
            None => case.seconds("maxGapSecondsUTC"),
        };
        assert_eq!(gaps.max.apart(), max, "{case}");
        assert!(gaps.max.apart() >= case.seconds("maxGapSecondsUTC"), "{case}");

        let never = case.value["neverFires"].as_bool().unwrap_or(false);
        assert_eq!(schedule.never_fires(), never, "{case}");
        assert_eq!(schedule.runs_per_day().most == 0, never, "{case}");
        let every = case.value["kind"] == "every";
        assert_eq!(schedule.every().is_some(), every, "{case}");
        assert_eq!(schedule.every(), case.seconds("everySeconds"), "{case}");
        compared += 1;
    }
    println!("the gaps of {compared} schedules");
}

#[test]
fn the_smallest_gap_in_a_zone_is_where_they_found_it() {
    let mut compared = 0;
    for case in Case::all() {
        let Some(apart) = case.seconds("minGapSecondsInZone") else { continue };
        let at: Timestamp = case.value["minGapInZoneAt"].as_str().unwrap().parse().unwrap();
        let before = at - SignedDuration::from_secs(1);
        let next = case.stored().next_firings(before, &TimeZone::UTC, 2);
        let next: Vec<Timestamp> = next.firings.iter().map(|firing| firing.at.timestamp()).collect();
        assert_eq!(next, [at, at + apart], "{case}");
        compared += 1;
    }
    assert_eq!(compared, 32);
}

#[test]
fn firings_are_those_of_the_controller() {
    let mut compared = 0;
    for case in Case::all() {
        for from in case.value["next"].as_array().into_iter().flatten() {
            let schedule = case.stored();
            let after: Timestamp = from["from"].as_str().unwrap().parse().unwrap();
            let theirs: Vec<&str> =
                from["next"].as_array().unwrap().iter().map(|at| at.as_str().unwrap()).collect();
            let ours = schedule.next_firings(after, &TimeZone::UTC, theirs.len());
            let end = match ours.end {
                End::Enough => None,
                End::GivesUp | End::NeverFires => Some("zero".to_owned()),
                End::Stalls(_) => {
                    Some("HANG: robfig Next did not return within 5 s (infinite loop)".to_owned())
                }
            };
            let ours = ours.firings.iter().map(|firing| firing.at.timestamp().to_string());
            let ours: Vec<String> = ours.chain(end).collect();
            assert_eq!(ours, theirs, "{case} from {after}");
            compared += theirs.len();
        }
    }
    assert!(compared >= 150, "{compared} firings");
    println!("{compared} firings");
}

#[test]
fn firings_tell_of_moved_clocks() {
    let notes = |schedule: &str, name: &str, after: &str, count: usize| -> Vec<Option<String>> {
        let next = Schedule::parse(schedule).unwrap().next_firings(
            after.parse().unwrap(),
            &zone(name).unwrap(),
            count,
        );
        next.firings.iter().map(plimsoll::object::schedule::Firing::note).collect()
    };
    let spring = notes("30 2 * * *", "America/New_York", "2026-03-07T00:00:00Z", 2);
    assert_eq!(spring[0], None);
    assert_eq!(
        spring[1].as_deref(),
        Some("02:30 on 8 March 2026 was skipped, because clocks went forward over it")
    );
    let spring = notes("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:50:00Z", 2);
    assert_eq!(
        spring[0].as_deref(),
        Some("4 runs from 02:00 on 29 March 2026 on were skipped, because clocks went forward over them")
    );
    let autumn = notes("30 1 * * 0", "America/New_York", "2026-10-31T00:00:00Z", 3);
    assert_eq!(autumn[0].as_deref(), Some("clocks go back: this time comes twice, and it runs twice"));
    assert_eq!(autumn[1].as_deref(), Some("the second run at this time, because clocks went back"));
    assert_eq!(autumn[2], None);
    assert_eq!(notes("@every 1h", "America/New_York", "2026-11-01T05:00:00Z", 1), [None]);
    // A whole day was left out when Samoa crossed the date line.
    let skipped = notes("0 0 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 1);
    assert_eq!(
        skipped[0].as_deref(),
        Some("00:00 on 30 December 2011 was skipped, because clocks went forward over it")
    );
    // The controller's library does not look at the date again after a midnight that was skipped:
    // this Saturday job runs on a Sunday once a year.
    let stray = notes("30 5 * * 6", "America/Santiago", "2026-09-05T12:00:00Z", 2);
    assert_eq!(
        stray[0].as_deref(),
        Some("not its day: the controller runs it because clocks went forward over midnight")
    );
    assert_eq!(stray[1], None);
    // Over that day the library searches forever when nothing else matches.
    let samoa = zone("Pacific/Apia").unwrap();
    let yearly = Schedule::parse("0 0 30 12 *").unwrap();
    let next = yearly.next_firings("2011-01-01T00:00:00Z".parse().unwrap(), &samoa, 10);
    assert_eq!(next.firings, []);
    assert_eq!(next.end, End::Stalls(jiff::civil::date(2011, 12, 30)));
    assert_eq!(
        next.end.to_string(),
        "the time zone left out 30 December 2011, over which the controller would search forever"
    );
}
