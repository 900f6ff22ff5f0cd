//! HTTP for the exporters, by the client and the TLS provider that are there anyway.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::time::timeout;

/// How long one export may take; OpenTelemetry's own default.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const LONGEST_ANSWER: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Client(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Client {
    /// A client that trusts what the system trusts, or SSL_CERT_FILE names.
    pub(super) fn new() -> io::Result<Self> {
        let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1();
        Ok(Self(legacy::Client::builder(TokioExecutor::new()).build(connector.build())))
    }
}

impl HttpClient for Client {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> BoxFuture<'f, Result<Response<Bytes>, HttpError>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let exchange = async {
                let (head, body) = self.0.request(request.map(Full::new)).await?.into_parts();
                let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
                Ok(Response::from_parts(head, body))
            };
            timeout(PATIENCE, exchange).await?
        })
    }
}
