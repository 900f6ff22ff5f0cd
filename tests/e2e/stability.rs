//! What is applied again changes nothing: the same template, replicas and ReplicaSets.

use serde_json::Value;

use super::{Stage, deployment, stage};

const CLIENT_SIDE: &[&str] = &[];
const SERVER_SIDE: &[&str] = &["--server-side"];

fn apply(stage: &Stage, namespace: &str, object: &str, how: &[&str]) {
    let args = [&["apply", "-n", namespace, "-f", "-"], how].concat();
    stage.plane.kubectl_stdin("alice", &args, object).expect_ok("the same file again");
}

/// What must stay as it is.
fn state(stage: &Stage, namespace: &str) -> (Value, Value, usize) {
    let sets = stage.settled_replica_sets(namespace, "web");
    let object = stage.get(namespace, "deployment", "web");
    (object["spec"]["template"].clone(), object["spec"]["replicas"].clone(), sets)
}

fn applied_again_changes_nothing(prefix: &str, ways: &[&[&str]]) {
    let stage = stage();
    let namespace = stage.production(prefix);
    let object = deployment("web", None, "nginx:1");
    apply(stage, &namespace, &object, ways[0]);
    stage.wait_for_replica_set(&namespace);
    let first = state(stage, &namespace);
    assert_eq!((&first.1, first.2), (&2.into(), 1), "replicas left unset become 2");
    let container = &first.0["spec"]["containers"][0];
    assert_eq!(container["volumeMounts"][0]["name"], "plimsoll-tmp");
    for how in &ways[1..] {
        apply(stage, &namespace, &object, how);
        assert_eq!(state(stage, &namespace), first, "applied again with {how:?}");
    }
}

#[test]
fn by_client_side_apply() {
    applied_again_changes_nothing("client-side", &[CLIENT_SIDE, CLIENT_SIDE, CLIENT_SIDE]);
}

#[test]
fn by_server_side_apply() {
    applied_again_changes_nothing("server-side", &[SERVER_SIDE, SERVER_SIDE, SERVER_SIDE]);
}

#[test]
fn by_one_after_the_other() {
    applied_again_changes_nothing("both-sides", &[CLIENT_SIDE, SERVER_SIDE, CLIENT_SIDE, SERVER_SIDE]);
    applied_again_changes_nothing("both-sides-too", &[SERVER_SIDE, CLIENT_SIDE, SERVER_SIDE, CLIENT_SIDE]);
}

#[test]
fn replicas_taken_out_of_a_manifest_keep_their_count() {
    let stage = stage();
    for (prefix, how) in [("taken-out-client", CLIENT_SIDE), ("taken-out-server", SERVER_SIDE)] {
        let namespace = stage.production(prefix);
        apply(stage, &namespace, &deployment("web", Some(5), "nginx:1"), how);
        apply(stage, &namespace, &deployment("web", None, "nginx:1"), how);
        assert_eq!(stage.get(&namespace, "deployment", "web")["spec"]["replicas"], 5, "{prefix}");
    }
}
