//! Which waiver, if any, has a say about a finding.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Subjects;
use crate::facts::Workload;
use crate::manifest::nearest::nearest;
use crate::policy::Policy;
use crate::rules::RULES;
use crate::verdict::{Finding, State, Verdict, WaiverNote};
use crate::waiver::{Assessed, Limits, PREFIX, Standing, assess, assess_grant};

/// The waivers of one request: of the object, of what it acts on, and of the policies.
pub(super) struct Waivers<'p> {
    policies: Vec<&'p Policy>,
    is_create: bool,
    now: Timestamp,
    own: BTreeMap<String, Assessed>,
    partners: Vec<(String, Assessed)>,
    before: Vec<(String, Assessed)>,
    grants: Vec<(String, Assessed)>,
    unknown: Vec<String>,
}

/// A waiver that covers a finding, valid or ended.
pub(super) struct On<'w> {
    assessed: &'w Assessed,
    is_create: bool,
}

impl<'p> Waivers<'p> {
    pub(super) fn new(policies: &[&'p Policy], is_create: bool, now: Timestamp) -> Self {
        Self {
            policies: policies.to_vec(),
            is_create,
            now,
            own: BTreeMap::new(),
            partners: Vec::new(),
            before: Vec::new(),
            grants: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Reads the waivers of the object and of the workloads that it acts on, now and before.
    pub(super) fn read(&mut self, subjects: &Subjects, acts_on: &[Arc<Workload>], before: &[Arc<Workload>]) {
        for (rule, text) in of(&subjects.annotations) {
            if RULES.iter().any(|known| known.meta().name == rule) {
                self.own.insert(rule.to_owned(), self.assess(rule, text));
            } else {
                let hint = nearest(rule, RULES.iter().map(|rule| rule.meta().name));
                let hint = hint.map_or_else(String::new, |near| format!("; did you mean {PREFIX}{near}?"));
                self.unknown.push(format!("{PREFIX}{rule} waives nothing: there is no such rule{hint}"));
            }
        }
        let partners = acts_on.iter().flat_map(|workload| of(&workload.annotations));
        self.partners = partners.map(|(rule, text)| (rule.to_owned(), self.assess(rule, text))).collect();
        let before = before.iter().flat_map(|workload| of(&workload.annotations));
        let before = of(&subjects.old_annotations).chain(before);
        self.before = before.map(|(rule, text)| (rule.to_owned(), self.assess(rule, text))).collect();
        let mut grants = Vec::new();
        let all =
            self.policies.iter().flat_map(|&policy| policy.grants.iter().map(move |grant| (policy, grant)));
        for (policy, grant) in all {
            let at = |kind, namespace: &str, name: &str| {
                grant.kind == kind && grant.namespace == namespace && grant.name == name
            };
            let subject = &subjects.subject;
            let namespace = &subject.namespace;
            if at(subject.kind, namespace, &subject.name)
                || acts_on.iter().any(|w| at(w.kind, namespace, &w.name))
            {
                grants.push((
                    grant.rule.clone(),
                    assess_grant(grant, &self.others(policy, &grant.rule), self.now),
                ));
            }
        }
        self.grants = grants;
    }

    /// The waiver that covers a finding: a valid one if there is any, else one that has ended.
    pub(super) fn on(&self, finding: &Finding) -> Option<On<'_>> {
        let own = self.own.get(finding.rule).into_iter();
        let others = self.partners.iter().chain(&self.grants);
        let all = own.chain(others.filter(|(rule, _)| rule == finding.rule).map(|(_, assessed)| assessed));
        let covering = all.filter(|assessed| {
            !matches!(assessed.standing, Standing::Invalid(_))
                && assessed.covers(finding.container.as_deref())
        });
        let rank = |assessed: &&Assessed| match assessed.standing {
            Standing::Active => 0,
            Standing::Expiring => 1,
            Standing::Grace => 2,
            Standing::Expired | Standing::Invalid(_) => 3,
        };
        covering.min_by_key(rank).map(|assessed| On { assessed, is_create: self.is_create })
    }

    /// Why the object's own waiver of the rule doesn't count, if it has one that doesn't.
    pub(super) fn invalid(&self, finding: &Finding) -> Option<String> {
        match &self.own.get(finding.rule)?.standing {
            Standing::Invalid(why) => Some(format!("its waiver doesn't count: {why}")),
            _ => None,
        }
    }

    /// Whether a waiver carried the finding before this request, so that the ratchet doesn't excuse it.
    pub(super) fn carried(&self, old: &Finding) -> bool {
        self.before.iter().any(|(rule, assessed)| {
            rule == old.rule
                && !matches!(assessed.standing, Standing::Invalid(_))
                && assessed.covers(old.container.as_deref())
        })
    }

    /// What the user should know of the object's own waivers: those that don't count, and those that
    /// nothing needs.
    pub(super) fn notices(&self, verdict: &Verdict, subjects: &Subjects) -> Vec<String> {
        if subjects.is_scale {
            return Vec::new();
        }
        let mut notices = self.unknown.clone();
        for (rule, assessed) in &self.own {
            let found = verdict.findings.iter().any(|judged| judged.finding.rule == rule.as_str());
            match &assessed.standing {
                // With a finding it is said there.
                Standing::Invalid(why) if !found => {
                    notices.push(format!("{PREFIX}{rule} doesn't count: {why}"));
                }
                Standing::Invalid(_) => {}
                _ if !found && self.is_judged_here(rule) => {
                    notices.push(format!("{PREFIX}{rule} waives nothing: the object keeps the rule"));
                }
                _ => {}
            }
        }
        notices
    }

    /// Whether a rule's findings all lie in the object itself. A waiver of another rule may be there
    /// for an autoscaler or a budget that acts on the object.
    fn is_judged_here(&self, rule: &str) -> bool {
        let is_on = self.policies.iter().any(|policy| policy.rules.iter().any(|r| r.meta.name == rule));
        let of_partners = [
            "autoscaler-range",
            "disruption-budget",
            "has-disruption-budget",
            "min-replicas",
            "rollout-availability",
            "single-writer-volume",
            "singleton",
            "spread",
        ];
        is_on && !of_partners.contains(&rule)
    }

    fn assess(&self, rule: &str, text: &str) -> Assessed {
        assess(text, rule, &self.limits(rule), self.now)
    }

    /// The limits of the policies beside the one that grants.
    fn others(&self, granting: &Policy, rule: &str) -> Vec<&'p Limits> {
        let has = |policy: &&&Policy| {
            !std::ptr::eq(**policy, granting) && policy.rules.iter().any(|r| r.meta.name == rule)
        };
        self.policies.iter().filter(has).map(|policy| &policy.waivers).collect()
    }

    /// The limits of every policy that has the rule: a waiver must satisfy them all.
    fn limits(&self, rule: &str) -> Vec<&'p Limits> {
        let has = |policy: &&&Policy| policy.rules.iter().any(|r| r.meta.name == rule);
        self.policies.iter().filter(has).map(|policy| &policy.waivers).collect()
    }
}

