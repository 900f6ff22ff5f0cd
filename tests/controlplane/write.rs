//! A request that would write, and what it came to.

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::credentials::Credentials;

/// A write as the API server got it, and what a server made of it that reaches no webhook.
pub(crate) struct Write {
    /// What it was about.
    pub(crate) target: Target,
    /// As whom it was sent.
    pub(crate) user: String,
    /// How.
    pub(crate) method: Method,
    /// What was sent; JSON, or a controller's protobuf.
    pub(crate) body: Bytes,
    /// The object before it, unless a controller wrote.
    pub(crate) before: Option<Value>,
    /// What the server that is cut off said to a dry run.
    pub(crate) cut_off: Answer,
    /// What the API server said.
    pub(crate) answer: Answer,
}

/// What a path means.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The namespace, if it is in one.
    pub(crate) namespace: Option<String>,
    /// In the plural, as in RBAC.
    pub(crate) resource: String,
    /// None where a collection is meant.
    pub(crate) name: Option<String>,
    /// `scale`, `status`…
    pub(crate) subresource: Option<String>,
    /// The path of the object without a subresource.
    pub(crate) object: String,
}

/// An answer, as far as it matters.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: StatusCode,
    /// Why not.
    pub(crate) message: String,
}

impl Target {
    /// What a request writes to; none where it stores nothing: reads, reviews, tokens.
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        let is_write = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&parts.method);
        let segments: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        let (root, rest) = match segments.as_slice() {
            ["api", _, rest @ ..] => (2, rest),
            ["apis", "authorization.k8s.io" | "authentication.k8s.io", ..] => return None,
            ["apis", _, _, rest @ ..] => (3, rest),
            _ => return None,
        };
        let (namespace, rest, depth) = match rest {
            // A Namespace itself, or one of its own subresources.
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest, root),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest, root + 2),
            _ => (None, rest, root),
        };
        let word = |index: usize| rest.get(index).map(|word| (*word).to_owned());
        let (resource, name, subresource) = (word(0)?, word(1), word(2));
        if !is_write || subresource.as_deref() == Some("token") {
            return None;
        }
        let object = format!("/{}", segments[..segments.len().min(depth + 2)].join("/"));
        Some(Self { namespace, resource, name, subresource, object })
    }
}

impl Answer {
    pub(super) fn of(status: StatusCode, body: &[u8]) -> Self {
        let message = if status.is_success() {
            String::new()
        } else {
            // A Status in JSON has a message; in protobuf its text is still there to be found.
            let json: Option<Value> = serde_json::from_slice(body).ok();
            let told = json.and_then(|status| Some(status.get("message")?.as_str()?.to_owned()));
            told.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
        };
        Self { status, message }
    }
}

/// As whom a request comes: the user of its token, or whom that user impersonates.
pub(super) fn user(credentials: &Credentials, headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(user) = text("impersonate-user") {
        return user.to_owned();
    }
    let token = text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    let known = token.and_then(|token| credentials.user(token));
    let account = || {
        let claims = token?.split('.').nth(1)?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some(claims.get("sub")?.as_str()?.to_owned())
    };
    known.map(str::to_owned).or_else(account).unwrap_or_else(|| "system:anonymous".to_owned())
}
