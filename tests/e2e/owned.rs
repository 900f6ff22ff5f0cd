//! Whatever brings a pod template is judged where nothing else is judged for it: Jobs, ReplicaSets,
//! ReplicationControllers, and (the stage asks for them) Pods.

use serde_json::{Value, json};

use super::controlplane::Run;
use super::{SOON, Stage, deployment, stage};
use crate::controlplane::wait_until;

fn create(stage: &Stage, user: &[&str], namespace: &str, object: &Value) -> Run {
    let args = [&["create", "-n", namespace, "-f", "-"], user].concat();
    stage.plane.kubectl_stdin("admin", &args, &object.to_string())
}

fn pod(containers: &Value) -> Value {
    json!({"restartPolicy": "Never", "containers": containers})
}

fn job(name: &str, owner: &Value, containers: &Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "ownerReferences": owner},
        "spec": {"template": {"spec": pod(containers)}}})
}

fn cron_job(containers: &Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": pod(containers)}}}}})
}

/// Whether its root filesystem was made read-only and its `/tmp` mounted.
fn is_filled_in(spec: &Value) -> bool {
    let container = &spec["containers"][0];
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    container["securityContext"]["readOnlyRootFilesystem"] == true
        && mounts.into_iter().any(|mount| mount["mountPath"] == "/tmp")
}

#[test]
fn a_template_without_an_owner_is_filled_in_whatever_its_kind() {
    let stage = stage();
    let namespace = stage.production("ownerless");
    let containers = json!([{"name": "app", "image": "app:1"}]);
    create(stage, &[], &namespace, &job("once", &json!([]), &containers)).expect_ok("a Job");
    assert!(is_filled_in(&stage.get(&namespace, "job", "once")["spec"]["template"]["spec"]));

    let mut set: Value = serde_json::from_str(&deployment("bare", Some(2), "app:1")).unwrap();
    set["kind"] = "ReplicaSet".into();
    create(stage, &[], &namespace, &set).expect_ok("a ReplicaSet");
    assert!(is_filled_in(&stage.get(&namespace, "replicaset", "bare")["spec"]["template"]["spec"]));
    let scale = ["scale", "replicaset", "bare", "--replicas=1", "-n", &namespace];
    let message = stage.plane.kubectl("alice", &scale).expect_refused("one replica is too few");
    assert!(message.contains("min-replicas: ReplicaSet"), "{message}");

    set["kind"] = "ReplicationController".into();
    set["apiVersion"] = "v1".into();
    set["metadata"]["name"] = "old-style".into();
    set["spec"]["selector"] = json!({"app": "old-style"});
    set["spec"]["template"]["metadata"]["labels"] = json!({"app": "old-style"});
    create(stage, &[], &namespace, &set).expect_ok("a ReplicationController");
    let made = stage.get(&namespace, "replicationcontroller", "old-style");
    assert!(is_filled_in(&made["spec"]["template"]["spec"]));

    let run = ["run", "shell", "--image=app:1", "-n", &namespace];
    stage.plane.kubectl("alice", &run).expect_ok("a Pod is filled in");
    assert!(is_filled_in(&stage.get(&namespace, "pod", "shell")["spec"]));
    let debug = ["debug", "pod/shell", "--image=busybox:1", "--profile=general", "-n", &namespace];
    let debug = [&debug[..], &["--container=debugger", "--attach=false"]].concat();
    stage.plane.kubectl("admin", &debug).expect_ok("an ephemeral container is never refused");
    let mut bad =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": pod(&containers)});
    bad["spec"]["containers"][0]["securityContext"] = json!({"readOnlyRootFilesystem": false});
    create(stage, &[], &namespace, &bad).expect_refused("a Pod whose author says no");
}

#[test]
fn an_owner_answers_for_what_it_asks_for_and_no_more() {
    let stage = stage();
    let namespace = stage.plane.namespace("owned", &[]);
    let containers = json!([{"name": "dump", "image": "dump:1"}]);
    create(stage, &[], &namespace, &cron_job(&containers)).expect_ok("not production yet");
    create(stage, &[], &namespace, &serde_json::from_str(&deployment("web", Some(1), "nginx:1")).unwrap())
        .expect_ok("not production yet");
    stage.wait_for_replica_set(&namespace);
    let label = ["label", "namespace", &namespace, "environment=production"];
    stage.plane.kubectl("admin", &label).expect_ok("a label");
    stage.wait_until_governed(&namespace);

    let by_hand = ["create", "job", "by-hand", "--from=cronjob/nightly", "-n", &namespace];
    let run = stage.plane.kubectl("alice", &by_hand);
    assert!(!run.stderr.contains("Warning"), "what the CronJob is like is told at the CronJob: {run}");
    run.expect_ok("a run by hand of what was there before");

    let uid = stage.get(&namespace, "cronjob", "nightly")["metadata"]["uid"].clone();
    let owner = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": uid, "controller": true}]);
    let more = json!([{"name": "dump", "image": "dump:1"}, {"name": "miner", "image": "miner:1"}]);
    let message =
        create(stage, &[], &namespace, &job("forged", &owner, &more)).expect_refused("more than it asks for");
    assert!(message.contains("container miner") && !message.contains("container dump"), "{message}");
    let mut dangling = owner.clone();
    dangling[0]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    create(stage, &[], &namespace, &job("dangling", &dangling, &containers))
        .expect_refused("nobody with that uid");

    // The CronJob controller itself isn't sent here: an outage of ours must not stop CronJobs.
    let controller = ["--as=system:serviceaccount:kube-system:cronjob-controller"];
    create(stage, &controller, &namespace, &job("scheduled", &owner, &more))
        .expect_ok("the controller's own");

    let set = stage
        .plane
        .kubectl("admin", &["get", "replicasets", "-n", &namespace, "-o", "name"])
        .expect_ok("its name");
    let scale = ["scale", set.trim(), "--replicas=0", "-n", &namespace];
    stage.plane.kubectl("alice", &scale).expect_ok("its count is its Deployment's business");
    let label = ["label", set.trim(), "team=a", "-n", &namespace];
    stage.plane.kubectl("alice", &label).expect_ok("what is as in its Deployment is not new");
    wait_until("the Pod of the old Deployment", SOON, || {
        !stage
            .plane
            .kubectl("admin", &["get", "pods", "-l", "app=web", "-o", "name", "-n", &namespace])
            .stdout
            .is_empty()
    });
}
