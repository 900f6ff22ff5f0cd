//! What was there before Plimsoll came keeps working, with a warning.

use std::collections::BTreeSet;

use serde_json::{Value, json};

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

/// A Deployment of two containers.
fn shop() -> Value {
    let mut object: Value = serde_json::from_str(&deployment("shop", Some(2), "nginx:1")).unwrap();
    let cache = json!({"name": "cache", "image": "redis:7", "env": [{"name": "A", "value": "1"}]});
    object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(cache);
    object
}

/// The pods that a Deployment asks for, but for the time at which somebody restarted them.
fn template(stage: &Stage, namespace: &str) -> Value {
    let mut template = stage.get(namespace, "deployment", "shop")["spec"]["template"].take();
    let annotations = template["metadata"]["annotations"].as_object_mut();
    if let Some(restarted) = annotations.and_then(|all| all.get_mut("kubectl.kubernetes.io/restartedAt")) {
        *restarted = "some time".into();
    }
    template
}

/// What each of twelve kinds of edit does to a workload that was there before is what it does where
/// no webhook is asked: the same template, the same number of ReplicaSets.
#[test]
fn an_edit_of_an_old_workload_does_what_it_did() {
    let stage = stage();
    let namespaces = ["twin-plain", "twin"].map(|prefix| stage.plane.namespace(prefix, &[]));
    let [plain, old] = &namespaces;
    let manifest = shop().to_string();
    for namespace in &namespaces {
        let apply = ["apply", "-n", namespace, "-f", "-"];
        stage.plane.kubectl_stdin("alice", &apply, &manifest).expect_ok("not production yet");
        stage.wait_for_replica_set(namespace);
    }
    stage.plane.kubectl("admin", &["label", "namespace", old, "environment=production"]).expect_ok("a label");
    stage.wait_until_governed(old);

    let resources = r#"{"spec":{"template":{"spec":{"containers":[{"name":"cache","resources":{"requests":{"cpu":"1"}}}]}}}}"#;
    let grace = r#"{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":7}}}}"#;
    let port =
        r#"[{"op":"add","path":"/spec/template/spec/containers/0/ports","value":[{"containerPort":80}]}]"#;
    let mut replaced = shop();
    replaced["spec"]["template"]["spec"]["containers"][1]["image"] = "redis:8".into();
    let replaced = replaced.to_string();
    let d = "deployment/shop";
    let edits: [(&[&str], &str); 13] = [
        (&["label", d, "team=a"], ""),
        (&["annotate", d, "note=a"], ""),
        (&["scale", d, "--replicas=3"], ""),
        (&["rollout", "restart", d], ""),
        (&["set", "image", d, "app=nginx:2"], ""),
        (&["set", "env", d, "-c", "cache", "A=2"], ""),
        (&["set", "resources", d, "-c", "app", "--limits=cpu=1"], ""),
        (&["patch", d, "--type=strategic", "-p", resources], ""),
        (&["patch", d, "--type=merge", "-p", grace], ""),
        (&["patch", d, "--type=json", "-p", port], ""),
        (&["apply", "-f", "-"], &manifest),
        (&["replace", "-f", "-"], &replaced),
        (&["rollout", "undo", d], ""),
    ];
    for (edit, input) in edits {
        for namespace in &namespaces {
            let args = [edit, &["-n", namespace]].concat();
            stage.plane.kubectl_stdin("alice", &args, input).expect_ok("an edit of an old workload");
        }
        assert_eq!(template(stage, old), template(stage, plain), "after {edit:?}");
        wait_until("as many ReplicaSets as without a webhook", SOON, || {
            stage.settled_replica_sets(old, "shop") == stage.settled_replica_sets(plain, "shop")
        });
    }

    // A new container is filled in, and its neighbours are not.
    let added = r#"{"spec":{"template":{"spec":{"containers":[{"name":"log","image":"log:1"}]}}}}"#;
    for namespace in &namespaces {
        let args = ["patch", d, "--type=strategic", "-p", added, "-n", namespace];
        stage.plane.kubectl("alice", &args).expect_ok("another container");
    }
    let filled = template(stage, old);
    let mut without = filled.clone();
    let containers = without["spec"]["containers"].as_array_mut().unwrap();
    let log = containers.iter_mut().find(|container| container["name"] == "log").unwrap();
    assert_eq!(log["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(log["volumeMounts"], json!([{"name": "plimsoll-tmp", "mountPath": "/tmp"}]));
    for field in ["securityContext", "volumeMounts"] {
        log.as_object_mut().unwrap().remove(field);
    }
    without["spec"].as_object_mut().unwrap().remove("volumes");
    assert_eq!(without, template(stage, plain), "nothing else was filled in");

    // A PUT of what the author has drops what was filled in, and it comes back before it is stored.
    let mut put = stage.get(plain, "deployment", "shop");
    let metadata = json!({"name": "shop", "labels": put["metadata"]["labels"].take()});
    put["metadata"] = metadata;
    // Each was restarted at a time of its own.
    let annotations = "/spec/template/metadata/annotations";
    if let Some(restarted) = put.pointer_mut(annotations) {
        *restarted = stage.get(old, "deployment", "shop").pointer(annotations).unwrap().clone();
    }
    // The controller may have seen the new template and scaled the old ones first.
    let sets =
        ["get", "replicasets", "-n", old, "-o", "jsonpath={.items[*].spec.template.spec.containers[*].name}"];
    wait_until("the ReplicaSet with the new container", SOON, || {
        stage.plane.kubectl("admin", &sets).stdout.contains("log")
    });
    let names = || -> BTreeSet<String> {
        stage.settled_replica_sets(old, "shop");
        let sets = stage.plane.kubectl("admin", &["get", "replicasets", "-n", old, "-o", "name"]);
        sets.stdout.lines().map(str::to_owned).collect()
    };
    let before = names();
    let args = ["replace", "-n", old, "-f", "-"];
    let run = stage.plane.kubectl_stdin("alice", &args, &put.to_string());
    assert!(run.stderr.contains("for container log"), "{run}");
    run.expect_ok("a PUT");
    assert_eq!(template(stage, old), filled);
    // Old ones may go meanwhile: a Deployment keeps ten of them.
    assert!(names().is_subset(&before), "a new ReplicaSet: {:?}, before {before:?}", names());
}

#[test]
fn outside_production_nothing_is_touched() {
    let stage = stage();
    let namespace = stage.plane.namespace("sandbox", &[("environment", "staging")]);
    let object = deployment("web", Some(1), "nginx:1");
    let run = stage.plane.kubectl_stdin("alice", &["apply", "-n", &namespace, "-f", "-"], &object);
    assert!(!run.stderr.contains("Warning"), "{run}");
    run.expect_ok("a staging namespace");
    let stored = stage.get(&namespace, "deployment", "web");
    assert_eq!(stored["spec"]["replicas"], 1);
    assert!(stored["spec"]["template"]["spec"].get("volumes").is_none());
}
