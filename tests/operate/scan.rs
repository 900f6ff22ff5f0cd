//! The chart's scan: its CronJob's own command, with its own service account's token.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::controlplane::{Run, report_crds, wait_until};
use crate::installation::{Installation, NAMESPACE, account};
use crate::{SOON, installation, plimsoll};

/// Runs the CronJob's container as its Job's Pod would.
fn run_cron_job(installation: &Installation) -> Run {
    let job = installation.get(NAMESPACE, "cronjob", "plimsoll-scan");
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "plimsoll-scan");
    let args = pod["containers"][0]["args"].as_array().expect("the container has arguments").iter();
    let mut scan = Command::new(plimsoll());
    scan.args(args.map(|arg| arg.as_str().expect("arguments are text")));
    scan.arg("--kubeconfig").arg(account(&installation.plane, "plimsoll-scan"));
    Run::of(scan, "")
}

fn reports(installation: &Installation, kind: &str, namespace: &str) -> Vec<Value> {
    let list = ["get", kind, "-n", namespace, "-o", "json"];
    installation.plane.kubectl("admin", &list).json()["items"].as_array().unwrap().clone()
}

fn result<'r>(report: &'r Value, rule: &str) -> &'r Value {
    let results = report["results"].as_array().unwrap();
    results.iter().find(|result| result["rule"] == rule).unwrap_or_else(|| panic!("{rule}: {report:#}"))
}

#[test]
fn the_cron_job_writes_reports_and_takes_them_away() {
    let installation = installation();
    for (form, kind) in
        [("openreports", "reports.openreports.io"), ("policyreports", "policyreports.wgpolicyk8s.io")]
    {
        writes_and_takes_away(&installation, form, kind);
    }
    installation.helm(&["upgrade", "plimsoll"]);
}

fn writes_and_takes_away(installation: &Installation, form: &str, kind: &str) {
    let plane = &installation.plane;
    let namespace = plane.namespace("reported", &[]);
    let apply = |text: &str, more: &[&str]| {
        let args =
            [&["apply", "--server-side", "--validate=strict", "-n", &namespace, "-f", "-"], more].concat();
        plane.kubectl_stdin("admin", &args, text)
    };
    let end = jiff::Timestamp::now().checked_add(jiff::Span::new().hours(24 * 60)).unwrap();
    let waiver = format!("{{owner: a@example.com, reason: internal tool only, expires: {end}}}");
    let deployment = |name: &str, replicas: i64, annotations: Value| {
        let labels = json!({"app": name});
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": annotations},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "nginx:1"}]}}}})
    };
    let objects = [
        deployment("alone", 1, json!({})),
        deployment("waived", 1, json!({"waiver.plimsoll.dev/min-replicas": waiver})),
        deployment("off", 0, json!({})),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    apply(&list.to_string(), &[]).expect_ok("nothing governs it yet");
    let label = ["label", "namespace", &namespace, "environment=production"];
    plane.kubectl("admin", &label).expect_ok("a label");

    let print = |form: &str| {
        let mut scan = Command::new(plimsoll());
        plane.point_here(&mut scan, "admin");
        scan.args(["scan", "-n", &namespace, "--output", form, "--fail-on", "Never"]);
        Run::of(scan, "")
    };
    let crds: PathBuf = report_crds(form).unwrap();
    let set = format!("scan.reports={form}");
    installation.helm(&["upgrade", "plimsoll", "--set", "scan.enabled=true", "--set", &set]);
    wait_until("the account", SOON, || {
        let may = ["auth", "can-i", "list", "deployments", "-A", "--as"];
        plane
            .kubectl(
                "admin",
                &[&may[..], &[&format!("system:serviceaccount:{NAMESPACE}:plimsoll-scan")]].concat(),
            )
            .status_ok
    });
    let run = run_cron_job(installation);
    assert!(!run.status_ok && run.stderr.contains("which has to be installed first"), "{run}");
    plane
        .kubectl("admin", &["apply", "--server-side", "-f", crds.to_str().unwrap()])
        .expect_ok("definitions");
    wait_until("the kind to be served", SOON, || plane.kubectl("admin", &["get", kind]).status_ok);

    // What is printed is what the API server takes, to the last field.
    let printed = print(form).expect_ok("a scan");
    apply(&printed, &["--dry-run=server"]).expect_ok("the printed reports are valid");

    run_cron_job(installation).expect_ok("a scan under its own account");
    let found = reports(installation, kind, &namespace);
    assert_eq!(found.len(), 3, "{found:#?}");
    let about = |name: &str| found.iter().find(|report| report["scope"]["name"] == name).expect("a report");
    let alone = about("alone");
    assert_eq!(alone["metadata"]["ownerReferences"][0]["uid"], alone["scope"]["uid"]);
    assert_eq!(result(alone, "min-replicas")["result"], "fail");
    assert_eq!(alone["summary"], json!({"pass": 0, "fail": 2, "warn": 0, "error": 0, "skip": 0}));
    assert_eq!(result(about("off"), "inactive-workload")["result"], "warn");
    let waived = result(about("waived"), "min-replicas");
    assert_eq!(
        (&waived["result"], &waived["properties"]["waiverOwner"]),
        (&json!("skip"), &json!("a@example.com"))
    );

    // Nothing new, nothing written; and a report goes with its object.
    run_cron_job(installation).expect_ok("a scan");
    let again = reports(installation, kind, &namespace);
    let versions =
        |all: &[Value]| all.iter().map(|r| r["metadata"]["resourceVersion"].clone()).collect::<Vec<_>>();
    assert_eq!(versions(&again), versions(&found));
    plane.kubectl("admin", &["delete", "deployment", "alone", "-n", &namespace]).expect_ok("it can go");
    wait_until("its report gone", SOON, || reports(installation, kind, &namespace).len() == 2);

    // What has nothing more to say is taken away; somebody else's report is not.
    for (name, by) in [("plimsoll-former", "plimsoll"), ("another", "somebody")] {
        let metadata = json!({"name": name, "labels": {"app.kubernetes.io/managed-by": by}});
        let report = json!({"apiVersion": alone["apiVersion"], "kind": alone["kind"], "metadata": metadata});
        apply(&report.to_string(), &[]).expect_ok("a report");
    }
    run_cron_job(installation).expect_ok("a scan");
    let left = reports(installation, kind, &namespace);
    let is_left = |name: &str| left.iter().any(|report| report["metadata"]["name"] == name);
    assert!(left.len() == 3 && is_left("another") && !is_left("plimsoll-former"), "{left:#?}");
}
