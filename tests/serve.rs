//! The binary by itself, with neither cluster nor Go: what a client of the webhook sees.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "support/small_disk.rs"]
mod small_disk;
#[path = "support/serve.rs"]
mod support;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use small_disk::SmallDisk;
use support::{Serve, denied_review, plimsoll};

#[test]
fn a_denial_says_what_is_wrong_and_how_to_mend_it() {
    let serve = Serve::start(&[]);
    let (status, answer) = serve.connect().post("/validate", &denied_review("a"));
    assert_eq!(status, "HTTP/1.1 200 OK");
    let response = &answer["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("a"), &json!(false)));
    assert_eq!(
        (&response["status"]["code"], &response["status"]["reason"]),
        (&json!(403), &json!("Forbidden"))
    );
    insta::assert_snapshot!(response["status"]["message"].as_str().unwrap());
    let metrics = serve.get("/metrics").unwrap();
    assert!(metrics.contains("plimsoll_findings_total{"), "{metrics}");
}

#[test]
fn what_is_no_review_is_a_400_with_a_reason() {
    let serve = Serve::start(&[]);
    let mut client = serve.connect();
    for body in ["", "hello", "{}", "[]", r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#]
    {
        let (status, answer) = client.post("/validate", body);
        assert_eq!(status, "HTTP/1.1 400 Bad Request", "{body}");
        assert!(answer["error"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}: {answer}");
    }
    let unreadable = denied_review("b").replace(r#""replicas":1"#, r#""replicas":"one""#);
    let (_, answer) = client.post("/validate", &unreadable);
    let message = answer["response"]["status"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("spec.replicas"), "{message}");
    let (_, answer) = client.post("/mutate", &unreadable);
    assert_eq!((&answer["response"]["allowed"], answer["response"].get("patch")), (&json!(true), None));
}

#[test]
fn ten_kills_under_load_lose_no_denial_that_a_client_saw() {
    const KILLS: u64 = 10;
    let mut folder = tempfile::tempdir().unwrap();
    let answered = Mutex::new(Vec::new());
    for round in 0..KILLS {
        let serve = Serve::start_in(folder, &[]);
        let pid = serve.child.id().to_string();
        // Somewhere in the middle of whatever it does; spread, so that every run meets other moments.
        let moment = RandomState::new().hash_one(round) % 400;
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (serve, answered) = (&serve, &answered);
                scope.spawn(move || {
                    let mut client = serve.connect();
                    for number in 0.. {
                        let uid = format!("{round}-{worker}-{number}");
                        let Ok((_, answer)) = client.try_post("/validate", &denied_review(&uid)) else {
                            break;
                        };
                        // Half an answer is none.
                        if answer["response"]["allowed"] == json!(false) {
                            answered.lock().unwrap().push(uid);
                        }
                    }
                });
            }
            while answered.lock().unwrap().iter().filter(|uid| uid.starts_with(&format!("{round}-"))).count()
                < 20
            {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(moment));
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        });
        folder = serve.kill();
    }
    let answered = answered.into_inner().unwrap();
    assert!(answered.len() >= 200, "{}", answered.len());
    let log = folder.path().join("audit.jsonl");
    let run = plimsoll(&["audit", "-o", "json", log.to_str().unwrap()]).output().unwrap();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for line in String::from_utf8(run.stdout).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        *seen.entry(record["uid"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let missing: Vec<_> = answered.iter().filter(|uid| seen.get(*uid) != Some(&1)).collect();
    assert!(missing.is_empty(), "not in the log exactly once: {missing:?}");
    assert!(seen.values().all(|times| *times == 1));
    // A kill can leave one torn line, which the reader reports with its place.
    let lines = std::fs::read_to_string(&log).unwrap_or_default();
    let broken =
        lines.lines().filter(|line| !line.is_empty() && serde_json::from_str::<Value>(line).is_err()).count();
    assert!(broken as u64 <= KILLS, "{broken}");
    let told =
        String::from_utf8(run.stderr).unwrap().lines().filter(|line| line.ends_with(", skipped")).count();
    assert_eq!(told, broken);
}

#[test]
fn a_full_disk_leaves_denials_denials_is_seen_and_heals() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(disk.path().join("audit.jsonl"), folder.path().join("audit.jsonl")).unwrap();
    let serve = Serve::start_in(folder, &[]);
    let mut client = serve.connect();
    let mut denied =
        |uid: &str| client.post("/validate", &denied_review(uid)).1["response"]["allowed"] == json!(false);
    assert!(denied("before"));
    disk.fill(0);
    // The last page of the log takes a few more lines.
    let refused: Vec<String> = (0..20).map(|number| format!("full-{number}")).collect();
    assert!(refused.iter().all(|uid| denied(uid)), "a denial is one without its record");
    let wait_for = |what: &str, done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let ready = || serve.get("/readyz").unwrap();
    wait_for("/readyz says so", &|| {
        ready().contains("audit log: records can't be written, failing: No space left on device")
    });
    assert!(ready().starts_with("HTTP/1.1 200"), "it gates nothing");
    let metrics = serve.get("/metrics").unwrap();
    let errors = metrics.lines().find_map(|line| line.strip_prefix("plimsoll_audit_write_errors_total "));
    let lost: usize = errors.unwrap().parse().unwrap();
    assert!(lost > 0, "{metrics}");

    disk.clear();
    assert!(denied("healed"));
    wait_for("/readyz is content", &|| ready().contains("audit log: ok"));
    // Each denial is there once or was counted as lost; half a line may be all that there is of one of these.
    let text = std::fs::read_to_string(serve.path("audit.jsonl")).unwrap();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let uids: Vec<String> = records.map(|record| record["uid"].as_str().unwrap().to_owned()).collect();
    assert_eq!((uids.first().unwrap().as_str(), uids.last().unwrap().as_str()), ("before", "healed"));
    assert_eq!(uids.len() + lost, refused.len() + 2, "{uids:?}");
}

/// What this says to every write is what a full disk says, where nobody may mount one.
#[test]
fn a_full_device_leaves_denials_denials() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("audit.jsonl")).unwrap();
    let serve = Serve::start_in(folder, &[]);
    let (_, answer) = serve.connect().post("/validate", &denied_review("full"));
    assert_eq!(answer["response"]["allowed"], json!(false));
    assert!(serve.get("/metrics").unwrap().contains("plimsoll_audit_write_errors_total 1\n"));

    // Whoever reads the log finds the request.
    let log = std::fs::read_to_string(serve.path("log")).unwrap();
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.find(|line| line["fields"]["message"] == "A decision could not be recorded.").unwrap();
    assert_eq!((&line["span"]["uid"], &line["span"]["phase"]), (&json!("full"), &json!("validate")));
}

