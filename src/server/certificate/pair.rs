//! A certificate chain with its private key, checked before anything is served with it.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a pair can't be served.
#[derive(Debug, Error)]
pub enum PairError {
    /// The certificate's file is not PEM.
    #[error("the certificate is not readable as PEM")]
    CertificatePem(#[source] PemError),
    /// There is no certificate in it.
    #[error("the file holds no certificate (no PEM block CERTIFICATE)")]
    NoCertificate,
    /// What the PEM block holds is no certificate.
    #[error("the certificate is not readable as X.509: {0}")]
    X509(String),
    /// Its validity is over.
    #[error("the certificate ended at {0}")]
    Expired(Timestamp),
    /// Its validity has not begun.
    #[error("the certificate is not valid before {0}")]
    NotYetValid(Timestamp),
    /// It is valid for no name.
    #[error(
        "the certificate names no host: it needs a subjectAltName, the API server ignores the common name"
    )]
    NoNames,
    /// The key's file is not PEM or holds no key that can be read.
    #[error("expected an unencrypted private key as PEM")]
    KeyPem(#[source] PemError),
    /// The key is of a kind that can't serve TLS.
    #[error("the private key can't be used")]
    Key(#[source] rustls::Error),
    /// The two don't belong together.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// What is wrong with a PEM file.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct PemError(pem::Error);

impl PairError {
    /// Whether it is the key's file that has to change.
    pub(super) fn is_about_key(&self) -> bool {
        matches!(self, Self::KeyPem(_) | Self::Key(_) | Self::Mismatch)
    }
}

/// A checked pair.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) validity: Validity,
    /// The subjectAltNames that a server is known by.
    pub(super) names: Vec<String>,
}

/// What is to know of a pair in a Secret.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The chain, the server's own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The DNS names and IP addresses that it is valid for.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Checks that a pair could be served at `now`, and says what it is.
///
/// # Errors
///
/// If it can't be served.
pub fn inspect(certificate_pem: &str, key_pem: &str, now: Timestamp) -> Result<Inspection, PairError> {
    let pair = Pair::from_pem(certificate_pem.as_bytes(), key_pem.as_bytes(), now)?;
    let Validity { not_before, not_after } = pair.validity;
    Ok(Inspection { chain: pair.key.cert.clone(), names: pair.names, not_before, not_after })
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Validity {
    pub(super) fn check(self, now: Timestamp) -> Result<(), PairError> {
        if now >= self.not_after {
            return Err(PairError::Expired(self.not_after));
        }
        if now < self.not_before {
            return Err(PairError::NotYetValid(self.not_before));
        }
        Ok(())
    }
}

impl Pair {
    /// Reads a chain (the server's own certificate first) and its key, and checks that they can be
    /// served at `now`.
    pub(super) fn from_pem(certificate: &[u8], key: &[u8], now: Timestamp) -> Result<Self, PairError> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| PairError::CertificatePem(PemError(e)))?;
        let leaf = chain.first().ok_or(PairError::NoCertificate)?;
        let (validity, names) = read_leaf(leaf)?;
        validity.check(now)?;
        if names.is_empty() {
            return Err(PairError::NoNames);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| PairError::KeyPem(PemError(e)))?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => PairError::Mismatch,
            error => PairError::Key(error),
        })?;
        Ok(Self { key: Arc::new(key), validity, names })
    }
}

/// The one TLS implementation, passed around so that nothing depends on a process-wide default.
pub(in crate::server) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn read_leaf(leaf: &CertificateDer<'_>) -> Result<(Validity, Vec<String>), PairError> {
    let unreadable = |e: &dyn std::fmt::Display| PairError::X509(e.to_string());
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|e| unreadable(&e))?;
    let timestamp = |seconds| Timestamp::from_second(seconds).map_err(|e| unreadable(&e));
    let validity = Validity {
        not_before: timestamp(leaf.validity().not_before.timestamp())?,
        not_after: timestamp(leaf.validity().not_after.timestamp())?,
    };
    let names = leaf.subject_alternative_name().map_err(|e| unreadable(&e))?;
    let names = names.map_or_else(Vec::new, |extension| {
        extension.value.general_names.iter().filter_map(host_name).collect()
    });
    Ok((validity, names))
}

fn host_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let address = <[u8; 4]>::try_from(*octets)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::authority::Authority;
    use super::*;

    fn message(certificate: &[u8], key: &[u8], now: Timestamp) -> String {
        Pair::from_pem(certificate, key, now).unwrap_err().to_string()
    }

    #[test]
    fn each_kind_of_unusable_pair_is_told_apart() {
        let now = Timestamp::now();
        let authority = Authority::new(now).unwrap();
        let names = ["plimsoll.plimsoll-system.svc".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let one = authority.issue(&names, now).unwrap();
        let other = authority.issue(&names, now).unwrap();
        let (cert, key) = (one.certificate_pem.as_bytes(), one.key_pem.as_bytes());

        assert_eq!(Pair::from_pem(cert, key, now).unwrap().names, names);
        let chain = one.certificate_pem.clone() + authority.certificate_pem();
        assert_eq!(Pair::from_pem(chain.as_bytes(), key, now).unwrap().key.cert.len(), 2);

        assert!(message(cert, other.key_pem.as_bytes(), now).contains("does not belong"));
        assert!(message(b"", key, now).contains("no certificate"));
        assert!(
            message(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", key, now).contains("PEM")
        );
        assert!(
            message(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key, now)
                .contains("X.509")
        );
        assert!(message(cert, b"", now).contains("private key as PEM"));
        let truncated = &cert[..cert.len() / 2];
        assert!(message(truncated, key, now).contains("PEM"));
        let days = |n: i64| jiff::SignedDuration::from_hours(24 * n);
        assert!(message(cert, key, now + days(100)).contains("ended at"));
        assert!(message(cert, key, now - days(2)).contains("not valid before"));
        // The authority's own certificate names no host.
        let ca = authority.certificate_pem().as_bytes();
        assert!(message(ca, authority.key_pem().as_bytes(), now).contains("names no host"));
    }
}
