//! What is left of a decision: Events where users look, and annotations in the API server's own audit log.

use serde_json::Value;

use super::{SOON, Stage, deployment, stage};
use crate::controlplane::wait_until;

/// The Events about a Deployment, as `kubectl get events` has them.
fn events(stage: &Stage, namespace: &str, name: &str) -> Vec<Value> {
    let args = ["get", "events.events.k8s.io", "-n", namespace, "-o", "json"];
    let list = stage.plane.kubectl("alice", &args).json();
    let about = |event: &&Value| {
        event["regarding"]["name"] == name && event["reportingController"] == "plimsoll.dev/admission"
    };
    list["items"].as_array().unwrap().iter().filter(about).cloned().collect()
}

fn apply(stage: &Stage, namespace: &str, object: &str, more: &[&str]) -> bool {
    let args = [&["apply", "-n", namespace, "-f", "-"], more].concat();
    stage.plane.kubectl_stdin("alice", &args, object).status_ok
}

#[test]
fn users_see_denials_and_emergencies_where_they_look_for_events() {
    let stage = stage();
    let namespace = stage.production("events");

    // A dry run first: what comes later proves that it left nothing.
    let alone = deployment("alone", Some(1), "nginx:1");
    assert!(!apply(stage, &namespace, &alone, &["--dry-run=server"]));
    for _ in 0..3 {
        assert!(!apply(stage, &namespace, &alone, &[]));
    }
    wait_until("the refused CREATE to be one Event that counts", SOON, || {
        events(stage, &namespace, "alone").iter().any(|event| event["series"]["count"] == 3)
    });
    let told = events(stage, &namespace, "alone");
    assert_eq!(told.len(), 1, "one Event, and none of the dry run: {told:?}");
    assert_eq!(told[0]["regarding"]["uid"], Value::Null, "the object never existed");
    let table = stage.plane.kubectl("alice", &["get", "events", "-n", &namespace]).stdout;
    let is_told = |line: &&str| {
        ["Warning", "AdmissionDenied", "deployment/alone", "min-replicas: Deployment"]
            .iter()
            .all(|word| line.contains(word))
    };
    assert!(table.lines().any(|line| is_told(&line)), "{table}");

    assert!(apply(stage, &namespace, &deployment("web", Some(2), "nginx:1"), &[]));
    let scale = ["scale", "deployment/web", "--replicas=1", "-n", &namespace];
    assert!(!stage.plane.kubectl("alice", &scale).status_ok);
    let describe = ["describe", "deployment/web", "-n", &namespace];
    wait_until("kubectl describe to show the refused scale", SOON, || {
        stage.plane.kubectl("alice", &describe).stdout.contains("AdmissionDenied")
    });

    let mut loud: Value = serde_json::from_str(&deployment("loud", Some(1), "nginx:1")).unwrap();
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(4);
    loud["metadata"]["annotations"] = serde_json::json!({"waiver.plimsoll.dev/min-replicas":
        format!("{{owner: a@example.com, reason: the database fails over, expires: {ends}, emergency: true}}")});
    assert!(apply(stage, &namespace, &loud.to_string(), &[]));
    wait_until("the emergency to be an Event", SOON, || {
        events(stage, &namespace, "loud").iter().any(|event| {
            event["reason"] == "EmergencyWaiver"
                && event["note"].as_str().is_some_and(|note| note.contains("EMERGENCY by a@example.com"))
        })
    });
}

#[test]
fn the_api_servers_own_audit_log_says_what_plimsoll_found() {
    let stage = stage();
    let namespace = stage.production("annotated");
    assert!(!apply(stage, &namespace, &deployment("denied", Some(1), "nginx:1"), &[]));
    assert!(apply(stage, &namespace, &deployment("filled", Some(2), "nginx:1"), &[]));
    let mut waived: Value = serde_json::from_str(&deployment("waived", Some(1), "nginx:1")).unwrap();
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    waived["metadata"]["annotations"] = serde_json::json!({"waiver.plimsoll.dev/min-replicas":
        format!("{{owner: a@example.com, reason: internal tool only, expires: {ends}}}")});
    assert!(apply(stage, &namespace, &waived.to_string(), &[]));

    // The API server writes its log behind its answers.
    let annotation = |name: &str, key: &str| {
        let log = std::fs::read_to_string(stage.plane.audit_log()).unwrap_or_default();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_it = |event: &Value| {
            event["objectRef"]["namespace"] == *namespace && event["objectRef"]["name"] == name
        };
        let mut creates = events.filter(|event| event["verb"] == "create" && is_it(event));
        creates.find_map(|event| event["annotations"][key].as_str().map(str::to_owned))
    };
    let expected = [
        ("denied", "validate.plimsoll.dev/denied", "min-replicas"),
        ("filled", "mutate.plimsoll.dev/fixed", "read-only-root-filesystem"),
        ("waived", "validate.plimsoll.dev/waived", "min-replicas by a@example.com until"),
    ];
    for (name, key, text) in expected {
        wait_until(&format!("the audit event of {name} to have {key}"), SOON, || {
            annotation(name, key).is_some_and(|value| value.contains(text))
        });
    }
}

#[test]
fn every_denial_is_on_record() {
    let stage = stage();
    let namespace = stage.production("recorded");
    let object = deployment("lonely", Some(1), "nginx:1");
    let run = stage.plane.kubectl_stdin("alice", &["apply", "-n", &namespace, "-f", "-"], &object);
    run.expect_refused("one replica");
    let records = stage.plimsoll.records();
    let is_it = |record: &&Value| {
        record["resource"]["namespace"] == namespace.as_str() && record["resource"]["name"] == "lonely"
    };
    let mut of_it = records.iter().filter(is_it);
    let record = of_it.find(|record| record["decision"] == "Denied");
    let record = record.expect("the denial is in the log before kubectl has printed it");
    assert_eq!(record["user"]["name"], "alice");
    assert_eq!(record["findings"][0]["rule"], "min-replicas");
    let text = record.to_string();
    assert!(!text.contains("nginx:1"), "no object contents: {text}");
}
