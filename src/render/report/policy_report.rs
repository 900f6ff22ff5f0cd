//! The report as objects of a cluster, for Policy Reporter and the like.
//!
//! One for each object that something is found in, owned by it, so that both go together; what is well
//! makes none. The schemas are those of openreports.io/v1alpha1 and wgpolicyk8s.io/v1alpha2.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Entry, Report};
use crate::object::Kind;

/// Who makes these reports: their source, and the value of their label `app.kubernetes.io/managed-by`.
pub const SOURCE: &str = "plimsoll";

/// How many results one report has at most; its summary counts all.
const MOST_RESULTS: usize = 100;
/// How many reports there are at most. Each is an object in etcd.
const MOST_REPORTS: usize = 5_000;

/// The API that the reports are objects of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Api {
    /// `Report` of openreports.io.
    Openreports,
    /// `PolicyReport` of wgpolicyk8s.io, its older form.
    Policyreports,
}

impl Api {
    /// Group and version.
    pub fn version(self) -> &'static str {
        match self {
            Self::Openreports => "openreports.io/v1alpha1",
            Self::Policyreports => "wgpolicyk8s.io/v1alpha2",
        }
    }

    /// The kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Openreports => "Report",
            Self::Policyreports => "PolicyReport",
        }
    }

    /// The plural resource name.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Openreports => "reports",
            Self::Policyreports => "policyreports",
        }
    }
}

/// The reports, those with failures first, and how many more there would be.
pub fn manifests(report: &Report, api: Api) -> (Vec<Value>, usize) {
    let mut by_object: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
    for entry in report.findings.iter().filter(|entry| result(entry).is_some()) {
        by_object.entry(&entry.resource).or_default().push(entry);
    }
    let mut objects: Vec<Vec<&Entry>> = by_object.into_values().collect();
    let failures = |entries: &[&Entry]| entries.iter().filter(|e| result(e) == Some("fail")).count();
    objects.sort_by_key(|entries| Reverse(failures(entries)));
    let left_out = objects.len().saturating_sub(MOST_REPORTS);
    let made = objects.iter().take(MOST_REPORTS).filter_map(|entries| manifest(entries, api)).collect();
    (made, left_out)
}

/// All of them as one List, for `kubectl apply --server-side`.
pub(super) fn render(report: &Report, api: Api) -> String {
    let (items, _) = manifests(report, api);
    format!("{:#}\n", json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

fn manifest(entries: &[&Entry], api: Api) -> Option<Value> {
    let first = entries.first()?;
    // Only what lies in a cluster has one, and only a scan asks for this form.
    let uid = first.uid.as_deref()?;
    let resource = &first.resource;
    let kind = Kind::ALL.iter().find(|kind| kind.as_str() == resource.kind)?;
    let version = kind.api_version();
    let count = |word: &str| entries.iter().filter(|entry| result(entry) == Some(word)).count();
    let mut made = json!({
        "apiVersion": api.version(),
        "kind": api.kind(),
        "metadata": {
            "name": format!("{SOURCE}-{uid}"),
            "namespace": resource.namespace,
            "labels": {"app.kubernetes.io/managed-by": SOURCE},
            "ownerReferences": [{"apiVersion": version, "kind": resource.kind, "name": resource.name, "uid": uid}],
        },
        "scope": {
            "apiVersion": version, "kind": resource.kind, "namespace": resource.namespace, "name": resource.name,
            "uid": uid,
        },
        "summary": {"pass": 0, "fail": count("fail"), "warn": count("warn"), "error": 0, "skip": count("skip")},
        "results": entries.iter().take(MOST_RESULTS).map(|entry| outcome(entry)).collect::<Vec<_>>(),
    });
    if let (Api::Openreports, Some(made)) = (api, made.as_object_mut()) {
        let limits = json!({"maxResults": MOST_RESULTS, "statusFilter": ["fail", "warn", "skip"]});
        made.insert("source".to_owned(), SOURCE.into());
        made.insert("configuration".to_owned(), json!({"limits": limits}));
    }
    Some(made)
}

/// One result. It has no timestamp, so that a scan that finds the same changes nothing in the cluster.
fn outcome(entry: &Entry) -> Value {
    let mut properties = json!({
        "state": entry.state,
        "action": entry.action,
        "path": entry.path,
        "observed": entry.observed,
        "required": entry.required,
        "remedy": entry.remedy,
        "policies": entry.policies.join(", "),
    });
    if let (Some(waiver), Some(properties)) = (&entry.waiver, properties.as_object_mut()) {
        properties.insert("waiverOwner".to_owned(), waiver.owner.as_str().into());
        properties.insert("waiverReason".to_owned(), waiver.reason.as_str().into());
        properties.insert("waiverExpires".to_owned(), waiver.expires.as_str().into());
    }
    json!({
        "source": SOURCE,
        "policy": entry.policies.first().map_or("", String::as_str),
        "rule": entry.rule,
        "category": "Workload invariants",
        "severity": severity(entry),
        "result": result(entry),
        "scored": result(entry) == Some("fail"),
        "message": entry.message,
        "properties": properties,
    })
}

/// What a policy denies fails, also where the ratchet lets it be: the cluster is not what the policy
/// promises. What it only warns about or records warns.
fn result(entry: &Entry) -> Option<&'static str> {
    match (entry.state, entry.action) {
        ("Waived", _) => Some("skip"),
        ("New" | "Existing", "Deny") => Some("fail"),
        ("New" | "Existing", "Warn" | "Audit") => Some("warn"),
        _ => None,
    }
}

fn severity(entry: &Entry) -> &'static str {
    match (entry.state, entry.action) {
        ("New", "Deny") => "high",
        (_, "Deny") => "medium",
        (_, "Warn") => "low",
        _ => "info",
    }
}
