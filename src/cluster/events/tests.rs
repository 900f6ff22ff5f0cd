use super::super::scripted::scripted;
use super::*;
use crate::audit::{self, Action, State};

fn record(decision: audit::Decision, findings: &[audit::Finding]) -> Record {
    let line = json!({
        "schema": "plimsoll.dev/audit/v1", "time": "2026-11-21T10:00:00Z", "uid": "u", "decision": decision,
        "operation": "UPDATE", "dryRun": false, "user": {"name": "jane"}, "durationMicros": 1, "instance": "i",
        "resource": {"group": "apps", "version": "v1", "kind": "Scale", "subresource": "scale", "namespace": "imp",
            "name": "api"},
        "workload": {"kind": "Deployment", "namespace": "imp", "name": "api"}, "findings": findings,
    });
    serde_json::from_value(line).unwrap()
}

fn finding(rule: &str, action: Action, state: State, message: &str) -> audit::Finding {
    audit::Finding {
        rule: rule.to_owned(),
        action,
        state,
        path: "spec".to_owned(),
        observed: None,
        required: None,
        message: message.to_owned(),
        waiver: None,
    }
}

fn denial(message: &str) -> Notice {
    let findings = vec![finding("min-replicas", Action::Deny, State::New, message)];
    notice::of(&record(audit::Decision::Denied, &findings), None).remove(0)
}

#[test]
fn each_refusing_rule_is_one_event_about_the_workload() {
    let new = |rule, message| finding(rule, Action::Deny, State::New, message);
    let findings = vec![
        new("min-replicas", "one replica"),
        new("tmp-volume", "container a"),
        new("tmp-volume", "container b"),
        finding("probes", Action::Warn, State::New, "no probe"),
    ];
    let mut record = record(audit::Decision::Denied, &findings);
    let notices = notice::of(&record, Some("7"));
    let told: Vec<_> = notices.iter().map(|n| (n.reason, n.rule.as_str(), n.note.as_str())).collect();
    assert_eq!(
        told,
        [
            (Reason::Denied, "min-replicas", "one replica"),
            (Reason::Denied, "tmp-volume", "container a container b")
        ]
    );
    let text = str::to_owned;
    let regarding = Regarding {
        api_version: text("apps/v1"),
        kind: text("Deployment"),
        namespace: text("imp"),
        name: text("api"),
        uid: Some(text("7")),
    };
    assert_eq!(notices[0].regarding, regarding);
    record.dry_run = true;
    assert!(notice::of(&record, None).is_empty(), "a dry run is nobody's news");
}

#[test]
fn only_emergency_waivers_are_news_of_what_was_let_in() {
    let mut waived = finding("min-replicas", Action::Deny, State::Waived, "one replica (waived)");
    let waiver = audit::Waiver {
        owner: "a@example.com".to_owned(),
        reason: "failover".to_owned(),
        expires: Some("2026-11-22".to_owned()),
        ticket: None,
        emergency: true,
    };
    waived.waiver = Some(waiver.clone());
    let mut quiet = waived.clone();
    quiet.waiver = Some(audit::Waiver { emergency: false, ..waiver });
    let notices = notice::of(&record(audit::Decision::Allowed, &[quiet, waived]), None);
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].reason, Reason::EmergencyWaiver);
    assert_eq!(notices[0].note, "one replica (waived), until 2026-11-22: failover");
}

