//! What would become of every write of every case if Plimsoll were stopped.
//!
//! Between the clients and the API server sits a relay that tries each write, as a dry run, on a second
//! API server first: on the same store, with the same webhooks registered, none of which it can reach. So
//! a case needs no second run with an outcome of its own, for which nothing could be there to begin with,
//! and each request is refused or goes on in just the state in which the case sends it.
//!
//! The table in the docs is made from what is seen here. What contradicts it fails the case.

mod table;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::controlplane::{Write, say};
use super::stage;
use table::{Line, Row, Table};

/// No case goes on for so long without that somebody writes.
const QUIET: Duration = Duration::from_secs(120);

/// The table of the docs, and what of it was seen.
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(|| Mutex::new(Table::of_the_docs()));

/// How many writes there were of people, of controllers, that fail whatever Plimsoll does, and that
/// somebody else came before.
static COUNTS: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// Hears of a write; the error is what the case is to fail with.
pub(crate) fn heard(write: &Write) -> Result<(), String> {
    let count = |which: usize| {
        COUNTS[which].fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let Write { target, user, method, cut_off, answer, .. } = write;
    // By Plimsoll, that is. What fails for another reason fails with or without it.
    let is_denied = answer.message.contains(".plimsoll.dev\" denied the request");
    if !answer.status.is_success() && !is_denied {
        return count(2);
    }
    let is_refused = cut_off.message.contains("failed calling webhook \"")
        && cut_off.message.contains(".plimsoll.dev\": failed to call webhook: ");
    if !is_refused && cut_off.status == StatusCode::CONFLICT {
        return count(3);
    }
    if !is_refused && !cut_off.status.is_success() {
        let (status, message) = (cut_off.status, &cut_off.message);
        return Err(format!(
            "{user}: {method} {target:?} isn't refused for want of Plimsoll: {status} {message}"
        ));
    }
    let row = row(write);
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    table.saw(&row, is_refused).map_err(|why| format!("{user}: {method} {target:?} {why}"))?;
    count(usize::from(row.line == Line::Controllers))
}

/// Where a write is to be looked for.
fn row(write: &Write) -> Row {
    let Write { target, user, method, before, .. } = write;
    let subresource = target.subresource.as_deref();
    let is_declared = |key: &str| key.starts_with("waiver.plimsoll.dev/") || key.starts_with("plimsoll.dev/");
    let whole = match subresource {
        Some(subresource) => format!("{}/{subresource}", target.resource),
        None => target.resource.clone(),
    };
    let is_outside = user.starts_with("system:serviceaccount:") && !user.contains(":kube-system:");
    let anything = || "anything".to_owned();
    let (line, what) = if user.starts_with("system:") && !is_outside {
        (Line::Controllers, anything())
    } else if target.namespace.as_deref().is_some_and(|name| name.starts_with("kube-")) {
        (Line::System, anything())
    } else if *method == Method::DELETE {
        (Line::Delete, anything())
    } else if target.resource == "namespaces" && before.is_some() && changes(write, "labels", |_| true) {
        (Line::Change, "namespaces (labels)".to_owned())
    } else if subresource == Some("scale") {
        (Line::Scale, target.resource.clone())
    } else if subresource == Some("status") && changes(write, "annotations", is_declared) {
        (Line::StatusWithWaiver, target.resource.clone())
    } else if subresource == Some("status") {
        (Line::Status, target.resource.clone())
    } else if *method == Method::POST || before.is_none() {
        // The chart leaves them out unless it is told otherwise, as it is here.
        let is_pod = whole == "pods";
        (Line::Create, if is_pod { "pods (with `webhook.pods`)".to_owned() } else { whole })
    } else {
        (Line::Change, whole)
    };
    Row { line, what }
}

/// Whether a write changes one of these labels or annotations.
fn changes(write: &Write, field: &str, is_one: impl Fn(&str) -> bool) -> bool {
    let body: Value = serde_json::from_slice(&write.body).unwrap_or_default();
    let before = write.before.as_ref().map_or(&Value::Null, |before| &before["metadata"][field]);
    if let Some(operations) = body.as_array() {
        let path = format!("/metadata/{field}");
        return operations.iter().any(|operation| {
            let rest = operation["path"].as_str().and_then(|all| all.strip_prefix(&path));
            rest.is_some_and(|key| is_one(&key.trim_start_matches('/').replace("~1", "/")))
        });
    }
    let after = &body["metadata"][field];
    let keys = |value: &Value| value.as_object().map_or_else(Vec::new, |map| map.keys().cloned().collect());
    let is_dropped = |key: &String| write.method == Method::PUT && after.get(key).is_none();
    keys(after).iter().any(|key| is_one(key) && after[key] != before[key])
        || keys(before).iter().any(|key| is_one(key) && is_dropped(key))
}

#[test]
fn system_namespaces_are_left_alone() {
    let stage = stage();
    for namespace in ["kube-system", "kube-public", "kube-node-lease"] {
        let create = ["create", "deployment", "x", "--image=x", "--dry-run=server", "-n", namespace];
        stage.plane.kubectl("admin", &create).expect_ok("nobody is asked there");
    }
}

/// What the other cases do with some kinds, done with each.
#[test]
fn each_kind_is_made_changed_and_scaled() {
    let stage = stage();
    // The policies leave it alone; the API server asks about it all the same.
    let namespace = stage.plane.namespace("while-down", &[]);
    let selector = json!({"matchLabels": {"app": "a"}});
    let template = |restart: &str| {
        json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "app", "image": "nginx:1"}], "restartPolicy": restart}})
    };
    let (service, task) = (template("Always"), template("Never"));
    let kinds = [
        ("apps/v1", "Deployment", json!({"replicas": 1, "selector": selector, "template": service})),
        ("apps/v1", "StatefulSet", json!({"replicas": 1, "selector": selector, "template": service})),
        ("apps/v1", "ReplicaSet", json!({"replicas": 1, "selector": selector, "template": service})),
        (
            "v1",
            "ReplicationController",
            json!({"replicas": 1, "selector": {"app": "a"}, "template": service}),
        ),
        ("apps/v1", "DaemonSet", json!({"selector": selector, "template": service})),
        ("batch/v1", "Job", json!({"suspend": true, "template": task})),
        (
            "batch/v1",
            "CronJob",
            json!({"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": task}}}),
        ),
        ("policy/v1", "PodDisruptionBudget", json!({"maxUnavailable": 1, "selector": selector})),
        ("v1", "Pod", task["spec"].clone()),
        ("v1", "ConfigMap", Value::Null),
        ("v1", "Secret", Value::Null),
        ("v1", "Service", json!({"ports": [{"port": 80}]})),
    ];
    for (version, kind, spec) in kinds {
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
        if !spec.is_null() {
            object["spec"] = spec.clone();
        }
        let kubectl = |args: &[&str], input: &str| {
            let run = stage.plane.kubectl_stdin("admin", &[args, &["-n", &namespace]].concat(), input);
            run.expect_ok("no policy has a say");
        };
        kubectl(&["create", "-f", "-"], &object.to_string());
        kubectl(&["label", kind, "a", "team=a"], "");
        if spec.get("replicas").is_some() {
            kubectl(&["scale", kind, "a", "--replicas=2"], "");
        }
        kubectl(&["delete", kind, "a", "--wait=false"], "");
    }
}

/// Comes last, by its name: it waits for the other cases.
#[test]
fn the_table_has_what_was_met_and_no_more() {
    let stage = stage();
    if !table::is_whole_run() {
        say("the table for an outage is held against a whole run only");
        return;
    }
    let unmet = || TABLE.lock().unwrap_or_else(PoisonError::into_inner).unmet();
    let count = |which: usize| COUNTS[which].load(Ordering::Relaxed);
    let (mut last, mut heard) = (Instant::now(), count(0));
    while !unmet().is_empty() && last.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(200));
        if count(0) != heard {
            (last, heard) = (Instant::now(), count(0));
        }
    }
    assert!(unmet().is_empty(), "no case met these rows, which UPDATE_DOCS=1 would leave out: {:?}", unmet());
    assert!(stage.plane.complaints().is_empty(), "{:#?}", stage.plane.complaints());
    let [people, controllers, failed, raced] = [0, 1, 2, 3].map(count);
    say(&format!(
        "without Plimsoll: {people} writes of people and {controllers} of controllers were as in the table; \
         {failed} fail anyway, {raced} came second"
    ));
}
