//! Who may waive: which annotations of a request somebody has to answer for.
//!
//! There is no proof in an object that its waivers were authorised, since whoever writes the object
//! could write the proof. What holds instead: where a policy says `authorize`, a waiver's text gets
//! into an object only by a request whose user was allowed to write it. So what an object carries
//! unchanged, under a policy that governed it before, needs no second question.

use std::collections::BTreeMap;

use super::waive::{self, Waivers};
use super::{Outcome, Request, Subjects};
use crate::object::{Kind, Labels};
use crate::policy::Policy;
use crate::rules::{self, SINGLETON_ANNOTATION, declares_singleton};
use crate::verdict::{Action, Authorization, Change, Finding, Judged, State, WaiverChange};
use crate::waiver::PREFIX;

/// What stands for a rule where a waiver is refused that its author may not write.
const UNAUTHORIZED: &str = "unauthorized-waiver";

/// What the cluster says of one rule: may the user of the request waive it in its namespace?
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Permission {
    /// They may, for this reason in the cluster's own words.
    Allowed(String),
    /// They may not.
    Denied(String),
    /// The cluster could not be asked, for this reason.
    Unknown(String),
}

/// An annotation that the request brings, changes or takes away.
pub(super) struct Claim<'p> {
    pub(super) change: WaiverChange,
    /// The rule that it waives; for a declared singleton that rule.
    pub(super) rule: &'static str,
    /// The policies that want its author authorised.
    pub(super) wanted_by: Vec<&'p Policy>,
}

/// The claims of a request. A scale carries no annotations of its own.
pub(super) fn claims<'p>(
    request: &Request<'_>,
    subjects: &Subjects,
    policies: &[&'p Policy],
    waivers: &Waivers<'_>,
) -> Vec<Claim<'p>> {
    if subjects.is_scale {
        return Vec::new();
    }
    let (now, before) = (declarations(&subjects.annotations), declarations(&subjects.old_annotations));
    let governed = |policy: &Policy| match request.kind {
        Kind::Namespace => policy.matching.namespace(request.namespace, Some(&subjects.labels_before)),
        _ => policy.matching.object(&subjects.labels_before),
    };
    let mut claims = Vec::new();
    for (key, (rule, text)) in &now {
        let old = before.get(key).map(|(_, old)| *old);
        let wants = |policy: &&Policy| {
            let asks = policy.waivers.authorize && (old != Some(*text) || !governed(policy));
            asks && (*key == SINGLETON_ANNOTATION || policy.rules.iter().any(|r| r.meta.name == *rule))
        };
        let wanted_by: Vec<&Policy> = policies.iter().copied().filter(wants).collect();
        let change = match old {
            Some(old) if old == *text && wanted_by.is_empty() => continue,
            Some(old) if old != *text => Change::Changed,
            _ => Change::Added,
        };
        let is_emergency = *key != SINGLETON_ANNOTATION && waivers.is_emergency(rule);
        let authorization = (is_emergency && !wanted_by.is_empty()).then_some(Authorization::Emergency);
        let note = waive::note(key, text);
        let change = WaiverChange { annotation: (*key).to_owned(), change, note, authorization };
        claims.push(Claim { change, rule, wanted_by });
    }
    let gone = before.iter().filter(|(key, _)| !now.contains_key(*key));
    claims.extend(gone.map(|(key, (rule, text))| {
        let annotation = (*key).to_owned();
        let note = waive::note(key, text);
        let change = WaiverChange { annotation, change: Change::Removed, note, authorization: None };
        Claim { change, rule, wanted_by: Vec::new() }
    }));
    claims
}

/// Takes the answers in, notes what is still to ask, and returns the claims that are refused, each
/// with why. What nobody may waive doesn't count.
pub(super) fn settle<'p>(
    claims: Vec<Claim<'p>>,
    request: &Request<'_>,
    answers: Option<&BTreeMap<&'static str, Permission>>,
    waivers: &mut Waivers<'_>,
    outcome: &mut Outcome,
) -> Vec<(Claim<'p>, String)> {
    let unknown = Permission::Unknown("nobody was asked".to_owned());
    let mut refused = Vec::new();
    for mut claim in claims {
        if let (Some(answers), true) = (answers, claim.is_open()) {
            let answer = answers.get(claim.rule);
            if answer.is_none() {
                outcome.asks.insert(claim.rule);
            }
            claim.answered(answer.unwrap_or(&unknown));
        }
        outcome.verdict.waivers.push(claim.change.clone());
        if let Some(why) = claim.refused(request) {
            if claim.change.annotation.starts_with(PREFIX) {
                waivers.discard(claim.rule, why.clone());
            }
            refused.push((claim, why));
        }
    }
    refused
}

/// What is declared by annotation: waivers of rules that there are, and singletons.
fn declarations(annotations: &Labels) -> BTreeMap<&str, (&'static str, &str)> {
    let declared = annotations.iter().filter_map(|(key, text)| {
        let rule = match key.strip_prefix(PREFIX) {
            Some(rule) => rule,
            None if key == SINGLETON_ANNOTATION && declares_singleton(text) => "singleton",
            None => return None,
        };
        Some((key, (rules::rule(rule)?.meta().name, text)))
    });
    declared.collect()
}

impl Claim<'_> {
    /// Whether somebody has to be asked.
    fn is_open(&self) -> bool {
        !self.wanted_by.is_empty() && self.change.authorization.is_none()
    }

    /// Takes the answer in.
    fn answered(&mut self, answer: &Permission) {
        self.change.authorization = Some(match answer {
            Permission::Allowed(why) => Authorization::Allowed(why.clone()),
            Permission::Denied(why) => Authorization::Denied(why.clone()),
            Permission::Unknown(why) => Authorization::Unknown(why.clone()),
        });
    }

    /// Why it doesn't count, if it doesn't.
    fn refused(&self, request: &Request<'_>) -> Option<String> {
        let (user, rule, namespace) = (request.user, self.rule, request.namespace);
        match self.change.authorization.as_ref()? {
            Authorization::Denied(_) => {
                let resource = format!("invariants.plimsoll.dev/{rule}");
                Some(format!("{user} lacks the verb waive on {resource} in namespace {namespace}"))
            }
            Authorization::Unknown(why) => {
                Some(format!("whether {user} may waive {rule} could not be asked: {why}"))
            }
            Authorization::Allowed(_) | Authorization::Emergency => None,
        }
    }

    /// The finding that keeps an unauthorised text out of the object, where it would count from the
    /// next request on. Each policy's own action is its strongest, as for every finding.
    pub(super) fn finding(&self, mut finding: Finding, why: &str) -> Option<Judged> {
        let action = self.wanted_by.iter().map(|policy| policy.action).max()?;
        if action == Action::Off {
            return None;
        }
        let annotation = &self.change.annotation;
        finding.rule = UNAUTHORIZED;
        finding.path = format!("metadata.annotations[{annotation}]");
        finding.place.clone_from(&finding.path);
        finding.observed.clone_from(annotation);
        finding.required = format!("the verb waive on invariants.plimsoll.dev {}", self.rule);
        finding.says = format!("can't get {annotation}: {why}");
        finding.needs = format!("an author who may waive {}", self.rule);
        finding.remedy = "Leave the annotation as it was, or have it set by somebody who may".to_owned();
        let policies = self.wanted_by.iter().map(|policy| policy.name.clone()).collect();
        Some(Judged {
            finding,
            action,
            state: State::New,
            policies,
            waiver: None,
            waivable: false,
            on_parent: false,
            remark: None,
        })
    }
}

#[cfg(test)]
mod tests;
