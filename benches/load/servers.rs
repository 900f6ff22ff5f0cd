//! The servers: Plimsoll as `serve` wires it, and two that judge nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use axum::response::IntoResponse;
use plimsoll::audit::{AuditLog, Settings};
use plimsoll::facts::{Fact, Facts};
use plimsoll::metrics::Metrics;
use plimsoll::object::{Kind, Object};
use plimsoll::policy::reload::Policies;
use plimsoll::review::{AuditFailure, Reviewer};
use plimsoll::server::{Certificate, CertificateSource, Config, Health, Signals};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::floor;

/// Tells a process which server it is.
const SERVER: &str = "PLIMSOLL_BENCH_SERVER";
/// Tells it where its certificate is.
const FILES: &str = "PLIMSOLL_BENCH_FILES";
/// How many other workloads the cluster has.
const OTHERS: usize = 1000;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Server {
    /// The webhook: every shipped policy, a cache of workloads, the audit log on.
    Plimsoll,
    /// Reads the review into a `serde_json::Value` and echoes its uid.
    Floor,
    /// The same once more.
    FloorAgain,
    /// Reads nothing but the uid.
    HardFloor,
}

impl Server {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Plimsoll, "plimsoll"),
        (Self::Floor, "floor"),
        (Self::FloorAgain, "floor-again"),
        (Self::HardFloor, "hard-floor"),
    ];

    /// Which server this process was started to be; none: it is the load.
    pub(crate) fn asked_for() -> Option<Self> {
        let name = std::env::var(SERVER).ok()?;
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(server, _)| *server)
    }

    pub(crate) fn ask_for(self, command: &mut Command, files: &Files) {
        let name = Self::ALL.iter().find(|(server, _)| *server == self).map_or("", |(_, name)| name);
        command.env(SERVER, name).env(FILES, files.directory.path());
    }
}

/// The certificate that all servers share.
pub(crate) struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        plimsoll::server::generate(directory.path(), &["127.0.0.1".to_owned()], false)?;
        Ok(Self { directory })
    }

    pub(crate) fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.directory.path().join("ca.crt"))? {
            roots.add(certificate?)?;
        }
        Ok(roots)
    }
}

/// Runs a server on one core until the process is ended.
pub(crate) fn serve(server: Server) -> anyhow::Result<()> {
    super::process::pin(super::process::SERVER_CORE);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let directory = PathBuf::from(std::env::var(FILES)?);
    let (cert, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match server {
            Server::Plimsoll => webhook(cert, key, directory.join("decisions.jsonl")).await,
            Server::Floor | Server::FloorAgain => empty(cert, key, floor::floor).await,
            Server::HardFloor => empty(cert, key, floor::hard_floor).await,
        }
    })
}

async fn webhook(cert: PathBuf, key: PathBuf, log: PathBuf) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new("bench"));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let audit = AuditLog::open(Settings { file: Some(log), copy_to_stdout: false, ..Settings::default() })?;
    let reviewer = Reviewer {
        policies: Policies::load(Vec::new())?,
        facts: Arc::new(facts()),
        live: None,
        audit,
        audit_failure: AuditFailure::Allow,
        instance: "bench".to_owned(),
        witness: None,
        metrics: Arc::clone(&metrics),
    };
    let certificate = Certificate::load(CertificateSource::Files { cert, key })?;
    let config = Config::new(any, any);
    let server =
        plimsoll::server::Server::bind(config, certificate, Arc::new(reviewer), Health::new(), metrics)
            .await?;
    println!("{}", server.addresses().webhook);
    plimsoll::server::run_until_signalled(server, Signals::new()?).await?;
    Ok(())
}

/// A production namespace with the workload and its budget, and a cluster of others around it.
fn facts() -> Facts {
    let facts = Facts::default();
    let namespace = json!({"metadata": {"name": "shop", "labels": {"environment": "production"}}});
    insert(&facts, Kind::Namespace, "shop", &namespace);
    let selector = json!({"matchLabels": {"app.kubernetes.io/name": "checkout"}});
    let budget =
        json!({"metadata": {"name": "checkout"}, "spec": {"maxUnavailable": 1, "selector": selector}});
    insert(&facts, Kind::PodDisruptionBudget, "shop", &budget);
    let update: Value = serde_json::from_slice(include_bytes!("../reviews/update.json")).unwrap();
    insert(&facts, Kind::Deployment, "shop", &update["request"]["oldObject"]);
    for index in 0..OTHERS {
        let (name, namespace) = (format!("other-{index}"), format!("namespace-{}", index % 50));
        let labels = json!({"app": name});
        let other = json!({
            "metadata": {"name": name},
            "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "x"}]},
            }},
        });
        insert(&facts, Kind::Deployment, &namespace, &other);
    }
    facts
}

fn insert(facts: &Facts, kind: Kind, namespace: &str, object: &Value) {
    let text = object.to_string();
    let fact = Fact::project(&Object::read(kind, &text).unwrap()).expect("such objects are kept");
    facts.update(namespace, |facts| facts.insert(fact));
}

async fn empty<A: IntoResponse + Send + 'static>(
    cert: PathBuf,
    key: PathBuf,
    answer: fn(&[u8]) -> A,
) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    floor::serve(listener, cert, key, answer).await
}
