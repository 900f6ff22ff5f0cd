//! How TLS is spoken: 1.2 and 1.3, HTTP/1.1 alone, client certificates if an authority for them is
//! given.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use super::certificate::{Certificate, provider};

/// Why TLS can't be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The client authority's file can't be read.
    #[error("failed to read the client authority {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The client authority's file can't be used.
    #[error("failed to use the client authority {}: {reason}", .path.display())]
    ClientAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The TLS library refuses the settings.
    #[error("failed to set up TLS")]
    Settings(#[from] rustls::Error),
}

/// TLS with whatever `certificate` holds at each handshake. With `client_ca`, a PEM file with one
/// or more certificates, clients must present a certificate that leads to one of them.
pub(super) fn server_config(
    certificate: &Certificate,
    client_ca: Option<&Path>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(read_roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let reason = |e: VerifierBuilderError| e.to_string();
            let path = path.to_owned();
            builder.with_client_cert_verifier(
                verifier.map_err(|e| TlsError::ClientAuthority { path, reason: reason(e) })?,
            )
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificate.clone()));
    // The API server speaks HTTP/1.1 to webhooks on purpose, one request at a time on each
    // connection; and a client that also offers HTTP/2 (Go's does to loopback addresses) is told
    // here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let pem = fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    let unusable = |reason: String| TlsError::ClientAuthority { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| unusable(e.to_string()))?;
        roots.add(certificate).map_err(|e| unusable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
