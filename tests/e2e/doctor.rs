//! `plimsoll doctor` on installations that are right, and on some that aren't.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::controlplane::{ControlPlane, Options, Plimsoll, Run, helm, say};
use super::scan::run_plimsoll;

/// The level of each check that is about something, with what was found.
fn doctor(plane: &ControlPlane) -> (i32, Vec<(String, String)>) {
    let (code, run) = run_plimsoll(plane, "admin", &["doctor", "--output", "json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"));
    let checks = report["checks"].as_array().expect("checks").iter();
    let line = |check: &Value| {
        let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
        (text("level"), format!("{}: {} -> {}", text("about"), text("found"), text("advice")))
    };
    (code, checks.map(line).collect())
}

fn worse(checks: &[(String, String)]) -> Vec<&str> {
    checks.iter().filter(|(level, _)| level != "ok").map(|(_, line)| line.as_str()).collect()
}

fn chart(plane: &ControlPlane, set: &[&str]) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/plimsoll");
    let mut template = Command::new(helm(&say).expect("helm"));
    template.args(["template", "plimsoll", chart, "--namespace", "plimsoll-system"]);
    template.args(set.iter().flat_map(|value| ["--set", value]));
    let rendered = Run::of(template, "").expect_ok("the chart renders");
    plane
        .kubectl_stdin("admin", &["apply", "-n", "plimsoll-system", "-f", "-"], &rendered)
        .expect_ok("what the chart renders can be applied");
}

fn kubectl(plane: &ControlPlane, args: &[&str]) {
    plane.kubectl("admin", args).expect_ok("admin may do anything");
}

#[test]
fn a_right_installation_and_three_broken_ones() {
    let plane = ControlPlane::start(Options { controller_manager: false, ..Options::default() });
    let plane = plane.expect("a control plane");
    let (code, checks) = doctor(&plane);
    assert_eq!(code, 1);
    assert!(worse(&checks)[0].contains("ValidatingWebhookConfiguration: there is none"), "{checks:#?}");

    let program = Path::new(env!("CARGO_BIN_EXE_plimsoll"));
    let certs = plane.dir().join("certs");
    let file = |name: &str| certs.join(name).to_str().unwrap().to_owned();
    let generate = ["certs", "generate", "--dns", "127.0.0.1", "--out", certs.to_str().unwrap()];
    run_plimsoll(&plane, "admin", &generate).1.expect_ok("certificates");
    let (cert, key) = (file("tls.crt"), file("tls.key"));
    let plimsoll = Plimsoll::start(&plane, program, &["--tls-cert", &cert, "--tls-key", &key]);
    let plimsoll = plimsoll.expect("Plimsoll starts");

    // As the chart makes it, nothing is wrong.
    kubectl(&plane, &["create", "namespace", "plimsoll-system"]);
    kubectl(&plane, &["create", "namespace", "shop"]);
    kubectl(&plane, &["label", "namespace", "shop", "environment=production"]);
    let url = format!("webhook.url=https://127.0.0.1:{}", plimsoll.port);
    let bundle = |path: &str| format!("webhook.caBundle={}", STANDARD.encode(std::fs::read(path).unwrap()));
    chart(&plane, &[&url, &bundle(&file("ca.crt"))]);
    let (code, checks) = doctor(&plane);
    assert_eq!((code, worse(&checks)), (0, Vec::new()), "{checks:#?}");
    let about = |wanted: &str| checks.iter().any(|(_, line)| line.contains(wanted));
    assert!(about("every webhook trusts its certificate"), "{checks:#?}");
    assert!(about("1 governed: shop"), "{checks:#?}");

    // A caBundle of another authority.
    let other = plane.dir().join("others");
    let generate = ["certs", "generate", "--dns", "127.0.0.1", "--out", other.to_str().unwrap()];
    run_plimsoll(&plane, "admin", &generate).1.expect_ok("certificates");
    chart(&plane, &[&url, &bundle(other.join("ca.crt").to_str().unwrap())]);
    let (code, checks) = doctor(&plane);
    assert_eq!((code, worse(&checks).len()), (1, 1), "{checks:#?}");
    assert!(
        worse(&checks)[0].contains("its caBundle is not of the CA that signed the certificate"),
        "{checks:#?}"
    );
    chart(&plane, &[&url, &bundle(&file("ca.crt"))]);

    // Somebody opened the gate, and somebody else every gate.
    let patch = r#"[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"},
        {"op":"replace","path":"/webhooks/0/namespaceSelector","value":{"matchLabels":{"environment":"staging"}}}]"#;
    kubectl(&plane, &["patch", "validatingwebhookconfiguration", "plimsoll", "--type=json", "-p", patch]);
    let (code, checks) = doctor(&plane);
    assert_eq!(code, 1);
    let told = worse(&checks).join("\n");
    assert!(told.contains("validate.plimsoll.dev: has failurePolicy Ignore"), "{told}");
    assert!(told.contains("1 governed and not sent: shop"), "{told}");
    let patch = r#"[{"op":"remove","path":"/webhooks/0/namespaceSelector"}]"#;
    kubectl(&plane, &["patch", "mutatingwebhookconfiguration", "plimsoll", "--type=json", "-p", patch]);
    let told = worse(&doctor(&plane).1).join("\n");
    assert!(told.contains("mutate.plimsoll.dev: is asked about namespace kube-system"), "{told}");
    assert!(told.contains("LOCKOUT"), "{told}");
    kubectl(&plane, &["delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration", "plimsoll"]);

    // In the cluster, with nobody behind the Service.
    chart(&plane, &[&bundle(&file("ca.crt"))]);
    let (code, checks) = doctor(&plane);
    assert_eq!((code, worse(&checks).len()), (1, 1), "{checks:#?}");
    assert!(
        worse(&checks)[0].contains("Service plimsoll-system/plimsoll: has no ready endpoint"),
        "{checks:#?}"
    );
}
