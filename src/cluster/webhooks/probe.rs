//! What an endpoint shows to whoever connects: the certificate chain, whoever signed it.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longer than any endpoint should need, shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// The chain that is served at an address to whoever asks for `name`, the server's own certificate first.
///
/// # Errors
/// What became of the connection, in words.
pub async fn chain_at(address: &str, name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let timed_out = |_| format!("{address} doesn't answer within {} s", PATIENCE.as_secs());
    let stream = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(timed_out)?;
    let stream = stream.map_err(|error| format!("{address} can't be reached: {error}"))?;
    let name =
        ServerName::try_from(name.to_owned()).map_err(|_| format!("{name} is no name for a certificate"))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anything(provider)));
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let stream = timeout(PATIENCE, connector.connect(name, stream)).await.map_err(timed_out)?;
    let stream = stream.map_err(|error| format!("{address} doesn't speak TLS: {error}"))?;
    Ok(stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec())
}

/// Takes any chain: it is looked at afterwards, by every webhook's own bundle. The handshake's
/// signatures are checked all the same, so the chain is one that the server holds the key of.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
