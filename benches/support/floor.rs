//! Webhooks that judge nothing, to compare with.

use std::net::TcpListener;
use std::path::PathBuf;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use serde::Deserialize;
use serde_json::{Value, json};

/// Answers reviews until the process ends.
pub(crate) async fn serve<A: IntoResponse + Send + 'static>(
    listener: TcpListener,
    cert: PathBuf,
    key: PathBuf,
    answer: fn(&[u8]) -> A,
) -> anyhow::Result<()> {
    let answer = move |body: Bytes| async move { answer(&body) };
    let router = Router::new().route("/validate", post(answer)).route("/mutate", post(answer));
    let router = router.layer(axum::extract::DefaultBodyLimit::max(32 << 20));
    listener.set_nonblocking(true)?;
    let acceptor =
        RustlsAcceptor::new(RustlsConfig::from_pem_file(cert, key).await?).acceptor(NoDelayAcceptor::new());
    axum_server::from_tcp(listener)?.acceptor(acceptor).serve(router.into_make_service()).await?;
    Ok(())
}

/// Reads the review into a value and lets it in.
pub(crate) fn floor(body: &[u8]) -> impl IntoResponse + use<> {
    let review: Value = serde_json::from_slice(body).unwrap();
    echo(review["request"]["uid"].as_str().unwrap_or_default())
}

/// Reads nothing but the uid and lets it in.
pub(crate) fn hard_floor(body: &[u8]) -> impl IntoResponse + use<> {
    #[derive(Deserialize)]
    struct Review<'a> {
        #[serde(borrow)]
        request: Request<'a>,
    }
    #[derive(Deserialize)]
    struct Request<'a> {
        uid: &'a str,
    }
    let review: Review<'_> = serde_json::from_slice(body).unwrap();
    echo(review.request.uid)
}

fn echo(uid: &str) -> impl IntoResponse + use<> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": uid, "allowed": true},
    });
    ([(header::CONTENT_TYPE, "application/json")], review.to_string())
}
