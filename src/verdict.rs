//! What the engine answers: findings, the state each is in, and the decision that follows from them.
//!
//! A leaf of the module tree. Rules make [`Finding`]s, the engine judges them into [`Judged`] ones,
//! `render` turns those into lines for people and `audit` into lines for machines.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::object::{Kind, Labels};

/// What a policy does with a finding, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Action {
    /// The rule is not judged.
    Off,
    /// The finding is recorded; the user hears nothing and nothing is filled in.
    Audit,
    /// The finding is shown to the user as a warning.
    Warn,
    /// The request is refused.
    Deny,
}

impl Action {
    /// The name as policies and records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "Off",
            Self::Audit => "Audit",
            Self::Warn => "Warn",
            Self::Deny => "Deny",
        }
    }
}

/// How a finding stands after the ratchet and the waivers have been applied.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum State {
    /// It comes with this request, or this request makes it worse.
    New,
    /// It was there before this request and is no worse now.
    Existing,
    /// A waiver accepts it.
    Waived,
    /// The mutating webhook filled in what was missing.
    Fixed,
}

impl State {
    /// The name as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Existing => "Existing",
            Self::Waived => "Waived",
            Self::Fixed => "Fixed",
        }
    }
}

/// The object that a finding is about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name, or its generateName followed by `…` while it has none.
    pub name: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// One place where an object breaks a rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// What it is about. For a scale request this is the workload that is scaled.
    pub subject: Subject,
    /// The field, as people write it: `spec.template.spec.containers[app].securityContext`.
    pub path: String,
    /// What identifies the finding between the old and the new object, independent of list order.
    pub place: String,
    /// How bad it is: of two findings at the same place the larger number is worse.
    pub severity: i64,
    /// What was found, bare.
    pub observed: String,
    /// What the rule requires, bare.
    pub required: String,
    /// What is wrong, as a verb phrase that follows the subject: `has 1 replica`.
    pub says: String,
    /// What the policy needs, as a noun phrase that follows `production needs`.
    pub needs: String,
    /// How to mend it, as an imperative sentence without its full stop.
    pub remedy: String,
    /// The strongest action that this finding can have whatever the policy says.
    pub ceiling: Action,
    /// What would mend it, if the rule can tell and the author left the fields unset.
    pub fix: Vec<Edit>,
    /// The container that it is about, for waivers that name containers.
    pub container: Option<String>,
}

/// One change that mends a finding. `engine::patch` turns edits into JSON Patch operations.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Edit {
    /// Set the integer at a JSON pointer.
    SetInteger(String, i64),
    /// Set the boolean at a JSON pointer.
    SetBoolean(String, bool),
    /// Set the string at a JSON pointer.
    SetText(String, String),
    /// Set the list at a JSON pointer.
    SetList(String, &'static [&'static str]),
    /// Give a container `{"type": …}` in a field that pods hand down to their containers: in the pod
    /// if every container of it is given the field in the same patch, else in the container, so that
    /// none gets what it wasn't meant to have.
    SetInherited {
        /// Pointer from the container, and from the pod spec, to the field.
        field: &'static str,
        /// The type.
        kind: &'static str,
        /// Pointer to the container.
        container: String,
        /// Pointer to the pod spec.
        pod: String,
    },
    /// Replace the object at a JSON pointer by `{"type": …}`.
    SetType(String, &'static str),
    /// Ask for the pods at a JSON pointer to be spread over nodes as far as possible.
    Spread {
        /// Pointer to the pod spec.
        pod: String,
        /// The labels that make up the workload's selector.
        labels: Labels,
    },
    /// Give the container at a JSON pointer a bounded emptyDir at `/tmp`, shared within the pod at
    /// the second pointer. The third value is its sizeLimit, a Kubernetes quantity.
    MountTmp {
        /// Pointer to the container.
        container: String,
        /// Pointer to the pod spec that holds `volumes`.
        pod: String,
        /// The volume's sizeLimit.
        size_limit: String,
    },
}

/// Why a finding stands as it does, when a waiver had a say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WaiverNote {
    /// Who answers for the waiver.
    pub owner: String,
    /// Why it was granted.
    pub reason: String,
    /// Its end as written.
    pub expires: String,
    /// The ticket that it names.
    pub ticket: Option<String>,
    /// Whether it is an emergency waiver.
    pub emergency: bool,
}

/// What a request does to a waiver, or to a declaration that a workload is a singleton.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WaiverChange {
    /// The annotation.
    pub annotation: String,
    /// What becomes of it.
    pub change: Change,
    /// What it says, or said.
    pub note: WaiverNote,
    /// Whether its author may write it; `None` where no policy asks.
    pub authorization: Option<Authorization>,
}

/// What becomes of a waiver.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Change {
    /// It wasn't there, or the policy didn't apply to its object.
    Added,
    /// It says something else now.
    Changed,
    /// It is taken away, which needs nobody's leave.
    Removed,
}

impl Change {
    /// The name as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "Added",
            Self::Changed => "Changed",
            Self::Removed => "Removed",
        }
    }
}

/// Whether somebody may write a waiver, with the cluster's reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authorization {
    /// They may.
    Allowed(String),
    /// They may not.
    Denied(String),
    /// An emergency waiver, which anybody may write who may write the object.
    Emergency,
    /// Nobody could be asked.
    Unknown(String),
}

/// A finding with the engine's judgement on it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The finding.
    pub finding: Finding,
    /// What its policy does with it.
    pub action: Action,
    /// How it stands.
    pub state: State,
    /// The policies that have it, the first one being quoted in messages.
    pub policies: Vec<String>,
    /// The waiver that accepts it, or that used to.
    pub waiver: Option<WaiverNote>,
    /// Whether every policy that has the finding lets its rule be waived.
    pub waivable: bool,
    /// Whether the request is about a subresource, so that a waiver belongs on the object behind it.
    pub on_parent: bool,
    /// What the user has to know beyond the finding: an expired waiver, a fact that could not be confirmed.
    pub remark: Option<String>,
}

impl Judged {
    /// Whether this finding alone refuses the request.
    pub fn denies(&self) -> bool {
        self.state == State::New && self.action == Action::Deny
    }
}

/// The answer to one request.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Every finding, in the order of the rules.
    pub findings: Vec<Judged>,
    /// Names of the policies that apply to the object.
    pub policies: Vec<String>,
    /// Warnings that belong to no finding: a malformed waiver, one that nothing needs, one near its end.
    pub notices: Vec<String>,
    /// Waivers that the request brings, changes or takes away.
    pub waivers: Vec<WaiverChange>,
    /// What Plimsoll fills in, as JSON Patch operations.
    pub patch: Vec<json_patch::PatchOperation>,
    /// Whether the user is exempt, so that nothing was judged.
    pub exempt: bool,
}

impl Verdict {
    /// Whether the request is let in.
    pub fn allowed(&self) -> bool {
        !self.findings.iter().any(Judged::denies)
    }
}
