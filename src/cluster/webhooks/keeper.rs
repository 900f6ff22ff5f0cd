//! The task that keeps the registration in order: it looks whenever a configuration changes, when
//! it is told to, and every half a minute besides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
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

/// How soon to try again what failed, or to go on with what isn't complete.
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

    /// Brings the certificate up to date before anything is made of it. The API server calls by these
    /// DNS names and IP addresses (none, if nothing is registered), and `registrations` say whom it
    /// trusts. Asked at every look; what goes wrong is the identity's to report. Returns whether to
    /// look again soon.
    fn refresh<'a>(
        &'a self,
        endpoints: &'a BTreeSet<String>,
        registrations: &'a [Registration],
    ) -> BoxFuture<'a, bool>;

    /// Something whenever the certificate may have to be refreshed.
    fn changes(&self) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }

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
        let keeping = Keeping { webhooks: self.clone(), identity, trust: None, failing: false };
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
        let config = match &self.name {
            Some(name) => config.fields(&format!("metadata.name={name}")),
            None => config,
        };
        let mutating: Api<PartialObjectMeta<MutatingWebhookConfiguration>> = Api::all(self.client.clone());
        let validating: Api<PartialObjectMeta<ValidatingWebhookConfiguration>> =
            Api::all(self.client.clone());
        stream::select(of(watcher(mutating, config.clone())), of(watcher(validating, config))).boxed()
    }
}

struct Keeping {
    webhooks: Webhooks,
    identity: Arc<dyn Identity>,
    trust: Option<Trust>,
    failing: bool,
}

impl Keeping {
    async fn run(mut self, wake: Arc<Notify>) {
        let mut changes = stream::select(self.webhooks.changes(), self.identity.changes());
        loop {
            let pause = match self.look().await {
                Ok((written, is_pending)) => {
                    self.failing = false;
                    if written > 0 {
                        sleep(REST).await;
                    }
                    if is_pending { RETRY } else { PERIOD }
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

    /// One look: how many webhooks it put right, and whether more is to come soon. What can't be
    /// written doesn't keep the rest from being reported.
    async fn look(&mut self) -> Result<(usize, bool), WebhookError> {
        let mut registrations = self.webhooks.list().await?;
        let endpoints = registration::endpoints(&registrations);
        let is_pending = self.identity.refresh(&endpoints, &registrations).await;
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
        Ok((written?, is_pending))
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
