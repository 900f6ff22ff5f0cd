//! What admission adds to a write, through a real API server.
//!
//! `cargo bench --bench admission` starts a control plane and lets one client change a stored
//! Deployment by dry runs, one after the other: with nothing in between, with two
//! ValidatingAdmissionPolicies that the API server evaluates itself, with two webhooks that judge
//! nothing, and with Plimsoll. They get their turns alternately, so that what else the machine does
//! hits all alike.

// Clippy's leave for tests doesn't reach benchmarks; one that can't go on is to fail loudly.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../../tests/controlplane/harness.rs"]
mod controlplane;
#[path = "../support/floor.rs"]
#[allow(dead_code, reason = "of use to several benchmarks")]
mod floor;
mod gates;
#[path = "../support/kernel.rs"]
#[allow(dead_code, reason = "of use to several benchmarks")]
mod kernel;

use std::time::{Duration, Instant};

use clap::Parser;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use plimsoll::cluster::Cluster;
use serde_json::{Value, json};

use controlplane::{ControlPlane, Options};
use gates::Gate;

/// The Deployment that is changed.
const NAME: &str = "checkout";

#[derive(Debug, Parser)]
struct Args {
    /// How often every gate gets its turn.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How many requests a turn has.
    #[arg(long, default_value_t = 50)]
    requests: usize,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one gate's turns gave.
#[derive(Default)]
struct Figures {
    /// In milliseconds.
    latencies: Vec<f64>,
    /// The median of each turn.
    medians: Vec<f64>,
    apiserver: Duration,
    plimsoll: Duration,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let plane = ControlPlane::start(Options { controller_manager: false, ..Options::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = runtime.block_on(Cluster::connect(Some(&plane.kubeconfig("admin"))))?;
    let client = cluster.client();
    let plimsoll = gates::build(&plane)?;
    for gate in Gate::ALL {
        runtime.block_on(create(client, gate))?;
        runtime.block_on(check(client, gate))?;
    }
    let apiserver = plane.servers().find(|server| server.name() == "kube-apiserver").expect("it runs").pid();
    let mut all: [Figures; Gate::ALL.len()] = Default::default();
    // The first round warms up.
    for round in 0..=args.rounds {
        for position in 0..Gate::ALL.len() {
            let index = (round + position) % Gate::ALL.len();
            let busy = || (kernel::busy(apiserver), kernel::busy(plimsoll.process.pid()));
            let before = busy();
            let mut latencies = Vec::new();
            for change in 0..args.requests {
                let began = Instant::now();
                runtime.block_on(patch(client, Gate::ALL[index], &harmless(change)))?;
                latencies.push(began.elapsed().as_secs_f64() * 1e3);
            }
            let after = busy();
            if round > 0 {
                let figures = &mut all[index];
                figures.medians.push(quantile(&latencies, 0.5));
                figures.latencies.extend(latencies);
                figures.apiserver += after.0 - before.0;
                figures.plimsoll += after.1 - before.1;
            }
        }
    }
    print(&args, &all);
    Ok(())
}

/// What `kubectl rollout restart` would write.
fn harmless(change: usize) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"example.com/change": change.to_string()}}}}})
}

/// The Deployment of which a real API server sent a review, 10 KiB of it, in the gate's namespace.
fn deployment(gate: Gate) -> Value {
    let review = include_bytes!("../reviews/create.json");
    let mut review: Value = serde_json::from_slice(review).unwrap();
    let mut object = review["request"]["object"].take();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "generation", "creationTimestamp", "managedFields"] {
        metadata.remove(field);
    }
    metadata.insert("name".to_owned(), NAME.into());
    metadata.insert("namespace".to_owned(), gate.namespace().into());
    object
}

fn path(gate: Gate) -> String {
    format!("/apis/apps/v1/namespaces/{}/deployments", gate.namespace())
}

async fn create(client: &kube::Client, gate: Gate) -> anyhow::Result<()> {
    let request =
        Request::new(path(gate)).create(&PostParams::default(), deployment(gate).to_string().into())?;
    client.request_text(request).await?;
    Ok(())
}

/// Patches the Deployment without storing it.
async fn patch(client: &kube::Client, gate: Gate, change: &Value) -> Result<(), kube::Error> {
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let request = Request::new(path(gate)).patch(NAME, &params, &Patch::Strategic(change));
    client.request_text(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}

/// Every gate does what it is there for before it is timed: both rules, or nothing.
async fn check(client: &kube::Client, gate: Gate) -> anyhow::Result<()> {
    patch(client, gate, &harmless(0)).await?;
    let one = json!({"spec": {"replicas": 1}});
    let container = json!({"name": "api", "securityContext": {"readOnlyRootFilesystem": false}});
    let writable = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    for (rule, change) in [("min-replicas", one), ("read-only-root-filesystem", writable)] {
        let refused = match patch(client, gate, &change).await {
            Ok(()) => false,
            Err(kube::Error::Api(status)) if status.message.contains(rule) => true,
            Err(error) => return Err(error.into()),
        };
        anyhow::ensure!(refused == gate.judges(), "{}: {rule}", gate.name());
    }
    Ok(())
}

fn print(args: &Args, all: &[Figures; Gate::ALL.len()]) {
    println!("{} rounds of {} dry-run patches each, milliseconds:\n", args.rounds, args.requests);
    println!("| in between | p50 | p99 | adds to p50 | API server's CPU | adds | Plimsoll's CPU |");
    println!("|---|---|---|---|---|---|---|");
    let count = (args.rounds * args.requests) as f64;
    let [open, ..] = all;
    for (gate, figures) in Gate::ALL.iter().zip(all) {
        let adds: Vec<f64> =
            figures.medians.iter().zip(&open.medians).map(|(with, without)| with - without).collect();
        let cpu = |busy: Duration| busy.as_secs_f64() * 1e3 / count;
        println!(
            "| {} | {:.1} | {:.1} | {:.1} ({:.1} to {:.1}) | {:.1} | {:.1} | {:.2} |",
            gate.name(),
            quantile(&figures.latencies, 0.5),
            quantile(&figures.latencies, 0.99),
            quantile(&adds, 0.5),
            quantile(&adds, 0.0),
            quantile(&adds, 1.0),
            cpu(figures.apiserver),
            cpu(figures.apiserver) - cpu(open.apiserver),
            cpu(figures.plimsoll),
        );
    }
}

fn quantile(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * quantile).round() as usize).copied().unwrap_or_default()
}