#[test]
fn names_say_the_same_of_the_same_and_are_names() {
    let (one, same, other) = (denial("a").name(), denial("a").name(), denial("b").name());
    assert_eq!(one, same);
    assert_ne!(one, other);
    // Written down, so that replicas of two versions agree.
    assert_eq!(one, "api.07bd0c80063673a3");
    for (name, expected) in [("web-…", "web."), ("-.a.-", "a."), ("…", ""), ("", "")] {
        let mut notice = denial("a");
        notice.regarding.name = name.to_owned();
        let made = notice.name();
        let hash = made.strip_prefix(expected).unwrap();
        assert!(hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{name}: {made}");
    }
    let mut notice = denial("a");
    notice.regarding.name = "a".repeat(253);
    assert!(notice.name().len() <= 253);
}

#[test]
fn a_note_fits_into_an_event() {
    let notice = denial(&"é".repeat(1000));
    assert!(notice.note.len() <= 1024 && notice.note.ends_with("é…"), "{}", notice.note.len());
}

#[test]
fn what_comes_again_while_it_waits_is_counted() {
    let time = |second: i64| Timestamp::from_second(second).unwrap();
    let mut waiting = Waiting::default();
    for second in 0..100 {
        assert!(waiting.add(denial(if second % 2 == 0 { "a" } else { "b" }), time(second)));
    }
    let (a, b) = (waiting.pop().unwrap(), waiting.pop().unwrap());
    assert_eq!((a.count, a.first, a.last), (50, time(0), time(98)));
    assert_eq!((b.notice.note.as_str(), b.count), ("b", 50));
    assert!(waiting.is_empty() && waiting.pop().is_none());

    let full = (0..10_000).filter(|n| waiting.add(denial(&n.to_string()), time(0))).count();
    assert_eq!(full, 512);
    assert!(waiting.add(denial("0"), time(1)), "what waits already is counted all the same");
}

fn writer(cluster: &Cluster) -> Writer {
    Writer {
        client: cluster.client.clone(),
        instance: "plimsoll-0".to_owned(),
        metrics: Arc::new(Metrics::new("test")),
        failing: false,
    }
}

fn pending(count: i32) -> Pending {
    let time = "2026-11-21T10:00:00Z".parse().unwrap();
    Pending { notice: denial("a"), count, first: time, last: time }
}

const NOT_FOUND: &str =
    r#"{"kind":"Status","status":"Failure","reason":"NotFound","message":"no","code":404}"#;
const CONFLICT: &str =
    r#"{"kind":"Status","status":"Failure","reason":"AlreadyExists","message":"there","code":409}"#;

#[tokio::test]
async fn replicas_that_say_the_same_count_up_the_same_event() {
    let there = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "eventTime": null,
        "metadata": {"name": "x", "resourceVersion": "7"}, "series": {"count": 4, "lastObservedTime": "2026-11-21T09:00:00.000000Z"},
    })
    .to_string();
    // Not there, but by the time it is created another replica was faster.
    let script =
        vec![(404, NOT_FOUND.to_owned()), (409, CONFLICT.to_owned()), (200, there.clone()), (200, there)];
    let (cluster, asked) = scripted(script);
    writer(&cluster).try_write(&pending(3)).await.unwrap();
    let asked = asked.lock().unwrap();
    let patch: serde_json::Value = serde_json::from_str(&asked[3].1).unwrap();
    let expected = json!({
        "metadata": {"resourceVersion": "7"},
        "series": {"count": 7, "lastObservedTime": "2026-11-21T10:00:00.000000Z"},
    });
    assert_eq!(patch, expected);
    let created: serde_json::Value = serde_json::from_str(&asked[1].1).unwrap();
    assert_eq!(created["series"]["count"], 3);
}

#[tokio::test]
async fn a_reminder_that_another_leader_wrote_today_is_left_alone() {
    let there = |last: &str| {
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "eventTime": last,
            "metadata": {"name": "x", "resourceVersion": "7"},
        });
        (200, event.to_string())
    };
    let script = vec![
        there("2026-11-20T10:01:00.000000Z"),
        there("2026-11-20T10:00:00.000000Z"),
        there("2026-11-21T10:00:00.000000Z"),
    ];
    let (cluster, asked) = scripted(script);
    let mut reminder = pending(1);
    reminder.notice.reason = Reason::WaiverEnds;
    for asks in [1, 3] {
        writer(&cluster).try_write(&reminder).await.unwrap();
        assert_eq!(asked.lock().unwrap().len(), asks, "a day later it is counted up");
    }
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let (cluster, _) = scripted(Vec::new());
    let metrics = Arc::new(Metrics::new("test"));
    let (events, _writer) = Events::new(&cluster, "i", &metrics);
    let findings = vec![finding("min-replicas", Action::Deny, State::New, "a")];
    let record = record(audit::Decision::Denied, &findings);
    for _ in 0..QUEUE + 5 {
        events.decided(&record, None);
    }
    let text = metrics.encode();
    assert!(text.contains(r#"plimsoll_events_total{outcome="dropped"} 5"#), "{text}");
}
