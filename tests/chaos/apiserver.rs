//! Requests to the API server, and what came of them.

use std::time::Duration;

use axum::http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::controlplane::ControlPlane;

/// How long anybody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It was done; what is stored now.
    Done(Value),
    /// Plimsoll said no.
    Denied(String),
    /// Plimsoll said no because it couldn't ask the cluster.
    Unconfirmed,
    /// Something failed; the status (0 without one) and why.
    Failed(u16, String),
}

/// A client that asks once.
#[derive(Clone)]
pub(crate) struct ApiServer {
    client: kube::Client,
}

impl ApiServer {
    pub(crate) fn of(plane: &ControlPlane, runtime: &Handle) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig("admin")).expect("a kubeconfig");
        let client = runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let mut config =
                kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a config");
            // Every answer counts, the first one above all.
            config.default_retry = false;
            kube::Client::try_from(config).expect("a client")
        });
        Self { client }
    }

    /// Asks as a user whose group is the request's own, so that the audit log can be held to it.
    pub(crate) async fn ask(&self, id: &str, method: &str, path: &str, body: &Value) -> Answer {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            "APPLY" => "application/apply-patch+yaml",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(if method == "APPLY" { "PATCH" } else { method })
            .uri(path)
            .header("content-type", kind)
            .header("impersonate-user", "chaos")
            .header("impersonate-group", "system:masters")
            .header("impersonate-group", group(id))
            .body(if body.is_null() { Vec::new() } else { body.to_string().into_bytes() })
            .expect("a request");
        match timeout(PATIENCE, self.client.request_text(request)).await {
            Err(_) => Answer::Failed(0, "no answer in 15 s".to_owned()),
            Ok(Ok(text)) => Answer::Done(serde_json::from_str(&text).unwrap_or_default()),
            Ok(Err(kube::Error::Api(status))) => match &status.message {
                message if !message.contains("denied the request") => {
                    Answer::Failed(status.code, reason(status.code, message))
                }
                message if message.contains("could not be confirmed") => Answer::Unconfirmed,
                message => Answer::Denied(message.clone()),
            },
            Ok(Err(error)) => Answer::Failed(0, reason(0, &chain(&error))),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("get", "GET", path, &Value::Null).await
    }
}

/// The group by which a request is known.
pub(crate) fn group(id: &str) -> String {
    format!("request-{id}")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// A failure in few words, so that they can be counted.
fn reason(code: u16, message: &str) -> String {
    // Every call of a webhook names its timeout in its address.
    let message = &message.replace("?timeout=3s", "");
    let known = [
        ("context deadline exceeded", "timed out"),
        ("Timeout", "timed out"),
        ("timed out", "timed out"),
        ("timeout", "timed out"),
        ("onnection refused", "connection refused"),
        ("no endpoints available", "no endpoint"),
        ("onnection reset", "connection broke off"),
        ("EOF", "connection broke off"),
        ("closed", "connection broke off"),
        ("IncompleteMessage", "connection broke off"),
        ("SendRequest", "connection broke off"),
        ("not yet ready", "not ready yet"),
        ("etcd", "etcd"),
    ];
    let why = known.iter().find(|(word, _)| message.contains(word)).map(|(_, why)| *why);
    let webhook = message.find("failed calling webhook").map(|_| "calling the webhook: ").unwrap_or_default();
    match why {
        Some(why) => format!("{webhook}{why}"),
        None => format!("{code} {webhook}{message}"),
    }
}
