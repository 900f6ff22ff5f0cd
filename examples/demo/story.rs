//! What the demo does and shows.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::controlplane::{ControlPlane, Plimsoll, Run, SYSTEMS, manifests};

/// What became of one object or command.
struct Decision {
    system: &'static str,
    act: &'static str,
    what: String,
    outcome: &'static str,
    run: Run,
}

/// Files that the demo leaves out: they describe the same autoscalers as `scaledobjects`, as KEDA
/// makes them, and the two exclude each other.
const SAME_AUTOSCALERS: &str = "keda-hpas";

pub(super) fn tell(plane: &ControlPlane, plimsoll: &Plimsoll) -> anyhow::Result<()> {
    let mut decisions = Vec::new();
    for system in SYSTEMS {
        for manifest in manifests(system, "namespace") {
            let run = plane.apply("admin", &manifest, &[]);
            anyhow::ensure!(run.status_ok, "failed to make a namespace: {run}");
        }
        let act = |act, place: &str, decisions: &mut Vec<Decision>| {
            for manifest in manifests(system, place) {
                if act != "as documented" && manifest.file == SAME_AUTOSCALERS {
                    continue;
                }
                let run = plane.apply("alice", &manifest, &[]);
                let named = manifest.title.ends_with(&manifest.file);
                let what =
                    if named { manifest.title } else { format!("{} ({})", manifest.title, manifest.file) };
                decisions.push(Decision { system, act, what, outcome: outcome(&run), run });
            }
        };
        act("as documented", "documented", &mut decisions);
        for (what, args) in commands(system) {
            let run = plane.kubectl("alice", args);
            decisions.push(Decision {
                system,
                act: "kubectl",
                what: (*what).to_owned(),
                outcome: outcome(&run),
                run,
            });
        }
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systems").join(system);
        if folder.join("refused").is_dir() {
            act("refused", "refused", &mut decisions);
        }
        if folder.join("fixed").is_dir() {
            act("fixed or waived", "fixed", &mut decisions);
        }
        show(system, &decisions);
    }
    rejections(&decisions);
    waivers(plane);
    records(plimsoll);
    Ok(())
}

/// What operators type, beside applying files.
fn commands(system: &str) -> &'static [(&'static str, &'static [&'static str])] {
    match system {
        "signature" => &[
            ("scale api from 0 to 1", &["scale", "deployment", "api", "--replicas=1", "-n", "signature"]),
            ("scale api from 0 to 2", &["scale", "deployment", "api", "--replicas=2", "-n", "signature"]),
        ],
        "honeydue" => {
            &[("scale worker to 2", &["scale", "deployment", "worker", "--replicas=2", "-n", "honeydue"])]
        }
        _ => &[],
    }
}

fn outcome(run: &Run) -> &'static str {
    match run.stderr.as_str() {
        text if !run.status_ok && text.contains("denied the request") => "DENIED",
        _ if !run.status_ok => "failed",
        text if text.contains("(waived by") => "waived",
        text if text.contains(": set ") => "admitted, filled in",
        text if text.contains("Warning:") => "admitted, warned",
        _ => "admitted",
    }
}

fn show(system: &str, decisions: &[Decision]) {
    println!("\n== {system} ==");
    let mut act = "";
    for decision in decisions.iter().filter(|decision| decision.system == system) {
        if decision.act != act {
            act = decision.act;
            println!("{act}:");
        }
        println!("  {:<66} {}", decision.what, decision.outcome);
        if decision.outcome == "failed" {
            println!("    {}", decision.run.stderr.trim());
        }
    }
}

fn rejections(decisions: &[Decision]) {
    println!("\n== What kubectl printed for each rejection ==");
    for decision in decisions.iter().filter(|decision| decision.outcome == "DENIED") {
        println!("\n# {}: {}", decision.system, decision.what);
        println!("{}", decision.run.stderr.trim());
    }
}

fn waivers(plane: &ControlPlane) {
    println!("\n== Waivers in force ==");
    let kinds =
        "deployments,statefulsets,cronjobs,horizontalpodautoscalers,poddisruptionbudgets,scaledobjects";
    let list = plane.kubectl("alice", &["get", kinds, "-A", "-o", "json"]).json();
    for item in list.get("items").and_then(Value::as_array).into_iter().flatten() {
        let annotations =
            item.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
        for (key, value) in annotations.filter(|(key, _)| key.starts_with("waiver.plimsoll.dev/")) {
            let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            println!("{} {}/{}  {key}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
            for line in value.as_str().unwrap_or_default().lines() {
                println!("    {line}");
            }
        }
    }
}

fn records(plimsoll: &Plimsoll) {
    let records = plimsoll.records();
    let mut sums: BTreeMap<(String, String), usize> = BTreeMap::new();
    for finding in records.iter().flat_map(|record| record["findings"].as_array().into_iter().flatten()) {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let state = if text("state") == "New" { text("action") } else { text("state") };
        *sums.entry((text("rule"), state)).or_default() += 1;
    }
    println!("\n== The audit log: {} records ==", records.len());
    for ((rule, state), count) in sums {
        println!("  {rule:<28} {state:<10} {count:>4}");
    }
    println!("\nThe first denial of a team's:");
    let log = std::fs::read_to_string(&plimsoll.audit_log).unwrap_or_default();
    let is_denial =
        |line: &&str| line.contains(r#""decision":"Denied""#) && line.contains(r#""name":"alice""#);
    println!("{}", log.lines().find(is_denial).unwrap_or("none"));
}
