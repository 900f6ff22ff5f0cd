//! `plimsoll scan`: judges what is in a cluster, as the next apply will find it.

mod diff;
mod in_force;
mod progress;
mod summary;
mod survey;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use jiff::Timestamp;

use self::diff::Diff;
use self::in_force::InForce;
use self::progress::Progress;
use self::survey::Survey;
use super::judged::{JUDGED, Makers};
use super::{install_tls_provider, print};
use crate::cluster::{Cluster, ListError, resource};
use crate::object::Kind;
use crate::render::counted;
use crate::render::report::{self, Output, policy_report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cluster to look at. Without it: the one of KUBECONFIG, of ~/.kube/config, or that this runs in.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Files and directories of policies to judge by. Without them: what a server without any has in force,
    /// the cluster's InvariantPolicies and those shipped ones that none of them replaces.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// Judge by the cluster's InvariantPolicies beside the given ones, as a server with these files does.
    #[arg(long, requires = "policies")]
    installed: bool,
    /// Show what the given policies would change against the ones in force.
    #[arg(long, requires = "policies")]
    diff: bool,
    /// The policies in force, to compare with. Without them: what a server without any has in force.
    #[arg(long, num_args = 1.., value_name = "PATH", requires = "diff")]
    against: Vec<PathBuf>,
    /// Judge Pods that nothing made, too. Admission is asked about Pods where the chart's webhook.pods is true.
    #[arg(long)]
    pods: bool,
    /// Look at one namespace only.
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// What to print.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// Write the reports of `--output openreports` or `policyreports` into the cluster, and delete those of
    /// former scans that have nothing more to say. The summary is printed instead.
    #[arg(long)]
    write: bool,
    /// The weakest action whose findings make the exit code 1.
    #[arg(long, value_enum, default_value_t = FailOn::Deny)]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum FailOn {
    Deny,
    Warn,
    /// None: only what can't be read does.
    Never,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    install_tls_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(scan(args))
}

async fn scan(args: &Args) -> anyhow::Result<ExitCode> {
    let api = args.output.api();
    anyhow::ensure!(!args.write || api.is_some(), "--write needs --output openreports or policyreports");
    anyhow::ensure!(!args.write || !args.diff, "--write can't be had with --diff");
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let with_files = async |files: &[PathBuf], installed: bool| {
        let is_read = installed || files.is_empty();
        InForce::read(files, is_read.then_some(&cluster)).await
    };
    let given = with_files(&args.policies, args.installed).await?;
    let in_force = if args.diff { Some(with_files(&args.against, false).await?) } else { None };
    let progress = Progress::new();
    let namespace = args.namespace.as_deref();
    let snapshot = cluster.snapshot(namespace, |kind, count| progress.show("reading", kind, count)).await;
    let snapshot = snapshot.map_err(|errors| explain(&errors))?;
    let now = Timestamp::now();

    let fail_on = args.fail_on;
    let survey = |policies| Survey::new(policies, &snapshot.facts, fail_on, now);
    let mut before = in_force.as_ref().map(|in_force| survey(&in_force.policies));
    let mut survey = survey(&given.policies);
    let mut makers = Makers::default();
    let mut errors = Vec::new();
    for kind in JUDGED.into_iter().filter(|kind| *kind != Kind::Pod || args.pods) {
        let mut count = 0;
        let listed = cluster.list(kind, namespace, |text| {
            count += 1;
            progress.show("judging", kind, count);
            if !makers.judges(kind, text) {
                return;
            }
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
    let mut report = survey.finish();
    print::note(format!("Judged by {}.", report::judged_by(&given.origins)));
    if let Some(in_force) = &in_force {
        print::note(format!("Compared with {}.", report::judged_by(&in_force.origins)));
    }
    let url = cluster.url().to_owned();
    report.cluster = Some(report::Cluster { url, time: now, policies: given.origins });
    let failed = match before {
        Some(before) => {
            let before = before.finish();
            let diff = Diff::of(&before.findings, &report.findings);
            show(args.output, &diff_text(&diff, args.output)?)?;
            diff.fails()
        }
        None => {
            if let (Some(api), true) = (api, args.write) {
                let (reports, left_out) = policy_report::manifests(&report, api);
                let deleted = cluster.write_reports(api, namespace, &reports).await?;
                let what = counted(reports.len(), "report", "reports");
                print::note(format!("{what} of {} written, {deleted} deleted.", api.version()));
                if left_out > 0 {
                    print::note(format!("{left_out} more left out: that many objects are a burden to etcd."));
                }
                show(Output::Text, &summary::summary(&report))?;
            } else {
                show(args.output, &report.render(args.output))?;
            }
            if args.output == Output::Text {
                show(args.output, &summary::summary(&report))?;
            }
            report.summary.failing > 0
        }
    };
    report.errors.iter().filter(|_| args.output != Output::Text).for_each(|e| print::note(&e.message));
    Ok(match (report.errors.is_empty(), failed) {
        (false, _) => ExitCode::from(super::FAILED),
        (true, true) => ExitCode::from(1),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn diff_text(diff: &Diff<'_>, output: Output) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    match output {
        Output::Text => diff.text(&mut bytes)?,
        Output::Json => diff.json(&mut bytes)?,
        _ => anyhow::bail!("--diff can be had as text or json"),
    }
    Ok(String::from_utf8(bytes)?)
}

fn show(output: Output, text: &str) -> anyhow::Result<()> {
    match output {
        Output::Text => print::coloured(text),
        _ => print::plain(text),
    }
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
