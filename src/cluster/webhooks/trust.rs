//! Whether the API server will trust the certificate that is served.
//!
//! Judged as the API server does it, webhook by webhook: the chain has to lead to the webhook's
//! `caBundle`, and the certificate has to name the webhook's endpoint.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

use super::Registration;

/// Whether the API server will trust the certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trust {
    /// There is no webhook configuration, so nobody asks.
    Unregistered,
    /// Every webhook trusts it.
    Trusted,
    /// A webhook does not, and why.
    Distrusted(String),
}

impl Trust {
    /// Judges a chain, the server's own certificate first, by every webhook of the configurations.
    pub fn of(registrations: &[Registration], chain: &[CertificateDer<'_>], now: Timestamp) -> Self {
        let mut webhooks = registrations
            .iter()
            .flat_map(|registration| registration.webhooks.iter().map(move |webhook| (registration, webhook)))
            .peekable();
        if webhooks.peek().is_none() {
            return Self::Unregistered;
        }
        for (registration, webhook) in webhooks {
            let trusted = match &webhook.endpoint {
                Some(endpoint) => verify(&webhook.ca_bundle, endpoint, chain, now),
                None => Err("its clientConfig names no host".to_owned()),
            };
            if let Err(problem) = trusted {
                let (role, name) = (registration.role.as_str(), &registration.name);
                return Self::Distrusted(format!("{role} {name}, webhook {}: {problem}", webhook.name));
            }
        }
        Self::Trusted
    }
}

pub(in crate::cluster) fn verify(
    bundle: &[u8],
    endpoint: &str,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<(), String> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err("there is no certificate yet".to_owned());
    };
    let name =
        ServerName::try_from(endpoint).map_err(|_| format!("{endpoint} is no name for a certificate"))?;
    let authorities: Vec<_> = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok).collect();
    if authorities.is_empty() {
        return Err("its caBundle holds no certificate".to_owned());
    }
    // A certificate that vouches for itself is enough for Go, but not for webpki.
    if authorities.contains(leaf) {
        let parsed = ParsedCertificate::try_from(leaf).map_err(|error| error.to_string())?;
        return verify_server_name(&parsed, &name).map_err(|error| explain(&error, endpoint));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| format!("its caBundle is of no use: {error}"))?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    let verified = verifier.verify_server_cert(leaf, intermediates, &name, &[], now);
    verified.map(drop).map_err(|error| explain(&error, endpoint))
}

fn explain(error: &Error, endpoint: &str) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its caBundle is not of the CA that signed the certificate".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the certificate does not name {endpoint}"),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::super::{Registered, Role};
    use super::*;

    const SERVICE: &str = "plimsoll.plimsoll-system.svc";

    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    }

    fn leaf(issuer: &Issuer<'_, KeyPair>, names: &[&str]) -> Vec<CertificateDer<'static>> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).unwrap();
        vec![params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()]
    }

    fn registered(endpoint: &str, ca_bundle: &str) -> Registration {
        let webhook = Registered {
            name: "validate.plimsoll.dev".to_owned(),
            endpoint: Some(endpoint.to_owned()),
            ca_bundle: ca_bundle.as_bytes().to_vec(),
        };
        Registration {
            role: Role::Validating,
            name: "plimsoll".to_owned(),
            webhooks: vec![webhook],
            version: "1".to_owned(),
            injected: false,
        }
    }

    fn problem(registration: Registration, chain: &[CertificateDer<'_>]) -> String {
        match Trust::of(&[registration], chain, Timestamp::now()) {
            Trust::Distrusted(problem) => problem,
            trust => panic!("{trust:?}"),
        }
    }

    #[test]
    fn a_certificate_of_the_bundled_ca_that_names_the_endpoint_is_trusted() {
        let (ca, issuer) = authority();
        let (other, _) = authority();
        let chain = leaf(&issuer, &[SERVICE, "127.0.0.1", "::1"]);
        for endpoint in [SERVICE, "127.0.0.1", "::1"] {
            let registrations = [registered(endpoint, &ca), registered(endpoint, &format!("{other}{ca}"))];
            assert_eq!(Trust::of(&registrations, &chain, Timestamp::now()), Trust::Trusted);
        }
        assert_eq!(Trust::of(&[], &chain, Timestamp::now()), Trust::Unregistered);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (ca, issuer) = authority();
        let (other, _) = authority();
        let chain = leaf(&issuer, &["127.0.0.1"]);
        let named = "ValidatingWebhookConfiguration plimsoll, webhook validate.plimsoll.dev: ";
        assert!(
            problem(registered(SERVICE, &ca), &chain)
                .ends_with(&format!("{named}the certificate does not name {SERVICE}"))
        );
        assert!(problem(registered("127.0.0.1", &other), &chain).contains("not of the CA"));
        assert!(problem(registered("127.0.0.1", ""), &chain).contains("holds no certificate"));
        assert!(problem(registered("127.0.0.1", &ca), &[]).contains("no certificate yet"));
        let late = Timestamp::from_second(Timestamp::MAX.as_second() / 2).unwrap();
        let expired = Trust::of(&[registered("127.0.0.1", &ca)], &chain, late);
        assert!(matches!(expired, Trust::Distrusted(problem) if problem.contains("expired")));
    }

    #[test]
    fn a_certificate_may_be_its_own_authority() {
        let mut params = CertificateParams::new(vec![SERVICE.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let chain = [certificate.der().clone()];
        let trusted = Trust::of(&[registered(SERVICE, &certificate.pem())], &chain, Timestamp::now());
        assert_eq!(trusted, Trust::Trusted);
        assert!(
            problem(registered("127.0.0.1", &certificate.pem()), &chain).contains("does not name 127.0.0.1")
        );
    }
}
