use super::*;
use crate::engine::waivers::Source;
use crate::object::Kind;
use crate::verdict::{Subject, WaiverNote};

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line {line:?} in:\n{text}");
}

#[test]
fn every_promised_metric_is_there_under_its_name() {
    let metrics = Metrics::new("1.2.3");
    metrics.admission("CREATE", "Deployment", "Denied", false, 0.0002);
    metrics.finding("min-replicas", "Deny", "New");
    metrics.confirmation(Confirmation::Overturned);
    metrics.live_read(LiveRead::Answered, Some(0.002));
    metrics.live_read(LiveRead::Shared, None);
    metrics.certificate_expires(1_900_000_000);
    metrics.webhooks("ValidatingWebhookConfiguration", 2);
    metrics.policies_reloaded(true);
    metrics.cache_objects("Deployment", 3);
    metrics.cache_event("Deployment", 5);
    metrics.audit_write_failed();
    metrics.event(EventOutcome::Written);
    metrics.shed(Shed::Reviews);
    metrics.connection_opened("webhook");
    let text = metrics.encode();
    for line in [
        r#"plimsoll_build_info{version="1.2.3"} 1"#,
        r#"plimsoll_admission_requests_total{operation="CREATE",kind="Deployment",decision="Denied",dry_run="false"} 1"#,
        r#"plimsoll_admission_duration_seconds_bucket{le="0.00025"} 1"#,
        r#"plimsoll_findings_total{rule="min-replicas",action="Deny",state="New"} 1"#,
        r#"plimsoll_confirmations_total{outcome="overturned"} 1"#,
        r#"plimsoll_live_reads_total{outcome="answered"} 1"#,
        r#"plimsoll_live_reads_total{outcome="shared"} 1"#,
        "plimsoll_live_read_duration_seconds_count 1",
        "plimsoll_certificate_expiry_timestamp_seconds 1900000000",
        "plimsoll_certificate_reload_errors_total 0",
        r#"plimsoll_webhooks{kind="ValidatingWebhookConfiguration"} 2"#,
        "plimsoll_policy_last_reload_successful 1",
        r#"plimsoll_cache_objects{kind="Deployment"} 3"#,
        r#"plimsoll_cache_last_event_timestamp_seconds{kind="Deployment"} 5"#,
        "plimsoll_audit_write_errors_total 1",
        r#"plimsoll_events_total{outcome="dropped"} 0"#,
        r#"plimsoll_live_reads_total{outcome="failed"} 0"#,
        r#"plimsoll_events_total{outcome="written"} 1"#,
        "plimsoll_handshake_failures_total 0",
        r#"plimsoll_requests_shed_total{reason="reviews"} 1"#,
        "plimsoll_panics_total 0",
        r#"plimsoll_connections{listener="webhook"} 1"#,
        "# EOF",
    ] {
        has(&text, line);
    }
}

#[test]
fn waivers_are_counted_anew_each_time() {
    let listed = |rule: &str, state, ends: &str| Listed {
        subject: Subject { kind: Kind::Deployment, namespace: "shop".to_owned(), name: "web".to_owned() },
        rule: rule.to_owned(),
        source: Source::Annotation,
        state,
        note: WaiverNote::default(),
        containers: Vec::new(),
        ends: Some(ends.parse().unwrap()),
        remark: None,
    };
    let metrics = Metrics::new("1");
    let mut emergency = listed("probes", WaiverState::Expiring, "2030-01-01T00:00:00Z");
    emergency.note.emergency = true;
    let over = Listed { state: WaiverState::Expired, ..emergency.clone() };
    metrics.waivers(&[
        emergency,
        over,
        listed("min-replicas", WaiverState::Active, "2033-05-18T03:33:20Z"),
        listed("min-replicas", WaiverState::Active, "2030-03-17T17:46:40Z"),
        listed("min-replicas", WaiverState::Expired, "2020-01-01T00:00:00Z"),
        listed("made-up\n", WaiverState::Invalid, "2020-01-01T00:00:00Z"),
    ]);
    let text = metrics.encode();
    has(&text, r#"plimsoll_waivers{namespace="shop",rule="min-replicas",state="Active"} 2"#);
    has(&text, r#"plimsoll_waivers{namespace="shop",rule="min-replicas",state="Expired"} 1"#);
    has(&text, r#"plimsoll_waivers{namespace="shop",rule="unknown",state="Invalid"} 1"#);
    let next = r#"plimsoll_waiver_expiry_timestamp_seconds{namespace="shop",rule="min-replicas"} 1900000000"#;
    has(&text, next);
    has(&text, r#"plimsoll_emergency_waivers{namespace="shop",rule="probes"} 1"#);
    metrics.waivers(&[]);
    let text = metrics.encode();
    assert!(!text.contains("min-replicas"), "{text}");
}

#[test]
fn labels_from_outside_come_from_a_fixed_list() {
    let metrics = Metrics::new("1");
    metrics.admission("PATCH\n", "Widget", "Allowed", true, 0.1);
    has(
        &metrics.encode(),
        r#"plimsoll_admission_requests_total{operation="other",kind="other",decision="Allowed",dry_run="true"} 1"#,
    );
}
