//! From a verdict to its record in the audit log, and to the apiserver's own audit annotations.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use json_patch::PatchOperation;

use crate::admission::Request;
use crate::audit::{self, Record};
use crate::engine::{self, Operation};
use crate::object::{Body, ReadError};
use crate::render;
use crate::verdict::{Action, Authorization, Judged, State, Verdict, WaiverChange, WaiverNote};

/// What stands for a rule in the record of an object that couldn't be read.
const UNREADABLE: &str = "unreadable-object";

/// The record of one decision.
pub(super) fn record(
    request: &Request<'_>,
    subject: &engine::Request<'_>,
    verdict: &Verdict,
    took: Duration,
    instance: &str,
) -> Record {
    let is_scale = matches!(subject.object.body, Body::Scale(_));
    let name = subject.object.display_name();
    Record {
        schema: audit::Schema::default(),
        time: Timestamp::now(),
        uid: request.uid.to_string(),
        decision: if verdict.allowed() { audit::Decision::Allowed } else { audit::Decision::Denied },
        operation: subject.operation.as_str().to_owned(),
        dry_run: request.dry_run,
        user: audit::User {
            name: subject.user.to_owned(),
            groups: subject.groups.iter().map(|group| (*group).to_owned()).collect(),
        },
        resource: resource(request, name.clone()),
        workload: is_scale.then(|| audit::Workload {
            kind: subject.kind.as_str().to_owned(),
            namespace: request.namespace.to_string(),
            name,
        }),
        policies: verdict.policies.clone(),
        findings: verdict.findings.iter().map(finding).collect(),
        waivers: verdict.waivers.iter().map(change).collect(),
        exempt: verdict.exempt,
        patch: verdict.patch.iter().filter_map(operation).collect(),
        duration_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        instance: instance.to_owned(),
        truncated: audit::Truncated::default(),
    }
}

/// The record of a denial whose object couldn't be read, so that no rule could be judged.
pub(super) fn unreadable(
    request: &Request<'_>,
    operation: Operation,
    error: &ReadError,
    message: &str,
    instance: &str,
) -> Record {
    Record {
        schema: audit::Schema::default(),
        time: Timestamp::now(),
        uid: request.uid.to_string(),
        decision: audit::Decision::Denied,
        operation: operation.as_str().to_owned(),
        dry_run: request.dry_run,
        user: audit::User {
            name: request.user_info.username.to_string(),
            groups: request.user_info.groups.iter().map(ToString::to_string).collect(),
        },
        resource: resource(request, request.name.to_string()),
        workload: None,
        policies: Vec::new(),
        findings: vec![audit::Finding {
            rule: UNREADABLE.to_owned(),
            action: Action::Deny,
            state: State::New,
            path: error.path.clone(),
            observed: None,
            required: None,
            message: message.to_owned(),
            waiver: None,
        }],
        waivers: Vec::new(),
        exempt: false,
        patch: Vec::new(),
        duration_micros: 0,
        instance: instance.to_owned(),
        truncated: audit::Truncated::default(),
    }
}

fn resource(request: &Request<'_>, name: String) -> audit::Resource {
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    audit::Resource {
        group: request.resource.group.to_string(),
        version: request.resource.version.to_string(),
        kind: request.kind.kind.to_string(),
        subresource: optional(&request.sub_resource),
        namespace: optional(&request.namespace),
        name,
    }
}

fn finding(judged: &Judged) -> audit::Finding {
    let found = &judged.finding;
    audit::Finding {
        rule: found.rule.to_owned(),
        action: judged.action,
        state: judged.state,
        path: found.path.clone(),
        observed: Some(found.observed.clone()),
        required: Some(found.required.clone()),
        message: render::standing(judged),
        waiver: judged.waiver.as_ref().map(waiver),
    }
}

fn waiver(note: &WaiverNote) -> audit::Waiver {
    audit::Waiver {
        owner: note.owner.clone(),
        reason: note.reason.clone(),
        expires: (!note.expires.is_empty()).then(|| note.expires.clone()),
        ticket: note.ticket.clone(),
        emergency: note.emergency,
    }
}

fn change(change: &WaiverChange) -> audit::WaiverChange {
    let (authorization, reason) = match &change.authorization {
        Some(Authorization::Allowed(why)) => (Some(audit::Authorization::Allowed), why.as_str()),
        Some(Authorization::Denied(why)) => (Some(audit::Authorization::Denied), why.as_str()),
        Some(Authorization::Unknown(why)) => (Some(audit::Authorization::Unknown), why.as_str()),
        Some(Authorization::Emergency) => (Some(audit::Authorization::Emergency), ""),
        None => (None, ""),
    };
    audit::WaiverChange {
        annotation: change.annotation.clone(),
        change: change.change,
        waiver: waiver(&change.note),
        authorization,
        authorization_reason: (!reason.is_empty()).then(|| reason.to_owned()),
    }
}

/// Everything that Plimsoll patches is its own; there is nothing of the object in it.
fn operation(operation: &PatchOperation) -> Option<audit::PatchOperation> {
    match operation {
        PatchOperation::Add(add) => Some(audit::PatchOperation {
            op: "add".to_owned(),
            path: add.path.to_string(),
            value: Some(add.value.clone()),
        }),
        _ => None,
    }
}

/// What the apiserver's own audit log keeps: rule names and waivers, in a fixed order.
pub(super) fn annotations(verdict: &Verdict) -> BTreeMap<&'static str, String> {
    let rules = |wanted: &dyn Fn(&&Judged) -> bool| {
        let mut rules: Vec<&str> = verdict
            .findings
            .iter()
            .filter(|judged| wanted(judged))
            .map(|judged| judged.finding.rule)
            .collect();
        rules.dedup();
        rules.join(",")
    };
    let waived = verdict.findings.iter().filter(|judged| judged.state == State::Waived);
    let mut waivers: Vec<String> = waived
        .filter_map(|judged| {
            let waiver = judged.waiver.as_ref()?;
            Some(format!("{} by {} until {}", judged.finding.rule, waiver.owner, waiver.expires))
        })
        .collect();
    waivers.dedup();
    let changes = verdict.waivers.iter();
    let changes: Vec<String> =
        changes.map(|change| format!("{} {}", change.annotation, change.change.as_str())).collect();
    let all = [
        ("denied", rules(&|judged| judged.denies())),
        ("existing", rules(&|judged| judged.state == State::Existing)),
        ("fixed", rules(&|judged| judged.state == State::Fixed)),
        ("waived", render::sanitise(&waivers.join("; "))),
        ("waivers", changes.join("; ")),
    ];
    let mut annotations: BTreeMap<&'static str, String> =
        all.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    if verdict.exempt {
        annotations.insert("exempt", "true".to_owned());
    }
    annotations
}
