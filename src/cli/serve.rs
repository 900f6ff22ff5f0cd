//! `plimsoll serve`: wires the parts together and runs them.

mod health;
mod log;
mod open_files;
mod policies;
mod trust;
mod waivers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use tracing::info;

use self::trust::{Served, Shared};
use crate::audit::{self, AuditLog};
use crate::cluster::lease::Election;
use crate::cluster::policies::PolicyObjects;
use crate::cluster::secret::SharedSecret;
use crate::cluster::{Cluster, Events, LiveReads, Watches, Webhooks};
use crate::facts::Facts;
use crate::metrics::Metrics;
use crate::otlp::Otlp;
use crate::policy::reload::{POLL, Policies};
use crate::review::{AuditFailure, Live, Reviewer, Witness};
use crate::server::{self, Certificate, CertificateSource, Health, Server, Signals};

/// How long the audit log may take to end.
const LAST_LINES: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the apiserver calls, over TLS.
    #[arg(long, default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are.
    #[arg(long, default_value = "0.0.0.0:8080")]
    ops_listen: SocketAddr,
    /// Files and directories of policies, read again when they change; without them the shipped ones are used.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// The cluster to look at. Without it: the one that this runs in as a pod; outside of any, none.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Look at no cluster: nothing is known beyond the request.
    #[arg(long, conflicts_with = "kubeconfig")]
    no_cluster: bool,
    /// The installation it belongs to: its webhook configurations have this name, its Secret is NAME-certificate.
    /// Without it: every webhook configuration labelled app.kubernetes.io/name: plimsoll, and plimsoll-certificate.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where its Secret and its Lease are. Without it: the pod's own namespace, else plimsoll-system.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The certificate chain, PEM; read again when it changes. Without it one is made.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Ask clients for a certificate of these authorities, PEM.
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Write the audit log to a file too; it is then the one that counts.
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// Which decisions are recorded: denials, findings or all.
    #[arg(long, default_value_t, value_name = "LEVEL")]
    audit_level: audit::Level,
    /// What becomes of a request that only a waiver lets in when the audit log can't be written.
    #[arg(long, value_enum, default_value_t = AuditFailure::Allow)]
    audit_failure: AuditFailure,
    /// Write no Kubernetes Events about denials and emergency waivers.
    #[arg(long)]
    no_events: bool,
    /// How long to go on serving after SIGTERM, in seconds, until every apiserver has noticed.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    drain_seconds: u64,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    // One provider for every TLS connection of the process; a second one would be a bug of ours.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    anyhow::ensure!(provider.install_default().is_ok(), "a TLS provider is installed already");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let otlp = log::start(&metrics)?;
    open_files::take_all();
    runtime.block_on(serve(args, metrics, otlp))
}

