//! What a real apiserver sent, replayed: every recording gets a right answer in both phases, and so
//! does every recording with fields removed, retyped or nested.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plimsoll::audit::{AuditLog, Level, Record, Settings};
use plimsoll::facts::{Fact, Facts};
use plimsoll::metrics::Metrics;
use plimsoll::policy::reload::Policies;
use plimsoll::review::{Answer, AuditFailure, Phase, Review, Reviewer};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

/// The namespace that was recorded is labelled production.
fn reviewer() -> Arc<Reviewer> {
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
    reviewer_with_log(&file)
}

fn reviewer_with_log(file: &Path) -> Arc<Reviewer> {
    let settings = Settings {
        file: Some(file.to_owned()),
        level: Level::All,
        copy_to_stdout: false,
        ..Settings::default()
    };
    let facts = Facts::default();
    let labels = [("environment", "production")].into_iter().collect();
    facts.update("shop", |namespace| namespace.insert(Fact::Namespace(labels)));
    Arc::new(Reviewer {
        policies: Policies::load(Vec::new()).unwrap(),
        facts: Arc::new(facts),
        live: None,
        audit: AuditLog::open(settings).unwrap(),
        audit_failure: AuditFailure::Allow,
        instance: "test".to_owned(),
        witness: None,
        metrics: Arc::new(Metrics::new("test")),
    })
}

async fn answer(reviewer: &Arc<Reviewer>, phase: Phase, body: &Value) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(30);
    Arc::clone(reviewer).review(phase, body.to_string().into(), deadline).await
}

fn recordings() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    files.iter().map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), read(path))).collect()
}

/// One line an answer: what the user would be told, and what would be patched.
fn line(review: &Value, answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let response = &body["response"];
    assert_eq!(response["uid"], review["request"]["uid"], "the uid is echoed");
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some(), "neither comes alone");
    let mut text = String::from(if response["allowed"] == json!(true) { "allowed" } else { "DENIED" });
    for warning in response["warnings"].as_array().into_iter().flatten() {
        text += &format!("\n    warning: {}", warning.as_str().unwrap());
    }
    if let Some(patch) = response["patch"].as_str() {
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut review["request"]["object"].clone(), &patch).expect("the patch applies");
        for operation in &patch.0 {
            text += &format!("\n    patch: {}", serde_json::to_string(operation).unwrap());
        }
    }
    if let Some(message) = response["status"]["message"].as_str() {
        text += &format!("\n    {}", message.replace('\n', "\n    "));
    }
    text
}

#[tokio::test]
async fn every_recording_gets_its_answer() {
    let reviewer = reviewer();
    let all = recordings();
    assert_eq!(all.len(), 139);
    let mut text = String::new();
    for (name, review) in &all {
        let phase = if name.contains("-mutate-") { Phase::Mutate } else { Phase::Validate };
        let answer = answer(&reviewer, phase, review).await;
        assert_eq!(answer.status, 200, "{name}");
        text += &format!("{name}: {}\n", line(review, &answer));
    }
    insta::assert_snapshot!("recordings", text);
}

