//! Judging one object after the other, and what is kept of each.

use jiff::Timestamp;
use serde::Serialize;

use crate::cluster::identify;
use crate::engine::{self, Operation, Request};
use crate::facts::{Facts, NamespaceFacts};
use crate::object::{Kind, Object, ReadError};
use crate::policy::Policy;
use crate::render;
use crate::verdict::{Action, Judged, State};

/// What becomes of an object with a finding, from the worst to the least.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) enum Outlook {
    /// Its next change is denied.
    Deny,
    /// Its next change passes with a warning, since it was so before; a new object like it is denied.
    Existing,
    /// Its next change passes with a warning, and so does a new object like it.
    Warn,
    /// A waiver accepts it.
    Waived,
    /// It is recorded.
    Audit,
}

impl Outlook {
    pub(super) const ALL: [Self; 5] = [Self::Deny, Self::Existing, Self::Warn, Self::Waived, Self::Audit];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "Deny",
            Self::Existing => "Existing",
            Self::Warn => "Warn",
            Self::Waived => "Waived",
            Self::Audit => "Audit",
        }
    }

    /// From how the finding would stand in a new object, and in the next change of this one.
    fn of(new: &Judged, next: Option<&Judged>) -> Self {
        match (new.state, new.action) {
            (State::Waived, _) => Self::Waived,
            (_, Action::Audit | Action::Off) => Self::Audit,
            (_, Action::Warn) => Self::Warn,
            (_, Action::Deny) if next.is_none_or(Judged::denies) => Self::Deny,
            (_, Action::Deny) => Self::Existing,
        }
    }
}

/// One finding, as it stands in the cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Standing {
    #[serde(rename = "state")]
    pub(super) outlook: Outlook,
    pub(super) rule: &'static str,
    pub(super) action: Action,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) observed: String,
    pub(super) required: String,
    pub(super) message: String,
    pub(super) policies: Vec<String>,
    /// Whether Plimsoll would fill it in in a new object like this one.
    pub(super) fills_in: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waiver: Option<Waiver>,
}

/// The waiver that accepts a finding, or used to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Waiver {
    pub(super) owner: String,
    pub(super) reason: String,
    pub(super) expires: String,
}

/// What an object's author should know beside its findings.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Notice {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) message: String,
}

/// The objects so far, under one set of policies.
pub(super) struct Survey<'s> {
    policies: &'s [Policy],
    facts: &'s Facts,
    now: Timestamp,
    pub(super) findings: Vec<Standing>,
    pub(super) notices: Vec<Notice>,
    pub(super) unreadable: Vec<String>,
    pub(super) judged: usize,
    pub(super) governed: usize,
}

impl<'s> Survey<'s> {
    pub(super) fn new(policies: &'s [Policy], facts: &'s Facts, now: Timestamp) -> Self {
        Self {
            policies,
            facts,
            now,
            findings: Vec::new(),
            notices: Vec::new(),
            unreadable: Vec::new(),
            judged: 0,
            governed: 0,
        }
    }

    /// Judges one object; nothing but its findings is kept.
    pub(super) fn judge(&mut self, kind: Kind, text: &str) {
        self.judged += 1;
        if let Err(error) = self.try_judge(kind, text) {
            self.unreadable.push(format!("{kind} {} can't be read: {error}", identify(text)));
        }
    }

    fn try_judge(&mut self, kind: Kind, text: &str) -> Result<(), ReadError> {
        let object = Object::read(kind, text)?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default().to_owned();
        let facts: &NamespaceFacts = &self.facts.namespace(&namespace);
        let request = |operation| -> Result<Request<'_>, ReadError> {
            Ok(Request {
                operation,
                kind,
                namespace: &namespace,
                user: "",
                groups: Vec::new(),
                manager: None,
                manifest: false,
                object: Object::read(kind, text)?,
                old: if operation == Operation::Update { Some(Object::read(kind, text)?) } else { None },
            })
        };
        let new = request(Operation::Create)?;
        let verdict = engine::judge(&new, self.policies, facts, self.now).verdict;
        if verdict.policies.is_empty() {
            return Ok(());
        }
        self.governed += 1;
        let name = object.display_name();
        for message in &verdict.notices {
            let (namespace, name) = (namespace.clone(), name.clone());
            self.notices.push(Notice { kind, namespace, name, message: render::sanitise(message) });
        }
        if verdict.findings.is_empty() {
            return Ok(());
        }
        let next = engine::judge_next(&request(Operation::Update)?, self.policies, facts, self.now).verdict;
        let is_fixable = verdict.findings.iter().any(|judged| !judged.finding.fix.is_empty());
        let filled = if is_fixable {
            engine::fill_in(&new, self.policies, facts, self.now).verdict.findings
        } else {
            Vec::new()
        };
        for judged in verdict.findings {
            let same = |other: &&Judged| {
                other.finding.rule == judged.finding.rule && other.finding.place == judged.finding.place
            };
            let next = next.findings.iter().find(same);
            let fills_in = filled.iter().any(|other| same(&other));
            self.findings.push(standing(&judged, next, fills_in));
        }
        Ok(())
    }
}

fn standing(new: &Judged, next: Option<&Judged>, fills_in: bool) -> Standing {
    let outlook = Outlook::of(new, next);
    let message = match outlook {
        // What stands from before says how to mend it and how to waive it, as what is refused does.
        Outlook::Deny | Outlook::Existing => render::finding(next.filter(|n| n.denies()).unwrap_or(new)),
        _ => render::standing(new),
    };
    let finding = &new.finding;
    Standing {
        outlook,
        rule: finding.rule,
        action: new.action,
        kind: finding.subject.kind,
        namespace: finding.subject.namespace.clone(),
        name: finding.subject.name.clone(),
        path: render::sanitise(&finding.path),
        observed: render::sanitise(&finding.observed),
        required: render::sanitise(&finding.required),
        message,
        policies: new.policies.clone(),
        fills_in,
        waiver: new.waiver.as_ref().map(|note| Waiver {
            owner: render::sanitise(&note.owner),
            reason: render::sanitise(&note.reason),
            expires: render::sanitise(&note.expires),
        }),
    }
}
