//! Whether the apiserver will trust the certificate that is served, and keeping it so.

use std::collections::BTreeSet;

use rustls::pki_types::CertificateDer;
use tracing::error;

use crate::cluster::webhooks::{Identity, Trust};
use crate::server::{Certificate, Condition};

/// The certificate as the webhook configurations see it.
pub(super) struct Served {
    pub(super) certificate: Certificate,
    pub(super) condition: Condition,
}

impl Identity for Served {
    fn ca_bundle(&self) -> Option<String> {
        self.certificate.ca_bundle_pem()
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.certificate.chain()
    }

    /// A self-managed certificate follows the names by which the apiserver calls; one from files is
    /// somebody else's.
    fn endpoints(&self, endpoints: &BTreeSet<String>) {
        if self.certificate.ca_bundle_pem().is_none() {
            return;
        }
        let mut names = self.certificate.names();
        let known = names.len();
        names.extend(
            endpoints.iter().filter(|endpoint| !self.certificate.names().contains(endpoint)).cloned(),
        );
        if names.len() > known
            && let Err(error) = self.certificate.reissue(&names)
        {
            error!(%error, ?endpoints, "No certificate could be made for these names.");
        }
    }

    fn trust(&self, trust: &Trust) {
        match trust {
            Trust::Trusted | Trust::Unregistered => self.condition.set_ready(),
            Trust::Distrusted(problem) => self.condition.set_not_ready(problem.clone()),
        }
    }
}