/// The schema of a record as it is checked in, but with no key allowed that it doesn't describe.
fn strict_schema() -> jsonschema::Validator {
    fn close(schema: &mut Value) {
        if let Value::Object(keys) = schema {
            keys.values_mut().for_each(close);
            if keys.contains_key("properties") {
                keys.insert("additionalProperties".to_owned(), json!(false));
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/audit-record.json");
    let mut schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    close(&mut schema);
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

fn assert_valid(schema: &jsonschema::Validator, line: &str) {
    let record: Value = serde_json::from_str(line).unwrap();
    let errors: Vec<_> = schema.iter_errors(&record).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "docs/schemas/audit-record.json doesn't have it: {errors:#?}\n{line}");
}

#[tokio::test]
async fn every_record_keeps_to_the_published_schema() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let reviewer = reviewer_with_log(file.path());
    for (name, mut review) in recordings() {
        let phase = if name.contains("-mutate-") { Phase::Mutate } else { Phase::Validate };
        answer(&reviewer, phase, &review).await;
        // What can't be read is denied, and recorded, too.
        review["request"]["object"]["spec"]["replicas"] = json!("many");
        answer(&reviewer, phase, &review).await;
    }
    let schema = strict_schema();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(text.lines().count() > 100, "{}", text.lines().count());
    text.lines().for_each(|line| assert_valid(&schema, line));
    for word in ["\"Denied\"", "\"patch\"", "\"Existing\"", "\"Fixed\"", "unreadable-object", "\"workload\""]
    {
        assert!(text.contains(word), "the recordings have no {word}");
    }
}

#[test]
fn a_record_with_every_key_keeps_to_the_schema_and_one_without_does_not() {
    let full = json!({
        "schema": "plimsoll.dev/audit/v1", "time": "2026-11-21T10:15:30.25Z", "uid": "u", "decision": "Denied",
        "operation": "UPDATE", "dryRun": true, "user": {"name": "jane", "groups": ["devs"]},
        "resource": {"group": "apps", "version": "v1", "kind": "Scale", "subresource": "scale", "namespace": "imp", "name": "api"},
        "workload": {"kind": "Deployment", "namespace": "imp", "name": "api"}, "policies": ["production"],
        "findings": [{"rule": "min-replicas", "action": "Deny", "state": "Waived", "path": "spec.replicas", "observed": "1",
            "required": "2", "message": "m", "waiver": {"owner": "o", "reason": "r", "expires": "2027-01-01", "ticket": "T", "emergency": true}}],
        "waivers": [{"annotation": "waiver.plimsoll.dev/min-replicas", "change": "Added", "authorization": "Allowed",
            "authorizationReason": "RBAC", "waiver": {"owner": "o", "reason": "r"}}],
        "exempt": true, "patch": [{"op": "add", "path": "/spec/replicas", "value": 2}], "durationMicros": 1, "instance": "i",
        "truncated": {"texts": 1, "groups": 1, "policies": 1, "findings": 1, "waivers": 1, "patch": 1},
    });
    let record: Record = serde_json::from_value(full.clone()).unwrap();
    let line = String::from_utf8(record.to_line()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), full, "it is what is written");
    let schema = strict_schema();
    assert_valid(&schema, &line);
    for (pointer, wrong) in
        [("/time", json!("yesterday")), ("/decision", json!("Maybe")), ("/findings/0/state", json!("Old"))]
    {
        let mut broken = full.clone();
        *broken.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.is_valid(&broken), "{pointer}");
    }
    for key in ["uid", "findings", "user"] {
        let mut broken = full.clone();
        broken.as_object_mut().unwrap().remove(key);
        assert!(!schema.is_valid(&broken), "{key}");
    }
}

/// Every pointer into a document.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), all);
            }
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), all));
        }
        _ => {}
    }
}

/// Something else in place of a field.
fn spoil(kind: u8, value: &Value) -> Value {
    match kind % 9 {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(1e300),
        3 => json!("\u{1b}[31m\u{202e}"),
        4 => json!([value]),
        5 => json!({ "x": value }),
        6 => json!(u64::MAX),
        7 => json!(true),
        _ => json!({}),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Spoilt reviews are answered too: with an answer that echoes the uid, or a 400 that says why.
    #[test]
    fn no_field_can_make_it_panic(
        index in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let all = recordings();
        let (name, review) = &all[index.index(all.len())];
        let mut spoilt = review.clone();
        for (place, kind) in changes {
            let mut places = Vec::new();
            pointers(&spoilt, "", &mut places);
            if let Some(field) = spoilt.pointer_mut(&places[place.index(places.len())]) {
                *field = spoil(kind, field);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let reviewer = reviewer();
            for phase in [Phase::Mutate, Phase::Validate] {
                let answer = answer(&reviewer, phase, &spoilt).await;
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                match answer.status.as_u16() {
                    200 => drop(line(&spoilt, &answer)),
                    400 => assert!(body["error"].as_str().is_some_and(|e| !e.is_empty()), "{name}"),
                    other => panic!("{name}: {other}"),
                }
            }
        });
    }
}
