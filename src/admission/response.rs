//! The answer.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::PatchOperation;
use serde::Serialize;

use super::API_VERSION;

/// `AdmissionResponse`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The request's uid.
    pub uid: String,
    /// Whether the request is let in.
    pub allowed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What the user sees either way. The apiserver drops those with control characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What the apiserver's own audit log keeps, under `<webhook name>/<key>`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub audit_annotations: BTreeMap<&'static str, String>,
    /// A base64-encoded JSON Patch. Neither this nor its type may come alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
}

/// `metav1.Status`, as far as a denial needs it.
#[derive(Debug, Serialize)]
pub struct Status {
    /// An HTTP code: 403. Clients misread 404, 409 and 429.
    pub code: u16,
    /// `Forbidden`. With `Invalid` kubectl would hide the message.
    pub reason: &'static str,
    /// What kubectl prints.
    pub message: String,
    /// For machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails>,
}

/// `metav1.StatusDetails`.
#[derive(Debug, Serialize)]
pub struct StatusDetails {
    /// One entry a finding.
    pub causes: Vec<StatusCause>,
}

/// `metav1.StatusCause`.
#[derive(Debug, Serialize)]
pub struct StatusCause {
    /// The rule.
    pub reason: String,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub field: String,
}

impl Status {
    /// A denial.
    pub fn forbidden(message: String, causes: Vec<StatusCause>) -> Self {
        let details = (!causes.is_empty()).then_some(StatusDetails { causes });
        Self { code: 403, reason: "Forbidden", message, details }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: &'a Response,
}

impl Response {
    /// Lets a request in.
    pub fn allow(uid: &str) -> Self {
        Self { uid: uid.to_owned(), allowed: true, ..Self::default() }
    }

    /// Adds a patch; an empty one is none.
    ///
    /// # Errors
    /// When the patch can't be written as JSON.
    pub fn patch(&mut self, operations: &[PatchOperation]) -> Result<(), serde_json::Error> {
        if !operations.is_empty() {
            self.patch = Some(STANDARD.encode(serde_json::to_vec(operations)?));
            self.patch_type = Some("JSONPatch");
        }
        Ok(())
    }

    /// The AdmissionReview to send.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Review { api_version: API_VERSION, kind: "AdmissionReview", response: self })
    }
}
