//! Many manifests checked, beside kube-score; and a scan of a large cluster.
//!
//! `cargo bench --bench survey` writes manifests to a temporary directory, lets both judge them in
//! turns, and prints ratios; then it fills a real API server with Deployments and scans them.

// Clippy's leave for tests doesn't reach benchmarks; one that can't go on is to fail loudly.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../../tests/controlplane/harness.rs"]
mod controlplane;
#[path = "../support/kernel.rs"]
#[allow(dead_code, reason = "of use to several benchmarks")]
mod kernel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};

use controlplane::{ControlPlane, Options, kube_score, say};

#[derive(Debug, Parser)]
struct Args {
    /// How often both check all manifests.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many manifests there are, in a file each.
    #[arg(long, default_value_t = 10_000)]
    manifests: usize,
    /// How many Deployments are scanned.
    #[arg(long, default_value_t = 5_000)]
    deployments: usize,
    /// The plimsoll to measure, if not the one that was built with this.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_plimsoll"))]
    program: PathBuf,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    check(&args)?;
    scan(&args)
}

/// What a run of a program took.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    mebibytes: f64,
}

impl Cost {
    /// Runs a program to its end. Its exit code says what it found.
    fn of(command: &mut Command) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut peak = 0;
        while child.try_wait()?.is_none() {
            // The most that it had resident so far; it is gone with the process.
            peak = peak.max(kernel::kibibytes(child.id(), "VmHWM"));
            thread::sleep(Duration::from_millis(2));
        }
        Ok(Self { seconds: began.elapsed().as_secs_f64(), mebibytes: peak as f64 / 1024.0 })
    }
}

fn check(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (index, object) in objects().take(args.manifests).enumerate() {
        let file = folder.path().join(format!("{index}.json"));
        fs::write(&file, object.to_string())?;
        files.push(file);
    }
    let kube_score = kube_score(&say)?;
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..args.rounds {
        ours.push(Cost::of(
            Command::new(&args.program).args(["check", "--output", "json"]).arg(folder.path()),
        )?);
        theirs.push(Cost::of(
            Command::new(&kube_score).args(["score", "--output-format", "json"]).args(&files),
        )?);
    }
    println!("{} manifests, {} rounds in turns, medians:\n", files.len(), args.rounds);
    println!("| | seconds | MiB at most |\n|---|---|---|");
    print("plimsoll check", &ours);
    print("kube-score score", &theirs);
    let ratio = |of: fn(&Cost) -> f64| {
        median(theirs.iter().zip(&ours).map(|(theirs, ours)| of(theirs) / of(ours)).collect())
    };
    println!(
        "\nkube-score takes {:.1} times as long and {:.1} times the memory.\n",
        ratio(|c| c.seconds),
        ratio(|c| c.mebibytes)
    );
    Ok(())
}

fn scan(args: &Args) -> anyhow::Result<()> {
    let plane = ControlPlane::start(Options { controller_manager: false, ..Options::default() })?;
    let namespaces = (0..NAMESPACES).map(namespace);
    let all = objects().filter(|object| object["kind"] == "Deployment").take(args.deployments);
    let file = plane.dir().join("deployments.json");
    write_list(&file, namespaces.chain(all))?;
    plane
        .kubectl("admin", &["create", "--validate=false", "-f", file.to_str().unwrap()])
        .expect_ok("objects");
    let mut costs = Vec::new();
    for _ in 0..args.rounds {
        let mut scan = Command::new(&args.program);
        scan.arg("scan").arg("--kubeconfig").arg(plane.kubeconfig("admin")).args(["--output", "json"]);
        costs.push(Cost::of(&mut scan)?);
    }
    println!("| | seconds | MiB at most |\n|---|---|---|");
    print(&format!("plimsoll scan, {} Deployments", args.deployments), &costs);
    Ok(())
}

fn write_list(file: &Path, items: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    let items: Vec<Value> = items.collect();
    Ok(fs::write(file, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?)
}

/// How many namespaces the objects are spread over.
const NAMESPACES: usize = 50;

fn namespace(index: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": format!("team-{index}"), "labels": {"environment": "production"}}})
}

/// Deployments, each with its Service, autoscaler and budget, for ever; the namespaces come first.
fn objects() -> impl Iterator<Item = Value> {
    let systems = (0..).flat_map(|index| {
        let name = format!("web-{index}");
        let labels = json!({"app": name});
        let object = |version: &str, kind: &str, spec: Value| {
            json!({"apiVersion": version, "kind": kind, "spec": spec,
                "metadata": {"name": name, "namespace": format!("team-{}", index % NAMESPACES), "labels": labels}})
        };
        let container = |name: &str, context: Value| {
            json!({"name": name, "image": "registry.example.com/web:1.2", "securityContext": context,
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}})
        };
        let mut sidecar = container("sidecar", json!({"readOnlyRootFilesystem": true}));
        sidecar["ports"] = json!([]);
        let containers = json!([container("web", json!({})), sidecar]);
        [
            object("apps/v1", "Deployment", json!({"replicas": 1 + index % 3, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}})),
            object("v1", "Service", json!({"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]})),
            object("autoscaling/v2", "HorizontalPodAutoscaler", json!({"minReplicas": 2, "maxReplicas": 6,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}})),
            object("policy/v1", "PodDisruptionBudget", json!({"maxUnavailable": 1,
                "selector": {"matchLabels": labels}})),
        ]
    });
    (0..NAMESPACES).map(namespace).chain(systems)
}

fn print(what: &str, costs: &[Cost]) {
    let (seconds, mebibytes) = (costs.iter().map(|c| c.seconds), costs.iter().map(|c| c.mebibytes));
    println!("| {what} | {:.2} | {:.0} |", median(seconds.collect()), median(mebibytes.collect()));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
