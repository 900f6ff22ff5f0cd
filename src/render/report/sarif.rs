//! SARIF 2.1.0, which GitHub code scanning and IDEs read.
//!
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>

use serde_json::{Value, json};

use super::{Entry, Location, Notice, Problem, Report, Resource, Severity};
use crate::render::page;
use crate::rules::{Meta, RULES};
use crate::verdict::Action;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(super) fn render(report: &Report) -> String {
    let results = report.findings.iter().map(result).chain(report.notices.iter().map(notice));
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "Plimsoll",
                "version": report.version,
                "semanticVersion": report.version,
                "rules": RULES.iter().map(|rule| descriptor(rule.meta())).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": report.errors.is_empty(),
                "toolExecutionNotifications": report.errors.iter().map(notification).collect::<Vec<_>>(),
            }],
            "results": results.collect::<Vec<_>>(),
        }],
    });
    format!("{log:#}\n")
}

fn descriptor(meta: &Meta) -> Value {
    let level = match meta.action {
        Action::Deny => "error",
        Action::Warn => "warning",
        Action::Audit | Action::Off => "note",
    };
    let mut rule = json!({
        "id": meta.name,
        "shortDescription": {"text": meta.summary},
        "fullDescription": {"text": meta.rationale, "markdown": meta.rationale},
        "help": {"text": meta.rationale, "markdown": page::rule(meta)},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["kubernetes"]},
    });
    if let (Some(uri), Some(rule)) = (meta.references.first(), rule.as_object_mut()) {
        rule.insert("helpUri".to_owned(), json!(uri));
    }
    rule
}

fn result(entry: &Entry) -> Value {
    let mut result = json!({
        "ruleId": entry.rule,
        "level": level(entry.severity()),
        "message": {"text": entry.message},
        "locations": [location(entry.location.as_ref(), &entry.resource, &entry.path)],
        "partialFingerprints": {"plimsoll/v1": fingerprint(entry)},
        "properties": {
            "action": entry.action,
            "state": entry.state,
            "observed": entry.observed,
            "required": entry.required,
            "policies": entry.policies,
        },
    });
    let Some(fields) = result.as_object_mut() else { return result };
    if let Some(index) = RULES.iter().position(|rule| rule.meta().name == entry.rule) {
        fields.insert("ruleIndex".to_owned(), json!(index));
    }
    if let ("Waived", Some(waiver)) = (entry.state, &entry.waiver) {
        let justification = format!("{} ({}, until {})", waiver.reason, waiver.owner, waiver.expires);
        let suppression = json!({"kind": "inSource", "status": "accepted", "justification": justification});
        fields.insert("suppressions".to_owned(), json!([suppression]));
    }
    result
}

fn notice(notice: &Notice) -> Value {
    json!({
        "ruleId": "notice",
        "level": if notice.fails { "error" } else { "warning" },
        "message": {"text": notice.message},
        "locations": [location(notice.location.as_ref(), &notice.resource, "metadata.annotations")],
    })
}

fn notification(problem: &Problem) -> Value {
    let mut notification = json!({"level": "error", "message": {"text": problem.message}});
    if let (Some(at), Some(fields)) = (&problem.location, notification.as_object_mut()) {
        fields.insert("locations".to_owned(), json!([{"physicalLocation": physical(at)}]));
    }
    notification
}

fn location(at: Option<&Location>, resource: &Resource, path: &str) -> Value {
    let Resource { kind, namespace, name } = resource;
    let object = [kind, namespace, name].into_iter().filter(|part| !part.is_empty());
    let object = object.map(String::as_str).collect::<Vec<_>>().join("/");
    let logical = json!([{"name": path, "fullyQualifiedName": format!("{object}/{path}"), "kind": "member"}]);
    match at {
        Some(at) => json!({"physicalLocation": physical(at), "logicalLocations": logical}),
        None => json!({"logicalLocations": logical}),
    }
}

/// Where it is written. Standard input is no artifact, but the template that helm rendered is one;
/// only its lines are others.
fn physical(at: &Location) -> Value {
    match &at.template {
        Some(template) if at.file == "-" => json!({"artifactLocation": {"uri": uri(template)}}),
        _ => json!({
            "artifactLocation": {"uri": uri(if at.file == "-" { "stdin" } else { &at.file })},
            "region": {
                "startLine": at.line,
                "startColumn": at.column,
                "endColumn": at.end_column,
                "snippet": {"text": at.source},
            },
        }),
    }
}

/// A path as a URI reference (RFC 3986): relative, or absolute with its scheme.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encoded: String = path
        .bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    if path.starts_with('/') { format!("file://{encoded}") } else { encoded }
}

fn fingerprint(entry: &Entry) -> String {
    let Resource { kind, namespace, name } = &entry.resource;
    let place = if entry.place.is_empty() { &entry.path } else { &entry.place };
    format!("{}/{kind}/{namespace}/{name}/{place}", entry.rule)
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}
