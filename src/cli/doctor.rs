//! `plimsoll doctor`: whether a live installation does what it is there for, and what to do if not.

mod endpoint;
mod namespaces;
mod webhook;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use self::webhook::Configuration;
use super::{install_tls_provider, print};
use crate::cluster::webhooks::{Role, SELECTOR, Webhooks};
use crate::cluster::{self, Cluster};
use crate::policy::{Policy, load};
use crate::render::{counted, sanitise};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cluster to look at. Without it: the one of KUBECONFIG, of ~/.kube/config, or that this runs in.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The policies in force. Without them: those of the chart's ConfigMap if there is one, else the shipped ones.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// What to print.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Output {
    /// A line for each check, and what to do below.
    Text,
    /// One JSON document.
    Json,
}

/// How a check ended, the best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Problem,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    level: Level,
    /// What was looked at.
    about: String,
    /// What was seen.
    found: String,
    /// What to do; empty if nothing has to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

/// The checks so far.
#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, about: &str, found: impl Into<String>) {
        self.add(Level::Ok, about, &found.into(), "");
    }

    fn warning(&mut self, about: &str, found: impl Into<String>, advice: &str) {
        self.add(Level::Warning, about, &found.into(), advice);
    }

    fn problem(&mut self, about: &str, found: impl Into<String>, advice: &str) {
        self.add(Level::Problem, about, &found.into(), advice);
    }

    fn add(&mut self, level: Level, about: &str, found: &str, advice: &str) {
        let (about, found) = (sanitise(about), sanitise(found));
        self.0.push(Check { level, about, found, advice: sanitise(advice) });
    }

    fn worst(&self) -> Level {
        self.0.iter().map(|check| check.level).max().unwrap_or(Level::Ok)
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    install_tls_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let checks = runtime.block_on(examine(args))?;
    let mut out = io::stdout().lock();
    let printed = match args.output {
        Output::Json => serde_json::to_writer_pretty(
            &mut out,
            &serde_json::json!({
                "schema": "plimsoll.dev/doctor/v1", "level": checks.worst(), "checks": checks.0
            }),
        )
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out)),
        Output::Text => text(&mut out, &checks),
    };
    print::written(printed)?;
    Ok(match checks.worst() {
        Level::Ok | Level::Warning => ExitCode::SUCCESS,
        Level::Problem => ExitCode::from(1),
    })
}

fn text(out: &mut impl io::Write, checks: &Checks) -> io::Result<()> {
    for Check { level, about, found, advice } in &checks.0 {
        let level = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        writeln!(out, "{level:<8} {about}: {found}")?;
        if !advice.is_empty() {
            writeln!(out, "         -> {advice}")?;
        }
    }
    let of = |level: Level| checks.0.iter().filter(|check| check.level == level).count();
    writeln!(
        out,
        "\n{}, {}, {}.",
        counted(checks.0.len(), "check", "checks"),
        counted(of(Level::Warning), "warning", "warnings"),
        counted(of(Level::Problem), "problem", "problems")
    )
}

async fn examine(args: &Args) -> anyhow::Result<Checks> {
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let mut checks = Checks::default();
    let version = cluster.version().await.with_context(|| format!("{} doesn't answer", cluster.url()))?;
    version_check(&mut checks, &version, cluster.url());

    let mut configurations = Vec::new();
    for role in Role::ALL {
        let objects = cluster.inspect(role.path(), Some(SELECTOR)).await?;
        for object in objects {
            configurations.push(Configuration::read(role, object)?);
        }
    }
    webhook::examine(&mut checks, &configurations);
    let registrations = Webhooks::new(&cluster).list().await?;
    for target in webhook::targets(&configurations) {
        endpoint::examine(&mut checks, &cluster, &target, &registrations).await;
    }
    let home = configurations.iter().find_map(Configuration::namespace);
    if let Some(policies) = policies(&mut checks, &cluster, args, home).await? {
        namespaces::examine(&mut checks, &cluster, &configurations, &policies).await?;
    }
    Ok(checks)
}

/// matchConditions are on by default since 1.28 and stable since 1.30 (KEP-3716).
fn version_check(checks: &mut Checks, version: &str, url: &str) {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let found = format!("Kubernetes {version} at {url}");
    if (major, minor) < (1, 28) {
        let advice = "matchConditions need 1.28: without them every controller's writes depend on Plimsoll. Upgrade first";
        checks.problem("API server", found, advice);
    } else {
        checks.ok("API server", found);
    }
}

/// The policies in force; `None` if they can't be read, which is on record then.
async fn policies(
    checks: &mut Checks,
    cluster: &Cluster,
    args: &Args,
    home: Option<&str>,
) -> anyhow::Result<Option<Vec<Policy>>> {
    let about = "Policies";
    let mut texts = Vec::new();
    if let (Some(home), true) = (home, args.policies.is_empty()) {
        let maps = cluster.inspect(&format!("/api/v1/namespaces/{home}/configmaps"), Some(SELECTOR)).await;
        match maps {
            Ok(maps) => maps.iter().for_each(|map| texts.extend(documents(map))),
            Err(error) => checks.warning(
                about,
                format!("the chart's ConfigMap can't be looked at: {error}"),
                "Give doctor the policies with --policies, or the right to list ConfigMaps there",
            ),
        }
    }
    let (from, loaded) = if !args.policies.is_empty() {
        ("as given", load::from_paths(&args.policies))
    } else if !texts.is_empty() {
        ("from the chart's ConfigMap", load::from_texts(&texts))
    } else {
        ("the shipped ones", load::embedded())
    };
    match loaded {
        Ok(mut policies) => {
            let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
            checks.ok(about, format!("{from}: {}", names.join(", ")));
            installed(checks, cluster, &mut policies).await;
            Ok(Some(policies))
        }
        Err(error) => {
            let advice = "Plimsoll doesn't start with them, or goes on with the last good set. Mend them; `plimsoll check` says the same";
            checks.problem(about, format!("{from}, wrong: {error}"), advice);
            Ok(None)
        }
    }
}

/// Adds the cluster's own policies; one that is right replaces its namesake.
async fn installed(checks: &mut Checks, cluster: &Cluster, policies: &mut Vec<Policy>) {
    let about = "InvariantPolicies";
    let objects = match cluster::policies::installed(cluster).await {
        Ok(objects) => objects,
        Err(error) => return checks.warning(about, error.to_string(), "Give doctor the right to list them"),
    };
    let mut names = Vec::new();
    for object in &objects {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        match load::resource(object) {
            Ok(policy) => {
                names.push(name);
                policies.retain(|other| other.name != policy.name);
                policies.push(policy);
            }
            Err(faults) => checks.problem(
                &format!("InvariantPolicy {name}"),
                format!("not in force: {}", faults.join("; ")),
                "It came in while Plimsoll wasn't asked. Mend it: until then its last good version holds, if there was one",
            ),
        }
    }
    if !names.is_empty() {
        checks.ok(about, format!("in force beside them: {}", names.join(", ")));
    }
}

/// The policy documents in a ConfigMap.
fn documents(map: &Value) -> Vec<(String, String)> {
    let name = map.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let data = map.get("data").and_then(Value::as_object).into_iter().flatten();
    data.filter_map(|(file, text)| Some((format!("ConfigMap {name}, {file}"), text.as_str()?.to_owned())))
        .filter(|(_, text)| text.contains("InvariantPolicy"))
        .collect()
}
