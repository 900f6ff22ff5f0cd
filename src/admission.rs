//! The wire: `admission.k8s.io/v1` AdmissionReview, in and out.
//!
//! Of our own, since the request is parsed without copying what isn't read, and the response must
//! be just what `pkg/admission/plugin/webhook/request/admissionreview.go` accepts.

mod response;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use response::{Response, Status, StatusCause};

use crate::object::{Envelope, ReadError, Text, few_entries, few_texts, nullable};

/// The version of the reviews that are understood.
pub const API_VERSION: &str = "admission.k8s.io/v1";

/// An AdmissionReview with a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an AdmissionReview", bound = "O: Deserialize<'de>")]
struct Review<'a, O> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    api_version: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Option<Request<'a, O>>,
}

/// An object that came along, its outermost fields read.
pub type Sent<'a> = Result<Envelope<'a>, ReadError>;

/// What the apiserver asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "O: Deserialize<'de>")]
pub struct Request<'a, O = Sent<'a>> {
    /// Identifies the call, not the change: a retry has another one.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub uid: Text<'a>,
    /// Kind of the object as it was converted for us.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub kind: GroupVersionKind<'a>,
    /// Resource, that of the parent for a subresource.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub resource: GroupVersionResource<'a>,
    /// `scale`, `status`, `finalize` or nothing.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub sub_resource: Text<'a>,
    /// Name, empty while a generateName waits for its suffix.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    /// Namespace.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub namespace: Text<'a>,
    /// CREATE, UPDATE, DELETE or CONNECT.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub operation: Text<'a>,
    /// Who asks.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub user_info: UserInfo<'a>,
    /// The object as it would be stored; null on DELETE.
    #[serde(default)]
    pub object: Option<O>,
    /// The object as it is stored; null on CREATE.
    #[serde(default)]
    pub old_object: Option<O>,
    /// Whether nothing will be stored.
    #[serde(default, deserialize_with = "nullable")]
    pub dry_run: bool,
    /// CreateOptions, UpdateOptions and so on.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub options: Options<'a>,
}

/// Group, version and kind.
#[derive(Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub struct GroupVersionKind<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub group: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub version: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub kind: Text<'a>,
}

/// Group, version and resource.
#[derive(Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub struct GroupVersionResource<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub group: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub version: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub resource: Text<'a>,
}

/// Who asks.
#[derive(Debug, Default, Deserialize)]
pub struct UserInfo<'a> {
    /// User name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub username: Text<'a>,
    /// Groups.
    #[serde(borrow, default, deserialize_with = "few_texts")]
    pub groups: Vec<Text<'a>>,
    /// What tells the user from another one of the same name in time.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub uid: Text<'a>,
    /// What else the authenticator knows; an authorizer may go by it.
    #[serde(borrow, default, deserialize_with = "few_entries")]
    pub extra: BTreeMap<Text<'a>, Vec<Text<'a>>>,
}

/// The options that matter.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options<'a> {
    /// The client's field manager.
    #[serde(borrow)]
    pub field_manager: Option<Text<'a>>,
}

/// Why a body is no AdmissionReview that can be answered.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReviewError {
    /// It is no JSON, or a field has the wrong type.
    #[error("the body is no AdmissionReview: {0}")]
    Unreadable(String),
    /// It is another kind of document.
    #[error("expected an AdmissionReview of {API_VERSION}, found kind {kind:?} of {api_version:?}")]
    OtherKind {
        /// The kind found.
        kind: String,
        /// The version found.
        api_version: String,
    },
    /// It carries no request.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// Its request has no uid, so no answer to it would be accepted.
    #[error("the AdmissionReview's request has no uid")]
    NoUid,
}

impl<'a> Request<'a> {
    /// Reads the request of an AdmissionReview.
    ///
    /// # Errors
    /// When the body is no such review, or one that can't be answered.
    pub fn read(body: &'a [u8]) -> Result<Self, ReviewError> {
        // Once through all of it is enough, but for objects that no apiserver sends.
        let request = match serde_json::from_slice::<Review<'a, Envelope<'a>>>(body) {
            Ok(review) => review.request()?.map(Ok),
            Err(_) => {
                let review = serde_json::from_slice::<Review<'a, &'a RawValue>>(body);
                let review = review.map_err(|error| ReviewError::Unreadable(error.to_string()))?;
                review.request()?.map(|object| Envelope::read(object.get()))
            }
        };
        Ok(request)
    }
}

impl<'a, O> Review<'a, O> {
    fn request(self) -> Result<Request<'a, O>, ReviewError> {
        if &*self.api_version != API_VERSION || &*self.kind != "AdmissionReview" {
            let (kind, api_version) = (self.kind.to_string(), self.api_version.to_string());
            return Err(ReviewError::OtherKind { kind, api_version });
        }
        let request = self.request.ok_or(ReviewError::NoRequest)?;
        if request.uid.is_empty() { Err(ReviewError::NoUid) } else { Ok(request) }
    }
}

impl<'a, O> Request<'a, O> {
    /// The same request with its objects read.
    fn map<P>(self, mut read: impl FnMut(O) -> P) -> Request<'a, P> {
        Request {
            uid: self.uid,
            kind: self.kind,
            resource: self.resource,
            sub_resource: self.sub_resource,
            name: self.name,
            namespace: self.namespace,
            operation: self.operation,
            user_info: self.user_info,
            object: self.object.map(&mut read),
            old_object: self.old_object.map(&mut read),
            dry_run: self.dry_run,
            options: self.options,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_review_says_why() {
        let why = |body: &str| Request::read(body.as_bytes()).unwrap_err().to_string();
        assert!(why("hello").contains("no AdmissionReview"));
        assert!(why("[]").contains("no AdmissionReview"));
        assert!(why("{}").contains("expected an AdmissionReview of admission.k8s.io/v1"));
        let review =
            |rest: &str| format!(r#"{{"apiVersion":"{API_VERSION}","kind":"AdmissionReview"{rest}}}"#);
        assert!(why(&review("")).contains("no request"));
        assert!(why(&review(r#","request":{}"#)).contains("no uid"));
        assert!(why(&review(r#","request":{"uid":7}"#)).contains("expected"));
        assert!(why(&review(r#","request":{"uid":"a","uid":"b"}"#)).contains("duplicate field"));
    }
}
