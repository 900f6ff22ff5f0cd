//! The cluster that Plimsoll guards, through its API server.
//!
//! [`Watches`] keep the facts true, [`LiveReads`] confirm them past every cache,
//! [`Webhooks`] keeps Plimsoll's own registration in order, and [`secret`] what its replicas share.
//! Every fact that is read comes as JSON text and goes through [`crate::object`], as what arrives in
//! an admission review does.

mod authorize;
mod events;
mod flights;
mod inspect;
pub mod lease;
mod limit;
mod list;
mod live;
mod pace;
pub mod policies;
mod reports;
mod request;
#[cfg(test)]
mod scripted;
pub mod secret;
mod watch;
pub mod webhooks;

use std::env;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use thiserror::Error;

pub use events::{Events, Notice, Reason, Regarding, Reminders};
pub use inspect::InspectError;
pub use list::{ListError, Snapshot, identify, resource};
pub use live::{LiveError, LiveReads};
pub use reports::ReportError;
pub use watch::{Observer, WATCHED, WatchError, Watches};
pub use webhooks::Webhooks;

/// An API server that hasn't taken a connection by then won't be of use to any request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A way to the API server. Clones share its connections.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    url: String,
}

/// Why there is no way to a cluster.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody named a cluster: no kubeconfig was given or found, and this is no pod.
    #[error("no cluster is configured: there is no kubeconfig ({}), and this is not a pod", .0.display())]
    NotConfigured(PathBuf),
    /// The kubeconfig can't be used.
    #[error("failed to use kubeconfig {file}: {source}")]
    Kubeconfig {
        /// The file, or the files that KUBECONFIG names.
        file: String,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// This is a pod, but its service account can't be used.
    #[error("failed to use the pod's service account: {0}")]
    InCluster(#[source] InClusterError),
    /// What the configuration says makes no client: a proxy or credentials that aren't supported, say.
    #[error("failed to set up a client for {url}: {problem}")]
    Client {
        /// The API server.
        url: String,
        /// What is wrong.
        problem: String,
    },
}

impl Cluster {
    /// Prepares a way to the cluster of the kubeconfig given, else of the one that KUBECONFIG names
    /// or that lies in `~/.kube/config`, else to the cluster that this pod runs in. It is the order
    /// of kube and of kubectl: in a CI job that is itself a pod, KUBECONFIG says which cluster is meant.
    ///
    /// Nothing is sent yet, so a cluster that is down for now is no error.
    ///
    /// # Errors
    /// When no cluster is named, or what names it can't be used. A kubeconfig that is there but
    /// broken is an error even in a pod: whoever wrote it didn't mean the pod's cluster.
    pub async fn connect(kubeconfig: Option<&Path>) -> Result<Self, ConnectError> {
        let mut config = match kubeconfig {
            Some(path) => given(path).await?,
            None => found().await?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let url = config.cluster_url.to_string();
        let client = kube::Client::try_from(config)
            .map_err(|error| ConnectError::Client { url: url.clone(), problem: innermost(&error) })?;
        Ok(Self { client, url })
    }

    /// The client, for what this module has no word for.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Where the API server is, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn given(path: &Path) -> Result<Config, ConnectError> {
    let named = |source| ConnectError::Kubeconfig { file: path.display().to_string(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(named)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(named)
}

async fn found() -> Result<Config, ConnectError> {
    let named = env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty());
    let source = match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
        Ok(config) => return Ok(config),
        Err(source) => source,
    };
    let nowhere = match (&source, &named) {
        (KubeconfigError::FindPath, None) => PathBuf::from("~/.kube/config"),
        (KubeconfigError::ReadConfig(error, path), None) if error.kind() == io::ErrorKind::NotFound => {
            path.clone()
        }
        _ => {
            let file = named
                .map_or_else(|| "~/.kube/config".to_owned(), |paths| paths.to_string_lossy().into_owned());
            return Err(ConnectError::Kubeconfig { file, source });
        }
    };
    match Config::incluster() {
        Err(InClusterError::ReadEnvironmentVariable(_)) => Err(ConnectError::NotConfigured(nowhere)),
        other => other.map_err(ConnectError::InCluster),
    }
}

/// What went wrong, in a line: the API server's own words, or the error behind all the wrapping
/// ("Connection refused" rather than "client error (Connect)").
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.replace('\n', " "),
        kube::Error::Api(status) => format!("the API server answered with status {}", status.code),
        error => innermost(error),
    }
}

fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let message = Cluster::connect(Some(file.path())).await.err().unwrap().to_string();
        assert!(message.contains(file.path().to_str().unwrap()), "{message}");
        message
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_is_named_with_what_is_wrong() {
        let missing = Cluster::connect(Some(Path::new("/nonexistent/kubeconfig"))).await.err().unwrap();
        assert!(missing.to_string().contains("/nonexistent/kubeconfig"), "{missing}");
        assert!(missing.to_string().contains("No such file"), "{missing}");
        assert!(refusal("contexts: [").await.contains("parse"));
        let dangling = "{contexts: [{name: a, context: {cluster: elsewhere}}], current-context: a}";
        assert!(refusal(dangling).await.contains("elsewhere"));
        assert!(refusal("{apiVersion: v1, kind: Config}").await.contains("current context"));
    }

    #[tokio::test]
    async fn nothing_is_sent_to_connect() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}],
            contexts: [{name: a, context: {cluster: c}}], current-context: a}";
        std::fs::write(file.path(), text).unwrap();
        let cluster = Cluster::connect(Some(file.path())).await.unwrap();
        assert_eq!(cluster.url(), "http://127.0.0.1:1/");
        let error = cluster.client().apiserver_version().await.unwrap_err();
        assert!(brief(&error).starts_with("Connection refused"), "{}", brief(&error));
    }
}
