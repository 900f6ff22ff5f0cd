//! `plimsoll scan`: judges what is in a cluster, as the next apply will find it.

mod diff;
mod progress;
mod report;
mod survey;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use jiff::Timestamp;

use self::progress::Progress;
use self::report::Report;
use self::survey::{Outlook, Standing, Survey};
use super::install_tls_provider;
use crate::cluster::{Cluster, ListError, resource};
use crate::object::Kind;
use crate::policy::{Policy, load};

/// The kinds that are judged: those that the chart registers, but for Jobs and ReplicaSets, most of
/// which are what something else in this list made.
const JUDGED: [Kind; 7] = [
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::CronJob,
    Kind::HorizontalPodAutoscaler,
    Kind::PodDisruptionBudget,
    Kind::ScaledObject,
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cluster to look at. Without it: the one of KUBECONFIG, of ~/.kube/config, or that this runs in.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Files and directories of policies; without them the shipped ones are used.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// Show what the given policies would change against the ones in force.
    #[arg(long, requires = "policies")]
    diff: bool,
    /// The policies in force, to compare with; without them the shipped ones.
    #[arg(long, num_args = 1.., value_name = "PATH", requires = "diff")]
    against: Vec<PathBuf>,
    /// Look at one namespace only.
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// What to print.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The weakest action whose findings make the exit code 1.
    #[arg(long, value_enum, default_value_t = FailOn::Deny)]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    /// A line for each finding.
    Text,
    /// One JSON document.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum FailOn {
    Deny,
    Warn,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    install_tls_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(scan(args))
}

async fn scan(args: &Args) -> anyhow::Result<ExitCode> {
    let policies = policies(&args.policies)?;
    let in_force = if args.diff { Some(self::policies(&args.against)?) } else { None };
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let progress = Progress::new();
    let namespace = args.namespace.as_deref();
    let snapshot = cluster.snapshot(namespace, |kind, count| progress.show("reading", kind, count)).await;
    let snapshot = snapshot.map_err(|errors| explain(&errors))?;
    let now = Timestamp::now();

    let mut survey = Survey::new(&policies, &snapshot.facts, now);
    let mut before = in_force.as_deref().map(|policies| Survey::new(policies, &snapshot.facts, now));
    let mut errors = Vec::new();
    for kind in JUDGED {
        let mut count = 0;
        let listed = cluster.list(kind, namespace, |text| {
            count += 1;
            progress.show("judging", kind, count);
            survey.judge(kind, text);
            if let Some(before) = &mut before {
                before.judge(kind, text);
            }
        });
        errors.extend(listed.await.err());
    }
    progress.end();
    if !errors.is_empty() {
        return Err(explain(&errors));
    }
    let unreadable = survey.unreadable.len();
    for problem in &survey.unreadable {
        eprintln!("{problem}");
    }
    let failed = finish(args, cluster.url(), &policies, survey, before, now)?;
    Ok(match (unreadable, failed) {
        (0, false) => ExitCode::SUCCESS,
        (0, true) => ExitCode::from(1),
        _ => ExitCode::from(super::FAILED),
    })
}

/// Prints what was found. Whether it fails.
fn finish(
    args: &Args,
    url: &str,
    policies: &[Policy],
    survey: Survey<'_>,
    before: Option<Survey<'_>>,
    now: Timestamp,
) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    let result = if let Some(before) = before {
        let diff = diff::Diff::of(&before.findings, &survey.findings);
        let failed = diff.added().any(|standing| fails(standing, args.fail_on));
        match args.output {
            Output::Text => diff.text(&mut out),
            Output::Json => diff.json(&mut out),
        }
        .map(|()| failed)
    } else {
        let failed = survey.findings.iter().any(|standing| fails(standing, args.fail_on));
        let report = Report::new(url, policies, survey, now);
        match args.output {
            Output::Text => report.text(&mut out),
            Output::Json => report.json(&mut out),
        }
        .map(|()| failed)
    };
    match result.and_then(|failed| out.flush().map(|()| failed)) {
        // Whoever reads only the first lines has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.context("failed to write the report"),
    }
}

/// A finding that a Deny policy has fails even where the ratchet lets it be: the cluster is not what
/// the policy promises.
fn fails(standing: &Standing, fail_on: FailOn) -> bool {
    match fail_on {
        FailOn::Deny => matches!(standing.outlook, Outlook::Deny | Outlook::Existing),
        FailOn::Warn => matches!(standing.outlook, Outlook::Deny | Outlook::Existing | Outlook::Warn),
    }
}

pub(super) fn policies(paths: &[PathBuf]) -> anyhow::Result<Vec<Policy>> {
    Ok(if paths.is_empty() { load::embedded()? } else { load::from_paths(paths)? })
}

/// All that could not be listed at once, so that one more permission isn't followed by the next.
pub(super) fn explain(errors: &[ListError]) -> anyhow::Error {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let forbidden: Vec<String> = errors.iter().filter_map(ListError::forbidden).map(resource).collect();
    let hint = if forbidden.is_empty() {
        String::new()
    } else {
        format!(
            "\nA scan needs the verb list on {}; with --namespace in that namespace only.",
            forbidden.join(", ")
        )
    };
    anyhow::anyhow!("{}{hint}", lines.join("\n"))
}
