//! What was there before Plimsoll came keeps working, with a warning.

use serde_json::Value;

use super::controlplane::Run;
use super::{SOON, Stage, deployment, stage};
use crate::controlplane::wait_until;

/// A Deployment at 1 replica with a writable root, in a namespace that becomes production later.
fn old_workload(stage: &Stage, prefix: &str) -> String {
    let namespace = stage.plane.namespace(prefix, &[]);
    let object = deployment("old", Some(1), "nginx:1");
    stage
        .plane
        .kubectl_stdin("alice", &["apply", "-n", &namespace, "-f", "-"], &object)
        .expect_ok("not production yet");
    stage.wait_for_replica_set(&namespace);
    stage
        .plane
        .kubectl("admin", &["label", "namespace", &namespace, "environment=production"])
        .expect_ok("a label");
    stage.wait_until_governed(&namespace);
    namespace
}

fn kubectl(stage: &Stage, namespace: &str, args: &[&str]) -> Run {
    stage.plane.kubectl("alice", &[args, &["-n", namespace]].concat())
}

#[test]
fn daily_work_goes_on_with_a_warning() {
    let stage = stage();
    let namespace = old_workload(stage, "old");
    let security =
        |object: &Value| object["spec"]["template"]["spec"]["containers"][0]["securityContext"].clone();
    let edits: [&[&str]; 4] = [
        &["rollout", "restart", "deployment/old"],
        &["set", "image", "deployment/old", "app=nginx:2"],
        &["rollout", "undo", "deployment/old"],
        &["annotate", "deployment", "old", "team=a"],
    ];
    for (number, edit) in edits.iter().enumerate() {
        let before = stage.settled_replica_sets(&namespace, "old");
        let run = kubectl(stage, &namespace, edit);
        assert!(run.stderr.contains("Warning: min-replicas"), "{edit:?} warns: {run}");
        run.expect_ok("what was so before only warns");
        let object = stage.get(&namespace, "deployment", "old");
        assert!(security(&object).is_null(), "{edit:?} is no occasion to change the template");
        assert_eq!(object["spec"]["replicas"], 1);
        let expected = if number < 2 { before + 1 } else { before };
        wait_until("the ReplicaSets to be as many as without a webhook", SOON, || {
            stage.settled_replica_sets(&namespace, "old") == expected
        });
    }
}

#[test]
fn what_gets_worse_is_denied_and_what_gets_better_is_not() {
    let stage = stage();
    let namespace = old_workload(stage, "worse");
    kubectl(stage, &namespace, &["scale", "deployment", "old", "--replicas=3"]).expect_ok("better");
    let message =
        kubectl(stage, &namespace, &["scale", "deployment", "old", "--replicas=1"]).expect_refused("worse");
    assert!(message.contains("has 1 replica"), "{message}");
    kubectl(stage, &namespace, &["delete", "deployment", "old"]).expect_ok("deleting is never refused");
}

#[test]
fn removing_a_waiver_that_is_needed_is_denied() {
    let stage = stage();
    let namespace = stage.production("waived");
    let mut object: Value = serde_json::from_str(&deployment("admin", Some(1), "nginx:1")).unwrap();
    let end = jiff::Timestamp::now().checked_add(jiff::Span::new().hours(24 * 30)).unwrap();
    let waiver = format!("{{owner: a@example.com, reason: internal tool only, expires: {end}}}");
    object["metadata"]["annotations"] = serde_json::json!({"waiver.plimsoll.dev/min-replicas": waiver});
    let run =
        stage.plane.kubectl_stdin("alice", &["apply", "-n", &namespace, "-f", "-"], &object.to_string());
    assert!(run.stderr.contains("waived by a@example.com"), "{run}");
    run.expect_ok("a waiver");
    let annotation = "waiver.plimsoll.dev/min-replicas-";
    let run = kubectl(stage, &namespace, &["annotate", "deployment", "admin", annotation]);
    run.expect_refused("the waiver is what keeps it legal");
    kubectl(stage, &namespace, &["scale", "deployment", "admin", "--replicas=2"]).expect_ok("two need none");
    kubectl(stage, &namespace, &["annotate", "deployment", "admin", annotation])
        .expect_ok("no longer needed");
}

#[test]
fn a_namespace_does_not_leave_production_by_its_label() {
    let stage = stage();
    let namespace = stage.production("guarded");
    let label =
        |label: &str| stage.plane.kubectl("admin", &["label", "namespace", &namespace, "--overwrite", label]);
    let message = label("environment=staging").expect_refused("out of the selector");
    assert!(message.contains("protected-namespace: Namespace"), "{message}");
    label("environment-").expect_refused("out of the selector");
    label("team=shop").expect_ok("another label");
    stage
        .plane
        .kubectl("admin", &["delete", "namespace", &namespace, "--wait=false"])
        .expect_ok("deleting it");
}
