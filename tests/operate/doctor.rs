//! `helm test`: the chart's doctor, by its own account and arguments.

use std::process::Command;

use plimsoll::manifest;
use serde_json::{Value, json};

use crate::controlplane::{Run, helm, say};
use crate::installation::{CHART, Installation, NAMESPACE, account};
use crate::{installation, plimsoll};

/// Puts in what the test's pod needs, and runs what it runs.
fn helm_test(installation: &Installation) -> Run {
    let mut template = Command::new(helm(&say).expect("helm"));
    template.args(["template", "plimsoll", CHART, "--namespace", NAMESPACE]);
    template.args(["--show-only", "templates/tests/doctor.yaml"]);
    let rendered = Run::of(template, "").expect_ok("the chart should be rendered");
    let documents = manifest::parse("doctor.yaml", &rendered).expect("YAML");
    let (pods, around): (Vec<Value>, Vec<Value>) =
        documents.into_iter().map(|document| document.value).partition(|object| object["kind"] == "Pod");
    for object in around {
        installation.plane.apply_manifest(&object.to_string()).expect_ok("its account and roles");
    }
    let args = pods[0]["spec"]["containers"][0]["args"].as_array().expect("arguments").iter();
    let mut doctor = Command::new(plimsoll());
    doctor.args(args.map(|arg| arg.as_str().expect("arguments are text")));
    let kubeconfig = account(&installation.plane, pods[0]["spec"]["serviceAccountName"].as_str().unwrap());
    doctor.arg("--kubeconfig").arg(kubeconfig);
    Run::of(doctor, "")
}

#[test]
fn helm_test_passes_on_a_sound_installation_and_fails_on_one_that_nobody_answers_for() {
    let mut installation = installation();
    let sound = helm_test(&installation);
    say(&sound.stdout);
    sound.expect_ok("a sound installation");

    // The API server itself takes what only Plimsoll knows to be wrong, when that isn't asked.
    let wrong = json!({
        "apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy", "metadata": {"name": "wrong"},
        "spec": {"match": {"namespaces": ["shop"]}, "rules": {"min-replica": {}}},
    });
    let delete = ["delete", "validatingwebhookconfiguration", "plimsoll"];
    installation.plane.kubectl("admin", &delete).expect_ok("the gate is open");
    installation.plane.apply_manifest(&wrong.to_string()).expect_ok("nobody is asked");
    installation.helm(&["upgrade", "plimsoll"]);
    installation.wait_until_called();
    let misled = helm_test(&installation);
    installation.plane.kubectl("admin", &["delete", "invpol", "wrong"]).expect_ok("it was a test's");
    assert!(!misled.status_ok && misled.stdout.contains(r#"did you mean "min-replicas""#), "{misled}");

    for index in 0..installation.replicas.len() {
        installation.set_endpoint(index, false);
    }
    let deserted = helm_test(&installation);
    installation.wait_until_ready();
    assert!(!deserted.status_ok && deserted.stdout.contains("has no ready endpoint"), "{deserted}");
}
