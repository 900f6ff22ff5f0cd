//! `plimsoll waivers`: every waiver there is, how long it lasts, and who answers for it.

mod gather;
mod table;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use jiff::Timestamp;

use self::gather::Gathered;
use super::judged::{JUDGED, Makers};
use super::scan::explain;
use super::{install_tls_provider, print};
use crate::cluster::Cluster;
use crate::engine::waivers::{Listed, WaiverState};
use crate::manifest;
use crate::object::Kind;
use crate::policy::load;
use crate::render::counted;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and directories of manifests, `-` for standard input; without any a cluster is read.
    #[arg(conflicts_with_all = ["kubeconfig", "namespace"])]
    paths: Vec<PathBuf>,
    /// The cluster to look at. Without it: the one of KUBECONFIG, of ~/.kube/config, or that this runs in.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Look at one namespace only.
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Files and directories of policies; without them the shipped ones are used.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// What to print.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The states that make the exit code 1.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATE")]
    fail_on: Vec<FailOn>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Output {
    /// A line for each waiver.
    Table,
    /// One JSON document.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum FailOn {
    Expired,
    Expiring,
    Invalid,
    Unneeded,
}

impl FailOn {
    fn is(self, state: WaiverState) -> bool {
        matches!(
            (self, state),
            (Self::Expired, WaiverState::Expired)
                | (Self::Expiring, WaiverState::Expiring)
                | (Self::Invalid, WaiverState::Invalid)
                | (Self::Unneeded, WaiverState::Unneeded)
        )
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let policies = load::from_paths_or_shipped(&args.policies)?;
    let now = Timestamp::now();
    let gathered = Gathered::new(&policies, now);
    let gathered = if args.paths.is_empty() {
        install_tls_provider();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(from_cluster(args, gathered))?
    } else {
        from_manifests(args, gathered)?
    };
    let mut listed = gathered.list();
    // A policy's grants are the whole cluster's.
    if let Some(namespace) = &args.namespace {
        listed.retain(|listed| listed.subject.namespace == *namespace || listed.subject.name == *namespace);
    }
    for problem in &gathered.unreadable {
        print::note(problem);
    }
    let mut out = io::stdout().lock();
    let printed = match args.output {
        Output::Table => table::text(&mut out, &listed, now),
        Output::Json => table::json(&mut out, &listed, now),
    };
    print::written(printed.and_then(|()| out.flush()))?;
    if args.output == Output::Table {
        print::note(summary(&listed));
    }
    let fails = |listed: &Listed| args.fail_on.iter().any(|fail_on| fail_on.is(listed.state));
    Ok(match (gathered.unreadable.is_empty(), listed.iter().any(fails)) {
        (false, _) => ExitCode::from(super::FAILED),
        (true, true) => ExitCode::from(1),
        (true, false) => ExitCode::SUCCESS,
    })
}

async fn from_cluster<'p>(args: &Args, mut gathered: Gathered<'p>) -> anyhow::Result<Gathered<'p>> {
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let namespace = args.namespace.as_deref();
    let snapshot = cluster.snapshot(namespace, |_, _| {}).await.map_err(|errors| explain(&errors))?;
    let mut errors = Vec::new();
    let mut makers = Makers::default();
    // Pods are as many as everything else together, and few of them carry a waiver of their own.
    let kinds = JUDGED.into_iter().filter(|kind| *kind != Kind::Pod);
    for kind in std::iter::once(Kind::Namespace).chain(kinds) {
        let listed = cluster.list(kind, namespace, |text| {
            // A controller copies annotations to what it makes, where nobody goes by them.
            if makers.judges(kind, text) {
                gathered.take(kind, text, None, &|namespace| snapshot.facts.namespace(namespace));
            }
        });
        errors.extend(listed.await.err());
    }
    if errors.is_empty() { Ok(gathered) } else { Err(explain(&errors)) }
}

fn from_manifests<'p>(args: &Args, mut gathered: Gathered<'p>) -> anyhow::Result<Gathered<'p>> {
    let mut documents = Vec::new();
    for (name, text) in manifest::files::collect(&args.paths)? {
        documents.extend(manifest::parse(&name, &text)?);
    }
    gathered.take_manifests(documents);
    Ok(gathered)
}

fn summary(listed: &[Listed]) -> String {
    let of = |state: WaiverState| listed.iter().filter(|listed| listed.state == state).count();
    let states: Vec<String> = WaiverState::ALL
        .into_iter()
        .map(|state| (of(state), state))
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {}", state.as_str().to_lowercase()))
        .collect();
    let all = counted(listed.len(), "waiver", "waivers");
    if states.is_empty() { all } else { format!("{all}: {}", states.join(", ")) }
}
