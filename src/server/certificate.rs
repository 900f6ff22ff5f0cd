//! What the webhook port is served with, and how it changes while serving.
//!
//! One object is served from ([`Certificate`]), and only the pair inside it is exchanged, so that
//! connections and TLS sessions survive a rotation. Files are polled by content: the kubelet
//! updates a mounted Secret by swapping symlinks, of which a file watch hears the first and then
//! nothing.

mod authority;
mod files;
mod generate;
mod pair;

pub use authority::{Authority, AuthorityError, Issued};
pub use files::FilesError;
pub use generate::{GenerateError, Generated, generate};
pub use pair::{Inspection, PairError, PemError, inspect};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tracing::{error, info};

use self::authority::LEAF_LIFE;
use self::files::Files;
use self::pair::Pair;
pub(super) use self::pair::provider;
use super::health::{Condition, Health};
use crate::metrics::Metrics;

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// Files that somebody else renews, a mounted Secret for instance.
    Files {
        /// The chain as PEM, the server's own certificate first.
        cert: PathBuf,
        /// Its private key as PEM.
        key: PathBuf,
    },
    /// An authority of this process's own.
    SelfManaged {
        /// The DNS names and IP addresses that the API server calls this server by.
        names: Vec<String>,
    },
}

/// Why a certificate can't be served.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The files can't be used; the message names the one to mend.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The pair given can't be used.
    #[error("failed to take up the certificate")]
    Pair(#[from] PairError),
    /// No certificate could be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Somebody else provides the certificate.
    #[error("the certificate is not issued here, so it can't be reissued here")]
    NotIssuedHere,
}

/// The certificate that is served. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    served: ArcSwap<Pair>,
    origin: Mutex<Origin>,
}

/// Who provides the next certificate.
#[derive(Debug)]
enum Origin {
    Files(Files),
    Own(Authority),
    /// Whoever calls [`Certificate::install`], who also knows the authority that signs.
    Installed {
        ca_bundle_pem: String,
    },
}

impl Certificate {
    /// Loads or makes the first certificate. Blocks on files.
    ///
    /// # Errors
    ///
    /// If it can't be served: starting with an unusable pair would only turn a clear message into
    /// failed calls.
    pub fn load(source: CertificateSource) -> Result<Self, CertificateError> {
        let now = Timestamp::now();
        let (pair, origin) = match source {
            CertificateSource::Files { cert, key } => {
                let mut files = Files::new(cert, key);
                let pair = files.first(now)?;
                (pair, Origin::Files(files))
            }
            CertificateSource::SelfManaged { names } => {
                let authority = Authority::new(now)?;
                let pair = issue(&authority, &names, now)?;
                (pair, Origin::Own(authority))
            }
        };
        Ok(Self(Arc::new(Inner { served: ArcSwap::from_pointee(pair), origin: Mutex::new(origin) })))
    }

    /// When the served certificate ends.
    pub fn not_after(&self) -> Timestamp {
        self.0.served.load().validity.not_after
    }

    /// The DNS names and IP addresses that the served certificate is valid for.
    pub fn names(&self) -> Vec<String> {
        self.0.served.load().names.clone()
    }

    /// The chain that is served, the server's own certificate first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.served.load().key.cert.clone()
    }

    /// What clients have to trust, as PEM, unless the certificate comes from files whose authority
    /// isn't known.
    pub fn ca_bundle_pem(&self) -> Option<String> {
        match &*self.origin() {
            Origin::Files(_) => None,
            Origin::Own(authority) => Some(authority.certificate_pem().to_owned()),
            Origin::Installed { ca_bundle_pem } => Some(ca_bundle_pem.clone()),
        }
    }

    /// Serves a new certificate for other names, under the same authority.
    ///
    /// # Errors
    ///
    /// If a name is none, or the certificate isn't issued by this process.
    pub fn reissue(&self, names: &[String]) -> Result<(), CertificateError> {
        let Origin::Own(authority) = &*self.origin() else {
            return Err(CertificateError::NotIssuedHere);
        };
        self.serve(issue(authority, names, Timestamp::now())?);
        Ok(())
    }

    /// Serves a pair from elsewhere, from a Secret that replicas share for instance, in place of
    /// one issued here. From then on renewing it is the caller's business.
    ///
    /// # Errors
    ///
    /// If the pair can't be served (the old one still is), or the certificate comes from files.
    pub fn install(
        &self,
        ca_bundle_pem: &str,
        cert_pem: &str,
        key_pem: &str,
    ) -> Result<(), CertificateError> {
        let mut origin = self.origin();
        if matches!(*origin, Origin::Files(_)) {
            return Err(CertificateError::NotIssuedHere);
        }
        self.serve(Pair::from_pem(cert_pem.as_bytes(), key_pem.as_bytes(), Timestamp::now())?);
        *origin = Origin::Installed { ca_bundle_pem: ca_bundle_pem.to_owned() };
        Ok(())
    }

    fn serve(&self, pair: Pair) {
        info!(names = ?pair.names, not_after = %pair.validity.not_after, "serving a new certificate");
        self.0.served.store(Arc::new(pair));
    }

    /// Takes up what has changed: new files, or the approaching end of a certificate issued here.
    /// Blocks on files.
    fn refresh(&self, now: Timestamp) -> Result<(), CertificateError> {
        match &mut *self.origin() {
            Origin::Files(files) => {
                if let Some(pair) = files.changed(now)? {
                    self.serve(pair);
                }
            }
            Origin::Own(authority) => {
                // Against the wall clock at each poll: a timer of a year would not survive a
                // suspended machine.
                let left = self.not_after().duration_since(now);
                if left < LEAF_LIFE / 3 {
                    self.serve(issue(authority, &self.names(), now)?);
                }
            }
            Origin::Installed { .. } => {}
        }
        Ok(())
    }

    /// A panic elsewhere can't leave an origin half-changed, so a poisoned lock is as good as any.
    fn origin(&self) -> MutexGuard<'_, Origin> {
        self.0.origin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn issue(authority: &Authority, names: &[String], now: Timestamp) -> Result<Pair, CertificateError> {
    let Issued { certificate_pem, key_pem, .. } = authority.issue(names, now)?;
    Ok(Pair::from_pem(certificate_pem.as_bytes(), key_pem.as_bytes(), now)?)
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.served.load().key))
    }
}