async fn serve(args: Args, metrics: Arc<Metrics>, otlp: Option<Otlp>) -> anyhow::Result<ExitCode> {
    let signals = Signals::new().context("failed to listen for signals")?;
    let health = Health::new();

    let policies = Policies::load(args.policies)?;
    metrics.policies_reloaded(true);
    let policy_condition = health.condition("policies");
    policy_condition.set_ready();

    let tap = otlp.as_ref().map(Otlp::records);
    let export = otlp.map(Otlp::start);
    let settings =
        audit::Settings { file: args.audit_log, level: args.audit_level, tap, ..audit::Settings::default() };
    let audit = AuditLog::open(settings)?;
    let instance = audit::default_instance();

    let names = default_names(args.listen);
    let is_shared = args.tls_cert.is_none();
    let source = match (args.tls_cert, args.tls_key) {
        (Some(cert), Some(key)) => CertificateSource::Files { cert, key },
        _ => CertificateSource::SelfManaged { names: names.clone() },
    };
    let certificate = Certificate::load(source)?;

    let cluster = connect(args.kubeconfig.as_deref(), args.no_cluster).await?;
    let facts = Arc::new(Facts::default());
    let mut background = tokio::task::JoinSet::new();
    let (mut watches, mut keeper, mut elections) = (None, None, None);
    if let Some(cluster) = &cluster {
        let observer = health::caches(&health, &metrics);
        watches = Some(Watches::start(cluster, &facts, &observer));
        let condition = health.condition("webhook configurations");
        let namespace = args.namespace.unwrap_or_else(own_namespace);
        let name = args.name.as_deref().unwrap_or("plimsoll");
        let shared = is_shared.then(|| {
            let secret = SharedSecret::new(cluster, &namespace, &format!("{name}-certificate"));
            Shared::new(secret, names, health.notice("certificate secret"))
        });
        let (certificate, metrics) = (certificate.clone(), Arc::clone(&metrics));
        let served = Served { certificate, condition, shared, metrics };
        let election =
            Election::start(cluster, &namespace, name, format!("{instance}-{}", std::process::id()));
        background.spawn(
            policies::Follower {
                objects: PolicyObjects::new(cluster),
                policies: policies.clone(),
                leadership: election.leadership().clone(),
                listed: health.condition("cache invariantpolicies"),
                notice: health.notice("watch invariantpolicies"),
            }
            .run(),
        );
        elections = Some(election);
        keeper = Some(Webhooks::new(cluster).named(args.name).keep(Arc::new(served)));
    }

    let reload_metrics = Arc::clone(&metrics);
    let reload_notice = health.notice("policy reload");
    background.spawn(policies.clone().keep_fresh(POLL, move |successful| {
        reload_metrics.policies_reloaded(successful);
        if successful {
            reload_notice.set_ready();
        } else {
            reload_notice.set_not_ready("the files are wrong; the last good set is in force");
        }
    }));
    background.spawn(health::watch_audit(audit.clone(), health.notice("audit log")));
    let hangups = audit.clone();
    background.spawn(async move {
        // Without the signal the log is still reopened when its file is renamed.
        let _ = audit::reopen_on_hangup(hangups).await;
        std::future::pending::<()>().await;
    });

    // Held to the end: the task ends with its last queue.
    let events = cluster.as_ref().filter(|_| !args.no_events).map(|cluster| {
        let (events, writer) = Events::new(cluster, &instance, &metrics);
        background.spawn(writer);
        events
    });
    let reminds = events.clone().zip(elections.as_ref().map(|election| election.leadership().clone()));
    background.spawn(waivers::watch(policies.clone(), Arc::clone(&facts), Arc::clone(&metrics), reminds));
    let witness = events.clone().map(|events| Arc::new(events) as Arc<dyn Witness>);
    let live =
        cluster.map(|cluster| Arc::new(LiveReads::new(cluster, Arc::clone(&metrics))) as Arc<dyn Live>);
    let reviewer = Reviewer {
        policies,
        facts,
        live,
        audit: audit.clone(),
        audit_failure: args.audit_failure,
        instance,
        witness,
        metrics: Arc::clone(&metrics),
    };
    let mut config = server::Config::new(args.listen, args.ops_listen);
    config.client_ca = args.client_ca;
    config.drain_time = Duration::from_secs(args.drain_seconds);
    let server = Server::bind(config, certificate, Arc::new(reviewer), health, metrics).await?;
    info!(version = env!("CARGO_PKG_VERSION"), "Plimsoll starts.");

    let served = tokio::select! {
        served = server::run_until_signalled(server, signals) => served.map_err(anyhow::Error::from),
        () = ended(watches.as_mut()) => Err(anyhow::anyhow!("a watch ended, which it never should")),
        Some(_) = background.join_next() => Err(anyhow::anyhow!("a background task ended, which it never should")),
    };
    drop((keeper, events, elections));
    audit.flush_and_close(Instant::now() + LAST_LINES).await?;
    if let Some(export) = export {
        export.close(LAST_LINES).await;
    }
    served.map(|()| ExitCode::SUCCESS)
}

async fn ended(watches: Option<&mut Watches>) {
    match watches {
        Some(watches) => watches.ended().await,
        None => std::future::pending().await,
    }
}

async fn connect(kubeconfig: Option<&std::path::Path>, no_cluster: bool) -> anyhow::Result<Option<Cluster>> {
    // A kubeconfig that happens to lie around is no order to change that cluster's configurations.
    let is_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if no_cluster || (kubeconfig.is_none() && !is_pod) {
        info!("No cluster is looked at; requests are judged by themselves.");
        return Ok(None);
    }
    Ok(Some(Cluster::connect(kubeconfig).await?))
}

/// The namespace of this pod, else the one that the documentation installs to.
fn own_namespace() -> String {
    let file = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    let own = std::fs::read_to_string(file).map(|name| name.trim().to_owned()).unwrap_or_default();
    if own.is_empty() { "plimsoll-system".to_owned() } else { own }
}

/// What a self-managed certificate is for before the webhook configurations tell.
fn default_names(listen: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listen.ip().is_unspecified() && !listen.ip().is_loopback() {
        names.push(listen.ip().to_string());
    }
    names
}