impl On<'_> {
    /// How a finding stands that this waiver covers, or used to cover.
    pub(super) fn state(&self, finding: &Finding, old: Option<&Finding>, is_metadata_only: bool) -> State {
        match self.assessed.standing {
            Standing::Active | Standing::Expiring => State::Waived,
            Standing::Grace | Standing::Expired | Standing::Invalid(_) => {
                // The field itself was touched if it reads otherwise now, however bad either is.
                let in_grace = self.assessed.standing == Standing::Grace
                    && !self.assessed.waiver.emergency
                    && old.is_some_and(|old| old.observed == finding.observed);
                match old {
                    _ if is_metadata_only => State::Existing,
                    Some(old) if old.severity > finding.severity => State::Existing,
                    Some(old) if old.severity == finding.severity && in_grace && !self.is_create => {
                        State::Existing
                    }
                    _ => State::New,
                }
            }
        }
    }

    pub(super) fn note(&self) -> WaiverNote {
        self.assessed.note()
    }

    /// What to tell beside the finding.
    pub(super) fn remark(&self, state: State) -> Option<String> {
        let end = self.assessed.end_in_words();
        match self.assessed.standing {
            Standing::Active => None,
            Standing::Expiring => Some(format!("the waiver ends {end}: renew it or fix this")),
            Standing::Grace if state == State::Existing => {
                Some(format!("the waiver ended {end}: renew it or fix this"))
            }
            _ => Some(format!("the waiver ended {end}")),
        }
    }
}

/// The waivers among annotations, by rule.
fn of(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    annotations.iter().filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text.as_str())))
}
