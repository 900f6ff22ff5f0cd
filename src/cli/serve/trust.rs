//! Whether the apiserver will trust the certificate that is served, and keeping it so.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::sync::Mutex as AsyncMutex;
use tracing::{error, warn};

use crate::cluster::secret::{Material, SharedSecret};
use crate::cluster::webhooks::{Identity, Registration, Role, Trust};
use crate::metrics::Metrics;
use crate::server::{Certificate, Condition};

/// The certificate as the webhook configurations see it.
pub(super) struct Served {
    pub(super) certificate: Certificate,
    pub(super) condition: Condition,
    /// What replicas share; `None` if the certificate is in files, which are somebody else's.
    pub(super) shared: Option<Shared>,
    pub(super) metrics: Arc<Metrics>,
}

/// A certificate that replicas share.
pub(super) struct Shared {
    secret: AsyncMutex<SharedSecret>,
    /// Taken by the keeper when it starts.
    changes: Mutex<Option<BoxStream<'static, ()>>>,
    served: Mutex<Option<Material>>,
    /// The names that it is for whatever the configurations say.
    names: Vec<String>,
    notice: Condition,
}

impl Shared {
    pub(super) fn new(secret: SharedSecret, names: Vec<String>, notice: Condition) -> Self {
        let changes = Mutex::new(Some(secret.changes()));
        Self { changes, secret: AsyncMutex::new(secret), served: Mutex::default(), names, notice }
    }

    /// Whether something is to be done soon again.
    async fn sync(
        &self,
        certificate: &Certificate,
        endpoints: &BTreeSet<String>,
        registrations: &[Registration],
    ) -> bool {
        let names = self.names.iter().chain(endpoints).map(|name| canonical(name)).collect();
        let is_bundled = |ca_pem: &str| registrations.iter().all(|one| one.trusts(ca_pem));
        let synced = self.secret.lock().await.sync(&names, is_bundled, Timestamp::now()).await;
        let material = match synced {
            Ok(material) => material,
            Err(error) => {
                let error = error.to_string();
                warn!(error, "the certificate can't be shared; what was served before is served on");
                self.notice.set_not_ready(error);
                return true;
            }
        };
        let mut served = lock(&self.served);
        if served.as_ref() != Some(&material) {
            let Material { ca_pem, certificate_pem, key_pem, .. } = &material;
            if let Err(error) = certificate.install(ca_pem, certificate_pem, key_pem) {
                error!(%error, "the shared certificate can't be served");
                self.notice.set_not_ready(error.to_string());
                return true;
            }
            *served = Some(material.clone());
        }
        self.notice.set_ready();
        material.is_in_succession(Timestamp::now())
    }
}

/// What is in there is replaced as a whole, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An address has many spellings, and a certificate only one.
fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

impl Identity for Served {
    fn ca_bundle(&self) -> Option<String> {
        let shared = self.shared.as_ref()?;
        lock(&shared.served).as_ref().map(|material| material.ca_pem.clone())
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.certificate.chain()
    }

    fn refresh<'a>(
        &'a self,
        endpoints: &'a BTreeSet<String>,
        registrations: &'a [Registration],
    ) -> BoxFuture<'a, bool> {
        // Whoever deletes them opens the gate, and no webhook is asked about that.
        for role in Role::ALL {
            let own = registrations.iter().filter(|registration| registration.role == role);
            self.metrics.webhooks(role.as_str(), own.map(|registration| registration.webhooks.len()).sum());
        }
        Box::pin(async move {
            match &self.shared {
                Some(shared) => shared.sync(&self.certificate, endpoints, registrations).await,
                None => false,
            }
        })
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        let changes = self.shared.as_ref().and_then(|shared| lock(&shared.changes).take());
        changes.unwrap_or_else(|| stream::pending().boxed())
    }

    fn trust(&self, trust: &Trust) {
        match trust {
            Trust::Trusted | Trust::Unregistered => self.condition.set_ready(),
            Trust::Distrusted(problem) => self.condition.set_not_ready(problem.clone()),
        }
    }
}