#[test]
fn a_policy_edit_takes_effect_and_a_bad_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    let policy = |rule: &str| {
        format!(
            "apiVersion: plimsoll.dev/v1alpha1\nkind: InvariantPolicy\nmetadata: {{name: p}}\nspec:\n  match: {{namespaces: [imp]}}\n  rules:\n    {rule}\n"
        )
    };
    std::fs::write(&file, policy("cron-interval: {}")).unwrap();
    let serve = Serve::start(&["--policies", folder.path().to_str().unwrap()]);
    let allowed =
        || serve.connect().post("/validate", &denied_review("c")).1["response"]["allowed"] == json!(true);
    let wait_for = |what: &str, done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    assert!(allowed(), "the policy says nothing about replicas");
    std::fs::write(&file, policy("min-replicas: {}")).unwrap();
    wait_for("the new policy is in force", &|| !allowed());
    std::fs::write(&file, policy("min-replica: {}")).unwrap();
    wait_for("the bad policy is reported", &|| {
        serve.get("/readyz").unwrap().contains("the last good set is in force")
    });
    assert!(!allowed(), "the last good set stays in force");
    assert!(serve.get("/metrics").unwrap().contains("plimsoll_policy_last_reload_successful 0"));
}

#[test]
fn a_bad_policy_stops_the_start_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, "apiVersion: plimsoll.dev/v1alpha1\nkind: InvariantPolicy\nmetadata: {name: p}\nspec:\n  rules:\n    min-replica: {}\n").unwrap();
    let run = plimsoll(&["serve", "--no-cluster", "--policies", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert!(
        stderr.contains("policy.yaml:6:5: unknown rule \"min-replica\"; did you mean \"min-replicas\"?"),
        "{stderr}"
    );
}
