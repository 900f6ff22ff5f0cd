//! The five systems get the decisions that their runbooks ask for.

use std::collections::BTreeMap;

use super::controlplane::{Run, manifests};
use super::{Stage, stage};

/// Applies a folder object by object; what became of each by its title.
fn apply(stage: &Stage, system: &str, place: &str) -> BTreeMap<String, Run> {
    let all = manifests(system, place);
    all.into_iter()
        .map(|manifest| (manifest.title.clone(), stage.plane.apply("alice", &manifest, &[])))
        .collect()
}

fn start(stage: &Stage, system: &str, namespace: &str) {
    for manifest in manifests(system, "namespace") {
        stage.plane.apply("admin", &manifest, &[]).expect_ok("the namespace");
    }
    stage.wait_until_governed(namespace);
}

/// The titles of what was refused, each by Plimsoll.
fn refused(runs: &BTreeMap<String, Run>) -> Vec<&str> {
    let refused: Vec<_> = runs.iter().filter(|(_, run)| !run.status_ok).collect();
    for (title, run) in &refused {
        assert!(
            run.stderr.contains("admission webhook") && run.stderr.contains("plimsoll.dev"),
            "{title}: {run}"
        );
    }
    refused.into_iter().map(|(title, _)| title.as_str()).collect()
}

#[test]
fn signature() {
    let stage = &stage();
    start(stage, "signature", "signature");
    let documented = apply(stage, "signature", "documented");
    assert_eq!(refused(&documented), ["Deployment/signing-app"]);
    let message = &documented["Deployment/signing-app"].stderr;
    assert!(message.contains("Deployment signature/signing-app has 1 replica"), "{message}");
    assert!(message.contains("waiver.plimsoll.dev/min-replicas"), "{message}");
    let fixed = apply(stage, "signature", "fixed");
    assert!(refused(&fixed).is_empty());
    assert!(
        fixed["Deployment/signing-app"].stderr.contains("waived by"),
        "{}",
        fixed["Deployment/signing-app"]
    );

    let scale = |replicas: &str| {
        stage.plane.kubectl("alice", &["scale", "deployment", "api", replicas, "-n", "signature"])
    };
    let message = scale("--replicas=1").expect_refused("one replica");
    assert!(message.contains("min-replicas: Deployment signature/api has 1 replica"), "{message}");
    scale("--replicas=2").expect_ok("two replicas");
    scale("--replicas=0").expect_ok("switching off");
    let waived = ["scale", "deployment", "signing-app", "--replicas=1", "-n", "signature"];
    stage.plane.kubectl("alice", &waived).expect_ok("the waiver of the Deployment covers its scale");
}

#[test]
fn booking_qs() {
    let stage = &stage();
    start(stage, "booking-qs", "spc--booking-qs");
    let documented = apply(stage, "booking-qs", "documented");
    assert!(refused(&documented).is_empty(), "{:?}", refused(&documented));
    let app = stage.get("spc--booking-qs", "deployment", "spc--booking-qs--be--app--prod");
    assert_eq!(app["spec"]["replicas"], 3);
    let pod = &app["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["volumes"][0]["emptyDir"]["sizeLimit"], "64Mi");
}

#[test]
fn honeydue() {
    let stage = &stage();
    start(stage, "honeydue", "honeydue");
    let documented = apply(stage, "honeydue", "documented");
    assert_eq!(refused(&documented), ["Deployment/admin", "Deployment/redis"]);
    for untouched in
        ["Deployment/api", "Deployment/web", "PodDisruptionBudget/web-pdb", "PodDisruptionBudget/worker-pdb"]
    {
        let stderr = &documented[untouched].stderr;
        assert!(!stderr.contains("Warning"), "{untouched} is right as documented: {stderr}");
    }
    let worker = stage.get("honeydue", "deployment", "worker");
    assert_eq!(
        (&worker["spec"]["replicas"], &worker["spec"]["strategy"]["type"]),
        (&1.into(), &"Recreate".into())
    );

    let refusals = apply(stage, "honeydue", "refused");
    assert_eq!(refused(&refusals).len(), refusals.len(), "{:?}", refused(&refusals));
    let scale = ["scale", "deployment", "worker", "--replicas=2", "-n", "honeydue"];
    let message = stage.plane.kubectl("alice", &scale).expect_refused("two workers");
    assert!(message.contains("singleton: Deployment honeydue/worker has 2 replicas"), "{message}");
    assert!(refused(&apply(stage, "honeydue", "fixed")).is_empty());
}

#[test]
fn authenticate() {
    let stage = &stage();
    start(stage, "authenticate", "pat--authenticate");
    let documented = apply(stage, "authenticate", "documented");
    let worker = "Deployment/pat--authenticate--be--wrk--default--prod";
    assert_eq!(refused(&documented), ["CronJob/cron--prod", worker]);
    let message = &documented["CronJob/cron--prod"].stderr;
    assert!(message.contains("1 minute apart") && message.contains("*/5 * * * *"), "{message}");
    assert!(refused(&apply(stage, "authenticate", "fixed")).is_empty());
}

#[test]
fn imp() {
    let stage = &stage();
    start(stage, "imp", "imp");
    let documented = apply(stage, "imp", "documented");
    let refused_titles = refused(&documented);
    for title in [
        "Deployment/consumer-customer",
        "Deployment/consumer-employee",
        "Deployment/consumer-lis-test-master",
    ] {
        assert!(refused_titles.contains(&title), "{title}: {refused_titles:?}");
    }
    assert!(documented["HorizontalPodAutoscaler/api"].status_ok, "2 to 5 is fine");
    let autoscalers = refused_titles.iter().filter(|title| title.starts_with("HorizontalPodAutoscaler/"));
    assert_eq!(autoscalers.count(), 6, "every HPA with a minimum of 1: {refused_titles:?}");
    let inactive = manifests("imp", "documented/inactive");
    assert_eq!(inactive.iter().filter(|manifest| manifest.title.starts_with("Deployment/")).count(), 12);
    for manifest in &inactive {
        assert!(documented[&manifest.title].status_ok, "{} is inactive", manifest.title);
    }
    assert_eq!(stage.get("imp", "deployment", "consumer-worker-order")["spec"]["replicas"], 2, "left unset");
    assert!(refused(&apply(stage, "imp", "fixed/consumers")).is_empty());
    assert!(refused(&apply(stage, "imp", "fixed/keda-consumers")).is_empty());
    let scaled = apply(stage, "imp", "fixed/scaledobjects");
    assert!(refused(&scaled).is_empty(), "{:?}", refused(&scaled));
}