/// Keeps a certificate fresh and tells metrics and health about it.
pub(super) struct Keeper {
    certificate: Certificate,
    metrics: Arc<Metrics>,
    valid: Condition,
    renewal: Condition,
    /// The last failure, so that a file that stays broken is logged once.
    failure: Option<String>,
}

impl Keeper {
    pub(super) fn new(certificate: Certificate, health: &Health, metrics: Arc<Metrics>) -> Self {
        let valid = health.condition("certificate");
        let renewal = health.notice("certificate renewal");
        let keeper = Self { certificate, metrics, valid, renewal, failure: None };
        keeper.report(Timestamp::now());
        keeper
    }

    /// Looks for a change every `interval`, until dropped.
    pub(super) async fn run(mut self, interval: Duration) {
        loop {
            let certificate = self.certificate.clone();
            let refreshed = tokio::task::spawn_blocking(move || certificate.refresh(Timestamp::now())).await;
            match refreshed {
                Ok(Ok(())) => {
                    self.failure = None;
                    self.renewal.set_ready();
                }
                Ok(Err(error)) => self.failed(&anyhow::Error::from(error)),
                Err(error) => self.failed(&anyhow::Error::from(error)),
            }
            self.report(Timestamp::now());
            tokio::time::sleep(interval).await;
        }
    }

    fn failed(&mut self, error: &anyhow::Error) {
        self.metrics.certificate_reload_failed();
        let failure = format!("{error:#}");
        if self.failure.as_ref() != Some(&failure) {
            error!(error = failure, "failed to renew the certificate, still serving the old one");
            self.renewal.set_not_ready(failure.clone());
            self.failure = Some(failure);
        }
    }

    fn report(&self, now: Timestamp) {
        let validity = self.certificate.0.served.load().validity;
        self.metrics.certificate_expires(validity.not_after.as_second());
        match validity.check(now) {
            Ok(()) => self.valid.set_ready(),
            Err(error) => self.valid.set_not_ready(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn own(names: &[&str]) -> Certificate {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Certificate::load(CertificateSource::SelfManaged { names }).unwrap()
    }

    #[test]
    fn reissuing_keeps_the_authority() {
        let certificate = own(&["a.b.svc"]);
        let bundle = certificate.ca_bundle_pem();
        certificate.reissue(&["c.d.svc".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        assert_eq!(certificate.names(), ["c.d.svc", "10.0.0.1"]);
        assert_eq!(certificate.ca_bundle_pem(), bundle);
    }

    #[test]
    fn its_own_certificate_is_renewed_when_a_third_is_left() {
        let certificate = own(&["a.b.svc"]);
        let (first, now) = (certificate.not_after(), Timestamp::now());
        certificate.refresh(now + LEAF_LIFE / 2).unwrap();
        assert_eq!(certificate.not_after(), first);
        certificate.refresh(now + LEAF_LIFE - LEAF_LIFE / 4).unwrap();
        assert!(certificate.not_after() > first);
        assert_eq!(certificate.names(), ["a.b.svc"]);
    }

    #[test]
    fn an_installed_pair_replaces_the_own_one_and_a_broken_one_does_not() {
        let certificate = own(&["a.b.svc"]);
        let authority = Authority::new(Timestamp::now()).unwrap();
        let issued = authority.issue(&["c.d.svc".to_owned()], Timestamp::now()).unwrap();
        certificate.install(authority.certificate_pem(), &issued.certificate_pem, "").unwrap_err();
        assert_eq!(certificate.names(), ["a.b.svc"]);
        certificate.install(authority.certificate_pem(), &issued.certificate_pem, &issued.key_pem).unwrap();
        assert_eq!(certificate.names(), ["c.d.svc"]);
        assert_eq!(certificate.ca_bundle_pem().unwrap(), authority.certificate_pem());
        assert!(matches!(certificate.reissue(&[]), Err(CertificateError::NotIssuedHere)));
    }

    #[test]
    fn an_expired_certificate_is_not_ready() {
        let health = Health::new();
        let certificate = own(&["a.b.svc"]);
        let keeper = Keeper::new(certificate, &health, Arc::new(Metrics::new("1")));
        assert!(health.is_ready());
        keeper.report(Timestamp::now() + LEAF_LIFE + SignedDuration::from_hours(1));
        assert!(!health.is_ready());
        assert!(health.report().contains("certificate: the certificate ended at"), "{}", health.report());
    }
}
