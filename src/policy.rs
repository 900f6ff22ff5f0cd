//! Policies: which objects, which rules, with which parameters and action.
//!
//! A policy is one `InvariantPolicy` document. [`document`] is the document as people write it,
//! [`load`] reads files and directories of them with errors that say where, what and how to mend
//! it, [`crd`] is its definition in a cluster, and this module holds what the engine works with.

pub mod crd;
pub mod document;
pub mod load;
mod matching;
pub mod reload;
pub mod schema;

use std::time::Duration;

use jiff::Timestamp;

pub use load::{LoadError, embedded};
pub use matching::Match;

use crate::rules::{Check, Meta, Singleton};
use crate::verdict::Action;
use crate::waiver::{Grant, Limits};

/// One policy, ready to be applied.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Which objects it applies to.
    pub matching: Match,
    /// The ceiling of every rule's action.
    pub action: Action,
    /// Whether what was already so is let through on UPDATE.
    pub ratchet: bool,
    /// Objects created at or after this instant get no ratchet.
    pub since: Option<Timestamp>,
    /// Identities that are neither judged nor filled in.
    pub exempt: Exempt,
    /// The rules, in the order of `RULES`.
    pub rules: Vec<PolicyRule>,
    /// Workloads that it declares singletons.
    pub singletons: Vec<Singleton>,
    /// Whether teams may declare their own by annotation.
    pub singletons_by_annotation: bool,
    /// What waivers must look like.
    pub waivers: Limits,
    /// Waivers that the policy itself grants.
    pub grants: Vec<Grant>,
}

/// A rule as one policy has it.
#[derive(Debug)]
pub struct PolicyRule {
    /// The rule.
    pub meta: &'static Meta,
    /// What the policy does with its findings.
    pub action: Action,
    /// Whether the rule may fill in what is missing.
    pub fix: bool,
    /// The rule with this policy's parameters.
    pub check: Box<dyn Check>,
}

/// Identities that a policy leaves alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exempt {
    /// User names.
    pub users: Vec<String>,
    /// Group names.
    pub groups: Vec<String>,
}

impl Exempt {
    /// Whether a user is exempt.
    pub fn covers<'g>(&self, user: &str, mut groups: impl Iterator<Item = &'g str>) -> bool {
        self.users.iter().any(|u| u == user) || groups.any(|group| self.groups.iter().any(|g| g == group))
    }
}

/// How long before a waiver's end every request warns, where a policy doesn't say.
pub(crate) const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);
/// How long an expired waiver still lets unrelated changes through, where a policy doesn't say.
pub(crate) const GRACE: Duration = Duration::from_secs(7 * 86_400);
/// How long a waiver may last, where a policy doesn't say.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(90 * 86_400);
