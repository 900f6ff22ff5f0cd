//! One admission decision as the audit log tells it, schema `plimsoll.dev/audit/v1`.
//!
//! The same type is written and read, so the two can't drift apart. It carries names, findings and
//! what Plimsoll filled in itself; never an object's contents. [`Record::to_line`] bounds it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::verdict::{Action, Change, State};

/// What one request asked for, what was found, and what was answered.
///
/// Keys that are optional and absent are left out of the JSON; a reader ignores keys it doesn't know.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Which version of this schema the line follows.
    pub schema: Schema,
    /// When the request was judged, in UTC.
    pub time: Timestamp,
    /// The uid of the AdmissionReview request.
    pub uid: String,
    /// What was answered.
    pub decision: Decision,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Whether the request was a dry run.
    pub dry_run: bool,
    /// Who asked.
    pub user: User,
    /// What the request was about.
    pub resource: Resource,
    /// The workload that is acted on, when it is another object than `resource`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// The policies that matched.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Every finding, the waived ones included.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Waivers, and declarations of singletons, that the request brought, changed or took away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<WaiverChange>,
    /// Whether the user is exempt from every policy that matched, so that nothing was judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exempt: bool,
    /// What was filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patch: Vec<PatchOperation>,
    /// How long it took to judge the request.
    pub duration_micros: u64,
    /// Which replica answered.
    pub instance: String,
    /// What [`Record::to_line`] had to leave out; empty in a record that is whole.
    #[serde(default, skip_serializing_if = "Truncated::is_empty")]
    pub truncated: Truncated,
}

/// The version of the record's schema. A line of another version doesn't parse as this type.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Schema {
    /// The first version.
    #[default]
    #[serde(rename = "plimsoll.dev/audit/v1")]
    V1,
}

/// What was answered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Decision {
    /// The request was refused.
    Denied,
    /// The request was let through.
    Allowed,
}

/// Who asked, as the apiserver authenticated them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct User {
    /// The user name.
    pub name: String,
    /// The groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// The object that the request was about.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Subresource, such as `scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// Namespace, absent for what has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name, empty when the apiserver is yet to generate it.
    pub name: String,
}

/// The workload that a scale, an autoscaler or a budget acts on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Workload {
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One place where the object breaks a rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: String,
    /// What the policies do about it.
    pub action: Action,
    /// How it stands.
    pub state: State,
    /// The field.
    pub path: String,
    /// What the field was found to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// What the rule requires of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<String>,
    /// The line that the user was shown.
    pub message: String,
    /// The waiver that accepts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<Waiver>,
}

impl Finding {
    /// Whether this finding alone refuses the request.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.action == Action::Deny && self.state == State::New
    }
}

/// The waiver that accepts a finding.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Waiver {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when: a date or an instant, as its author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Where it is being worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Whether it was declared an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

/// What a request did to a waiver, or tried to; the record's user is who did it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaiverChange {
    /// The annotation.
    pub annotation: String,
    /// What became of it.
    pub change: Change,
    /// What it says, or said.
    pub waiver: Waiver,
    /// Whether the user may write it; absent where no policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// Why, in the authorizer's words: for RBAC the role and its binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_reason: Option<String>,
}

/// Whether the user may write a waiver.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Authorization {
    /// They may.
    Allowed,
    /// They may not.
    Denied,
    /// An emergency waiver needs nobody's leave.
    Emergency,
    /// Nobody could be asked.
    Unknown,
}

/// One operation of the JSON patch that was answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PatchOperation {
    /// `add`, `replace`, `remove` or `test`.
    pub op: String,
    /// The JSON pointer.
    pub path: String,
    /// What was filled in. Only Plimsoll's own values belong here, never the object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// How much of a record didn't fit: entries left out of each list, and texts that were cut.
///
/// A cut text ends in `…`. Zeros are left out of the JSON.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Truncated {
    /// Texts cut short, or patch values replaced, anywhere in the record.
    #[serde(skip_serializing_if = "is_zero")]
    pub texts: u64,
    /// Entries left out of `user.groups`.
    #[serde(skip_serializing_if = "is_zero")]
    pub groups: u64,
    /// Entries left out of `policies`.
    #[serde(skip_serializing_if = "is_zero")]
    pub policies: u64,
    /// Entries left out of `findings`; those that refuse the request are the last to go.
    #[serde(skip_serializing_if = "is_zero")]
    pub findings: u64,
    /// Operations left out of `patch`.
    #[serde(skip_serializing_if = "is_zero")]
    pub patch: u64,
    /// Entries left out of `waivers`.
    #[serde(skip_serializing_if = "is_zero")]
    pub waivers: u64,
}

impl Truncated {
    /// Whether nothing was left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// serde hands fields over by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
