//! What holds for every schedule, tried on made-up ones.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;

use super::{End, Field, Gap, Schedule, days, spec::Spec, zone};

/// A valid field, with values at both ends of it more often than elsewhere.
fn field(field: Field) -> impl Strategy<Value = String> {
    let (low, high) = (field.lowest(), field.highest());
    let value = prop_oneof![low..=high, Just(low), Just(high), low..=low + 1, high - 1..=high];
    let item = prop_oneof![
        4 => value.clone().prop_map(|value| value.to_string()),
        2 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), 1..=high + 1).prop_map(|(a, step)| format!("{a}/{step}")),
        1 => (1..=high + 1).prop_map(|step| format!("*/{step}")),
        1 => (value.clone(), value, 1..=high).prop_map(|(a, b, step)| {
            format!("{}-{}/{step}", a.min(b), a.max(b))
        }),
    ];
    prop_oneof![
        2 => Just("*".to_owned()),
        4 => proptest::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
        1 => Just(",".to_owned()),
    ]
}

fn schedule() -> impl Strategy<Value = String> {
    let [minute, hour, day_of_month, month, day_of_week] = Field::ALL.map(field);
    (minute, hour, day_of_month, month, day_of_week)
        .prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}

/// A valid schedule of up to several KB.
fn long_schedule() -> impl Strategy<Value = String> {
    let fields = Field::ALL.map(|of| proptest::collection::vec(field(of), 1..200));
    let [minute, hour, day_of_month, month, day_of_week] = fields;
    (minute, hour, day_of_month, month, day_of_week)
        .prop_map(|(a, b, c, d, e)| [a, b, c, d, e].map(|items| items.join(",")).join(" "))
}

/// The smallest gap by looking at every day of the calendar.
fn scanned(spec: &Spec) -> Option<u32> {
    let times: Vec<u32> = spec
        .hours
        .iter()
        .flat_map(|hour| spec.minutes.iter().map(move |minute| hour * 60 + minute))
        .collect();
    let mut smallest = None;
    let mut last = None;
    // With two runs a day or more the smallest gap is within a day, or between two adjacent days,
    // and all pairs of adjacent days there are come up within forty years.
    let years = if times.len() > 1 { 40 } else { 401 };
    for day in 0..years * 366 {
        if !spec.matches_day(days::date(day)) {
            continue;
        }
        for time in &times {
            let now = day * 1_440 + time;
            if let Some(last) = last {
                smallest = Some(smallest.map_or(now - last, |gap: u32| gap.min(now - last)));
            }
            last = Some(now);
            if smallest == Some(1) {
                return smallest;
            }
        }
    }
    smallest
}

fn seconds(gap: Gap) -> Option<u64> {
    gap.apart().map(|apart| apart.as_secs())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_smallest_gap_is_the_scanned_one(text in schedule()) {
        let schedule = Schedule::parse(&text).unwrap();
        let scanned = scanned(schedule.spec().unwrap());
        prop_assert_eq!(seconds(schedule.min_gap()), scanned.map(|minutes| u64::from(minutes) * 60));
    }
}

