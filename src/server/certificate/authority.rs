//! A certificate authority of our own: for development, and for clusters without cert-manager.
//!
//! The authority outlives the certificates it issues. A new authority with each rotation would
//! leave a time in which the API server does not trust what is served; with a stable one the
//! caBundle changes only when the authority does.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, DnsName};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Clocks of nodes differ; an hour covers those that still work as a cluster.
const BACKDATE: SignedDuration = SignedDuration::from_hours(1);
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// How long a server's certificate is valid. It is renewed when a third is left, so a month goes by
/// between the first failure to renew and the end.
pub(super) const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(24 * 90);
/// How long the files of `certs generate` are valid, which somebody makes anew by hand.
pub(super) const FILES_LIFE: SignedDuration = SignedDuration::from_hours(24 * 365);
/// An authority is succeeded this long before its end.
const SUCCESSION: SignedDuration = SignedDuration::from_hours(24 * 180);
/// The issuer's name in every certificate. Authorities differ by their keys, which verifiers go by.
const COMMON_NAME: &str = "Plimsoll certificate authority";

/// Why a certificate could not be made.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// No name was given.
    #[error("a certificate needs at least one DNS name or IP address")]
    NoNames,
    /// A name is neither a DNS name nor an IP address.
    #[error("expected a DNS name or an IP address, found {0:?}")]
    Name(String),
    /// Key or signature failed.
    #[error("failed to make a certificate")]
    Generate(#[from] rcgen::Error),
    /// A stored authority can't be taken up again.
    #[error("the stored certificate authority can't be used: {0}")]
    Stored(String),
    /// The clock shows a year that certificates can't express.
    #[error("failed to reckon a certificate's validity")]
    Clock(#[from] jiff::Error),
}

/// Signs server certificates.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
    made: Timestamp,
    not_after: Timestamp,
}

/// A certificate that an [`Authority`] issued, with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate as PEM.
    pub certificate_pem: String,
    /// Its private key as PEM.
    pub key_pem: String,
    /// When it ends.
    pub not_after: Timestamp,
}

impl Authority {
    /// A new authority with a P-256 key, valid for ten years from an hour before `now`.
    ///
    /// # Errors
    ///
    /// If no key can be made.
    pub fn new(now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let params = authority_params(now)?;
        let certificate_pem = params.self_signed(&key)?.pem();
        let not_after = now.checked_add(AUTHORITY_LIFE)?;
        let key_pem = key.serialize_pem();
        Ok(Self { certificate_pem, key_pem, issuer: Issuer::new(params, key), made: now, not_after })
    }

    /// Takes up an authority that [`Authority::new`] made before, from
    /// [`Authority::certificate_pem`] and [`Authority::key_pem`].
    ///
    /// # Errors
    ///
    /// If either can't be read, they don't belong together, or the certificate is not one of ours.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let stored = |e: &dyn std::fmt::Display| AuthorityError::Stored(e.to_string());
        let key = KeyPair::from_pem(key_pem).map_err(|e| stored(&e))?;
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|e| stored(&e))?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| stored(&e))?;
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(stored(&"its key does not belong to its certificate"));
        }
        let ours = certificate.subject().iter_common_name().any(|name| name.as_str() == Ok(COMMON_NAME));
        if !ours || !certificate.is_ca() {
            return Err(stored(&"Plimsoll did not make it"));
        }
        let instant = |seconds| Timestamp::from_second(seconds).map_err(|e| stored(&e));
        let made = instant(certificate.validity().not_before.timestamp())?.checked_add(BACKDATE)?;
        let not_after = instant(certificate.validity().not_after.timestamp())?;
        let issuer = Issuer::new(authority_params(made)?, key);
        let (certificate_pem, key_pem) = (certificate_pem.to_owned(), key_pem.to_owned());
        Ok(Self { certificate_pem, key_pem, issuer, made, not_after })
    }

    /// When it was made.
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// Whether it is time for a successor: what it issues later could outlive it.
    pub fn is_ending(&self, now: Timestamp) -> bool {
        self.not_after.duration_since(now) < SUCCESSION
    }

    /// The authority's certificate, which clients have to trust: the `caBundle` of webhook
    /// configurations.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key, to be kept in a Secret or nowhere.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Issues a server certificate with a key of its own for `names`, DNS names (`*.` allowed) and
    /// IP addresses, valid for 90 days from an hour before `now`.
    ///
    /// # Errors
    ///
    /// If there is no name, one is neither a DNS name nor an IP address, or no key can be made.
    pub fn issue(&self, names: &[String], now: Timestamp) -> Result<Issued, AuthorityError> {
        self.issue_for(LEAF_LIFE, names, now)
    }

    pub(super) fn issue_for(
        &self,
        life: SignedDuration,
        names: &[String],
        now: Timestamp,
    ) -> Result<Issued, AuthorityError> {
        let first = names.first().ok_or(AuthorityError::NoNames)?;
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(AuthorityError::Name(name.clone()));
        }
        let not_after = now.checked_add(life)?;
        let mut params = params(names, now, not_after)?;
        // A common name may have 64 characters and nobody reads it; a longer first name is in the
        // SANs anyway.
        if first.len() <= 64 {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate_pem, key_pem: key.serialize_pem(), not_after })
    }
}

fn authority_params(now: Timestamp) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(&[], now, now.checked_add(AUTHORITY_LIFE)?)?;
    params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(
    names: &[String],
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(names)?;
    // rcgen's default is a common name of its own.
    params.distinguished_name = rcgen::DistinguishedName::new();
    let instant = |t: Timestamp| {
        let seconds = u64::try_from(t.as_second()).unwrap_or(0);
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = instant(now.checked_sub(BACKDATE)?);
    params.not_after = instant(not_after);
    Ok(params)
}

fn is_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<IpAddr>().is_ok() || DnsName::try_from(host).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_authority_goes_on_issuing() {
        let now = Timestamp::now();
        let first = Authority::new(now).unwrap();
        let again = Authority::from_pem(first.certificate_pem(), first.key_pem()).unwrap();
        again.issue(&["a.b.svc".to_owned()], now).unwrap();
        assert_eq!(again.made().as_second(), now.as_second());

        let other = Authority::new(now).unwrap();
        let error = Authority::from_pem(first.certificate_pem(), other.key_pem()).unwrap_err();
        assert!(error.to_string().contains("does not belong"), "{error}");
        assert!(!again.is_ending(now + SignedDuration::from_hours(24 * 3400)));
        assert!(again.is_ending(now + SignedDuration::from_hours(24 * 3500)));
    }

    #[test]
    fn names_are_dns_names_or_addresses() {
        for (name, expected) in [
            ("plimsoll.plimsoll-system.svc", true),
            ("*.example.com", true),
            ("10.0.0.1", true),
            ("::1", true),
            ("https://example.com", false),
            ("a b", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
        let authority = Authority::new(Timestamp::now()).unwrap();
        assert!(authority.issue(&[], Timestamp::now()).is_err());
        assert!(authority.issue(&["a b".to_owned()], Timestamp::now()).is_err());
    }
}
