//! What is applied again changes nothing: the same template, replicas and ReplicaSets.

use serde_json::Value;

use super::{Stage, deployment, stage};

const CLIENT_SIDE: &[&str] = &[];
const SERVER_SIDE: &[&str] = &["--server-side"];
/// As Argo CD and Flux apply, each under a name of its own.
const FORCED: &[&str] = &["--server-side", "--force-conflicts", "--field-manager=argocd-controller"];

/// A PUT of the manifest, which drops what is not in it.
const REPLACE: &[&str] = &["replace"];

fn apply(stage: &Stage, namespace: &str, object: &str, how: &[&str]) {
    let (verb, how) = if how == REPLACE { ("replace", &[][..]) } else { ("apply", how) };
    let args = [&[verb, "-n", namespace, "-f", "-"], how].concat();
    stage.plane.kubectl_stdin("alice", &args, object).expect_ok("the same file again");
    // An apiserver that can't make sense of them drops them all.
    let args = ["get", "deployment", "web", "-n", namespace, "--show-managed-fields", "-o", "json"];
    let stored = stage.plane.kubectl("admin", &args).json();
    let managers = stored["metadata"]["managedFields"].as_array().into_iter().flatten();
    let authors = managers.filter(|entry| !entry["fieldsV1"]["f:spec"]["f:template"].is_null());
    assert!(authors.count() > 0, "managedFields stay valid with {verb} {how:?}: {stored:#}");
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
    // A PUT leaves no trace of what its author left out.
    let replicas = ways.contains(&REPLACE).then_some(2);
    let object = deployment("web", replicas, "nginx:1");
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
fn by_force_and_by_whole_manifests() {
    applied_again_changes_nothing("forced", &[FORCED, FORCED, CLIENT_SIDE, FORCED, SERVER_SIDE, FORCED]);
    applied_again_changes_nothing("replaced", &[CLIENT_SIDE, REPLACE, REPLACE, FORCED, REPLACE, SERVER_SIDE]);
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