proptest! {
    // To make them up takes longer than to read them.
    #![proptest_config(ProptestConfig::with_cases(32))]

    // Megabytes fit into a CronJob; a few KB are enough to see that nothing grows faster than the text.
    #[test]
    fn long_schedules_are_read_and_told_in_no_time(text in long_schedule()) {
        let began = std::time::Instant::now();
        let schedule = Schedule::parse(&text).unwrap();
        let _ = (schedule.describe(), schedule.field_words(), schedule.runs_per_day());
        let _ = (schedule.gaps().min.explain(), schedule.gaps().max.explain());
        let _ = schedule.nearest_passing(Duration::from_secs(300));
        // Without optimisation, and with the machine to others; a few milliseconds are what is seen.
        prop_assert!(began.elapsed() < Duration::from_secs(5), "{} bytes", text.len());
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "\\PC*") {
        if let Ok(schedule) = Schedule::parse(&text) {
            let _ = (schedule.describe(), schedule.min_gap().explain());
        }
        let _ = Schedule::validate_create("* * * * *", Some(&text));
        let _ = Schedule::as_controller_reads("* * * * *", Some(&text));
        let _ = Schedule::validate_update(&text, Some(&text), &text, None);
    }

    #[test]
    fn nothing_close_to_a_schedule_makes_it_panic(
        text in "(TZ=|CRON_TZ=|@every |@)?[ *?/,0-9a-zİ.+µ\u{a0}-]{0,40}"
    ) {
        let _ = Schedule::parse(&text);
    }

    // The bound on a walk is there for what nobody thought of. What is known needs a tenth of it: the
    // days of six years, and their months, and the hours and minutes at the end.
    #[test]
    fn walks_are_short(
        text in schedule(),
        after in -5_000_000_000_i64..9_000_000_000,
        name in proptest::sample::select(vec![
            "UTC", "Pacific/Apia", "America/New_York", "Africa/Casablanca", "Australia/Lord_Howe",
        ]),
    ) {
        let schedule = Schedule::parse(&text).unwrap();
        // What never fires is known without a walk.
        prop_assume!(!schedule.never_fires());
        let after = Timestamp::from_second(after).unwrap();
        let steps = super::walk::steps(schedule.spec().unwrap(), after, &zone(name).unwrap());
        prop_assert!(steps <= 2_500, "{} steps", steps);
    }

    #[test]
    fn fields_of_anything_never_panic(parts in proptest::collection::vec("[*?/,0-9a-f+-]{0,8}", 5)) {
        let _ = Schedule::parse(&parts.join(" "));
    }

    #[test]
    fn both_runs_of_a_gap_are_runs(text in schedule()) {
        let schedule = Schedule::parse(&text).unwrap();
        let spec = schedule.spec().unwrap();
        let gaps = schedule.gaps();
        prop_assert!(gaps.min.apart() <= gaps.max.apart());
        prop_assert_eq!(gaps.min == Gap::Never, schedule.never_fires());
        for gap in [gaps.min, gaps.max] {
            let Gap::Between { apart, first, second } = gap else { continue };
            prop_assert!(spec.matches(first.at) && spec.matches(second.at));
            prop_assert_eq!(second.at.duration_since(first.at).unsigned_abs(), apart);
            let first = TimeZone::UTC.to_timestamp(first.at).unwrap();
            let second = TimeZone::UTC.to_timestamp(second.at).unwrap();
            let next = schedule.next_firings(first, &TimeZone::UTC, 1);
            match next.end {
                // More than five years ahead.
                End::GivesUp => prop_assert!(apart > Duration::from_secs(5 * 365 * 86_400)),
                _ => prop_assert_eq!(next.firings[0].at.timestamp(), second),
            }
        }
    }

    #[test]
    fn what_is_proposed_passes(text in schedule(), minutes in 1_u64..1_500) {
        let minimum = Duration::from_secs(minutes * 60);
        let schedule = Schedule::parse(&text).unwrap();
        let Some(near) = schedule.nearest_passing(minimum) else {
            let fine = schedule.min_gap().apart().is_none_or(|apart| apart >= minimum);
            prop_assert!(fine || minutes > 1_440, "nothing for {} in {} minutes", text, minutes);
            return Ok(());
        };
        let near = Schedule::validate_create(&near, None).unwrap();
        prop_assert!(near.min_gap().apart() >= Some(minimum));
        prop_assert!(near.runs_per_day().average <= schedule.runs_per_day().average);
        prop_assert_eq!(&near.spec().unwrap().texts()[2..], &schedule.spec().unwrap().texts()[2..]);
    }

    #[test]
    fn firings_end_in_any_zone(
        text in schedule(),
        after in -5_000_000_000_i64..9_000_000_000,
        name in proptest::sample::select(vec![
            "Pacific/Apia", "Pacific/Kwajalein", "America/New_York", "Africa/Casablanca",
            "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Monrovia", "Asia/Manila",
        ]),
    ) {
        let schedule = Schedule::parse(&text).unwrap();
        let after = Timestamp::from_second(after).unwrap();
        let next = schedule.next_firings(after, &zone(name).unwrap(), 5);
        let mut last = after;
        for firing in &next.firings {
            prop_assert!(firing.at.timestamp() > last);
            let midnight_skipped = firing.at.start_of_day().is_ok_and(|start| start.hour() > 0);
            prop_assert!(!firing.stray || midnight_skipped, "{}", firing.at);
            last = firing.at.timestamp();
        }
        prop_assert_eq!(next.end == End::NeverFires, schedule.never_fires());
    }
}

#[test]
fn what_is_said_often_means_the_same() {
    let long = |item: &str| format!("{} * * * *", vec![item; 4_096 / (item.len() + 1)].join(","));
    for item in ["*", "*/2", "0-59", "?", "7", "*-x", "59,0", ",", "0-59/59", "+5"] {
        let text = long(item);
        let schedule = Schedule::parse(&text).unwrap();
        let short = Schedule::parse(&format!("{item} * * * *")).unwrap();
        assert_eq!(schedule.gaps(), short.gaps(), "{item}");
        assert_eq!(schedule.describe(), short.describe(), "{item}");
    }
}
