//! Requests to the API server, answered with JSON text.

use std::pin::pin;

use futures::AsyncReadExt;
use kube::api::{GetParams, ListParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::object::{Kind, Text, nullable};

/// How many objects come in one answer to a LIST that a request waits for; what client-go asks for, too.
pub(super) const PAGE: u32 = 500;

/// How many come in one answer where all objects of a cluster are listed: few, since each answer is
/// held in memory and nobody is in a hurry.
pub(super) const SMALL_PAGE: u32 = 100;

/// Where the objects of a kind are: in one namespace, or everywhere.
pub(super) fn path(kind: Kind, namespace: Option<&str>) -> String {
    let root = match kind.group() {
        "" => format!("/api/{}", kind.version()),
        group => format!("/apis/{group}/{}", kind.version()),
    };
    match namespace {
        Some(namespace) if kind != Kind::Namespace => {
            format!("{root}/namespaces/{namespace}/{}", kind.plural())
        }
        _ => format!("{root}/{}", kind.plural()),
    }
}

/// Whether an object can have this name. What references an object wasn't necessarily validated
/// before it reached us, and a name becomes part of a path: `../../secrets/x` must never be asked for.
pub(super) fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let mut bytes = name.bytes();
    name.len() <= 253 && outer(bytes.clone().next()) && outer(bytes.clone().next_back()) && bytes.all(inner)
}

/// Whether the API server answered with this status. kube's own `is_not_found` and the like only know
/// the reason in a well-formed answer; to a path that it doesn't serve the API server answers in plain
/// text, and so do proxies.
pub(super) fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// One object; `None` if it isn't there.
pub(super) async fn get(client: &kube::Client, path: &str, name: &str) -> kube::Result<Option<String>> {
    let request = Request::new(path).get(name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    match client.request_text(request).await {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_status(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One page of a list with at most so many objects, as text; [`Page::read`] reads it.
///
/// The text replaces that of the page before, in the same memory: kube's `request_text` would hold
/// three copies of each page, and what they leave behind is never given back once facts lie in between.
pub(super) async fn list(
    client: &kube::Client,
    path: &str,
    limit: u32,
    next: Option<String>,
    text: &mut String,
) -> kube::Result<()> {
    let params = ListParams { limit: Some(limit), continue_token: next, ..ListParams::default() };
    let request = Request::new(path).list(&params).map_err(kube::Error::BuildRequest)?;
    let mut body = pin!(client.request_stream(request).await?);
    text.clear();
    body.read_to_string(text).await.map_err(kube::Error::ReadEvents)?;
    Ok(())
}

/// One page of a list, its objects still text.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    metadata: ListMetadata<'a>,
    /// The objects.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub(super) items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata<'a> {
    #[serde(borrow)]
    resource_version: Option<Text<'a>>,
    #[serde(borrow, rename = "continue")]
    next: Option<Text<'a>>,
}

impl<'a> Page<'a> {
    pub(super) fn read(text: &'a str) -> kube::Result<Self> {
        serde_json::from_str(text).map_err(kube::Error::SerdeError)
    }

    /// What gets the next page; `None` on the last.
    pub(super) fn next(&self) -> Option<String> {
        self.metadata.next.as_deref().filter(|token| !token.is_empty()).map(str::to_owned)
    }

    /// The version from which a watch goes on.
    pub(super) fn version(&self) -> String {
        self.metadata.resource_version.as_deref().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_kind() {
        assert_eq!(path(Kind::Deployment, Some("imp")), "/apis/apps/v1/namespaces/imp/deployments");
        assert_eq!(path(Kind::PersistentVolumeClaim, None), "/api/v1/persistentvolumeclaims");
        assert_eq!(path(Kind::ScaledObject, None), "/apis/keda.sh/v1alpha1/scaledobjects");
        assert_eq!(path(Kind::Namespace, Some("imp")), "/api/v1/namespaces");
    }

    #[test]
    fn what_would_lead_elsewhere_is_no_name() {
        for name in ["web", "a", "web-2.example"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(254);
        for name in
            ["", ".", "..", "a/b", "../secrets/x", "a?b", "a%2fb", "A", "-a", "a ", "é", long.as_str()]
        {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn a_page_says_how_to_go_on() {
        let page =
            Page::read(r#"{"metadata":{"continue":"x","resourceVersion":"7"},"items":[{"a": 1}]}"#).unwrap();
        assert_eq!((page.next().as_deref(), page.items[0].get()), (Some("x"), r#"{"a": 1}"#));
        let last = Page::read(r#"{"metadata":{"continue":"","resourceVersion":"8"},"items":null}"#).unwrap();
        assert_eq!((last.next(), last.version().as_str(), last.items.len()), (None, "8", 0));
    }
}
