//! What an Event is to say, and about what.

use crate::audit::{Decision, Finding, Record, State};

/// The longest note that an Event takes, in bytes (`pkg/apis/core/validation/events.go`).
const LONGEST_NOTE: usize = 1024;
/// How much of an object's name goes into its Events' names.
const LONGEST_NAME: usize = 200;

/// Why an Event is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A request was refused.
    Denied,
    /// An emergency waiver let a request in.
    EmergencyWaiver,
    /// A waiver ends soon.
    WaiverEnds,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "AdmissionDenied",
            Self::EmergencyWaiver => "EmergencyWaiver",
            Self::WaiverEnds => "WaiverEnds",
        }
    }

    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Denied => "Deny",
            Self::EmergencyWaiver => "Waive",
            Self::WaiverEnds => "Remind",
        }
    }
}

/// The object that an Event is about. It need not exist: a CREATE that was refused leaves none, and
/// its Event is found by kind and name alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Regarding {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for what has none.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its uid if it exists: `kubectl describe` shows only Events that carry it.
    pub uid: Option<String>,
}

impl Regarding {
    /// The namespace of its Events: those of cluster-scoped objects are in `default`.
    pub(super) fn event_namespace(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }
}

/// What an Event is to say.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Why.
    pub reason: Reason,
    /// About what.
    pub regarding: Regarding,
    /// The rule.
    pub rule: String,
    /// The message.
    pub note: String,
}

impl Notice {
    /// The Event's name: that of the object, and what makes the same Event of the same news.
    pub(super) fn name(&self) -> String {
        let Regarding { api_version, kind, namespace, name, uid } = &self.regarding;
        let uid = uid.as_deref().unwrap_or_default();
        let key = [self.reason.as_str(), api_version, kind, namespace, name, uid, &self.rule, &self.note];
        // What is yet to get its name ends in an ellipsis.
        let part: String = name
            .chars()
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(*c))
            .take(LONGEST_NAME)
            .collect();
        let part = part.trim_matches(['.', '-']);
        let separator = if part.is_empty() { "" } else { "." };
        format!("{part}{separator}{:016x}", fnv(&key))
    }
}

/// FNV-1a over texts: the same on every replica and in every version, which std's hashers don't promise.
fn fnv(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The Events that a record calls for: one for each rule that refuses, and for each emergency waiver
/// that lets something in. None for dry runs, which change nothing that anybody has to notice.
pub(super) fn of(record: &Record, uid: Option<&str>) -> Vec<Notice> {
    if record.dry_run {
        return Vec::new();
    }
    let is_denied = record.decision == Decision::Denied;
    let is_emergency = |finding: &Finding| {
        finding.state == State::Waived && finding.waiver.as_ref().is_some_and(|waiver| waiver.emergency)
    };
    let reason = if is_denied { Reason::Denied } else { Reason::EmergencyWaiver };
    let mut notices: Vec<Notice> = Vec::new();
    for finding in &record.findings {
        if if is_denied { !finding.refuses() } else { !is_emergency(finding) } {
            continue;
        }
        let text = match &finding.waiver {
            Some(waiver) if !is_denied => {
                let end = waiver.expires.as_deref().unwrap_or("no end");
                format!("{}, until {end}: {}", finding.message, waiver.reason)
            }
            _ => finding.message.clone(),
        };
        match notices.iter_mut().find(|notice| notice.rule == finding.rule) {
            Some(notice) if notice.note.contains(&text) => {}
            Some(notice) => notice.note = format!("{} {text}", notice.note),
            None => notices.push(Notice {
                reason,
                regarding: regarding(record, uid),
                rule: finding.rule.clone(),
                note: text,
            }),
        }
    }
    for notice in &mut notices {
        notice.note = cut(&notice.note);
    }
    notices
}

/// The workload that is acted on, else the object itself.
fn regarding(record: &Record, uid: Option<&str>) -> Regarding {
    let resource = &record.resource;
    let api_version = match resource.group.as_str() {
        "" => resource.version.clone(),
        group => format!("{group}/{}", resource.version),
    };
    let (kind, namespace, name) = match &record.workload {
        Some(workload) => (&workload.kind, workload.namespace.clone(), &workload.name),
        // The API server says of a Namespace that it is in itself.
        None if resource.kind == "Namespace" => (&resource.kind, String::new(), &resource.name),
        None => (&resource.kind, resource.namespace.clone().unwrap_or_default(), &resource.name),
    };
    Regarding { api_version, kind: kind.clone(), namespace, name: name.clone(), uid: uid.map(str::to_owned) }
}

pub(super) fn cut(note: &str) -> String {
    const ELLIPSIS: &str = "…";
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let end = note.floor_char_boundary(LONGEST_NOTE - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", note.get(..end).unwrap_or_default())
}
