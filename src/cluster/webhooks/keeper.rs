//! The task that keeps the registration in order: it looks whenever a configuration changes, when
//! it is told to, and every half a minute besides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Registration, SELECTOR, Trust, WebhookError, Webhooks, registration};

/// How long nothing is looked at while nothing seems to happen. Certificates expire without an event,
/// and a watch may miss one.
const PERIOD: Duration = Duration::from_secs(30);

/// How soon to try again what failed.
const RETRY: Duration = Duration::from_secs(5);

/// Changes come in bursts: an installation writes both configurations, and a watch begins with a list.
const SETTLE: Duration = Duration::from_millis(100);

/// The least time between two writes. Somebody who keeps writing another bundle is not to be
/// outrun but noticed, in the log and in the configuration's history.
const REST: Duration = Duration::from_secs(1);

/// What the server is certified as, and who wants to know what the API server makes of it. Called
/// from the keeper's task, so nothing here may block.
pub trait Identity: Send + Sync + 'static {
    /// The CA that every bundle has to be, as PEM; `None` if the certificate comes from elsewhere,
    /// and the bundles with it.
    fn ca_bundle(&self) -> Option<String>;

    /// The chain that is served, the server's own certificate first.
    fn chain(&self) -> Vec<CertificateDer<'static>>;

    /// The API server calls by these DNS names and IP addresses. Told once at first and then at
    /// every change, never with none. A new certificate belongs into [`Identity::chain`] at once or
    /// is announced by [`Keeper::look`].
    fn endpoints(&self, endpoints: &BTreeSet<String>);

    /// Whether the API server will trust the chain. Told once at first and then at every change.
    fn trust(&self, trust: &Trust);
}

/// The running task. Dropping it ends it; the configurations stay as they are.
pub struct Keeper {
    task: JoinHandle<()>,
    wake: Arc<Notify>,
}

impl Keeper {
    /// Makes the keeper look at once, after a change of the certificate.
    pub fn look(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Webhooks {
    /// Starts to keep the bundles right and to report what the configurations say.
    pub fn keep(&self, identity: Arc<dyn Identity>) -> Keeper {
        let wake = Arc::new(Notify::new());
        let keeping = Keeping {
            webhooks: self.clone(),
            identity,
            endpoints: BTreeSet::new(),
            trust: None,
            failing: false,
        };
        let task = tokio::spawn(keeping.run(Arc::clone(&wake)));
        Keeper { task, wake }
    }

    /// Something for every change of a configuration, and for every trouble with the watch.
    fn changes(&self) -> BoxStream<'static, ()> {
        fn of<T: Stream<Item = watcher::Result<I>> + Send + 'static, I: 'static>(
            stream: T,
        ) -> BoxStream<'static, ()> {
            stream.default_backoff().map(drop).boxed()
        }
        let config = watcher::Config::default().labels(SELECTOR);
        let mutating: Api<PartialObjectMeta<MutatingWebhookConfiguration>> = Api::all(self.client.clone());
        let validating: Api<PartialObjectMeta<ValidatingWebhookConfiguration>> =
            Api::all(self.client.clone());
        stream::select(of(watcher(mutating, config.clone())), of(watcher(validating, config))).boxed()
    }
}

struct Keeping {
    webhooks: Webhooks,
    identity: Arc<dyn Identity>,
    endpoints: BTreeSet<String>,
    trust: Option<Trust>,
    failing: bool,
}

impl Keeping {
    async fn run(mut self, wake: Arc<Notify>) {
        let mut changes = self.webhooks.changes();
        loop {
            let pause = match self.look().await {
                Ok(written) => {
                    self.failing = false;
                    if written > 0 {
                        sleep(REST).await;
                    }
                    PERIOD
                }
                Err(error) => {
                    if !self.failing {
                        warn!(%error, "registration is not in order");
                    }
                    self.failing = true;
                    RETRY
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = wake.notified() => {}
                Some(()) = changes.next() => {
                    while tokio::time::timeout(SETTLE, changes.next()).await.is_ok() {}
                }
            }
        }
    }

    /// One look, and how many webhooks it put right. What can't be written doesn't keep the rest from
    /// being reported.
    async fn look(&mut self) -> Result<usize, WebhookError> {
        let mut registrations = self.webhooks.list().await?;
        let endpoints = registration::endpoints(&registrations);
        if !endpoints.is_empty() && endpoints != self.endpoints {
            self.identity.endpoints(&endpoints);
            self.endpoints = endpoints;
        }
        let written = match self.identity.ca_bundle() {
            Some(ca) => self.ensure(&mut registrations, &ca).await,
            None => Ok(0),
        };
        let trust = Trust::of(&registrations, &self.identity.chain(), Timestamp::now());
        if self.trust.as_ref() != Some(&trust) {
            match &trust {
                Trust::Distrusted(problem) => warn!(problem, "the API server does not trust the certificate"),
                trust => info!(?trust, "trust in the certificate"),
            }
            self.identity.trust(&trust);
            self.trust = Some(trust);
        }
        written
    }

    async fn ensure(&self, registrations: &mut [Registration], ca: &str) -> Result<usize, WebhookError> {
        let (mut written, mut failure) = (0, None);
        for registration in registrations {
            match self.webhooks.ensure(registration, ca).await {
                Ok(0) => {}
                Ok(webhooks) => {
                    let (role, name) = (registration.role.as_str(), &registration.name);
                    info!("wrote the caBundle of {webhooks} webhooks of {role} {name}");
                    written += webhooks;
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(written), Err)
    }
}
