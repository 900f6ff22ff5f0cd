//! Which waiver, if any, has a say about a finding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Subjects;
use crate::facts::Workload;
use crate::manifest::nearest::nearest;
use crate::object::Labels;
use crate::policy::Policy;
use crate::rules::{self, RULES};
use crate::verdict::{Finding, State, Subject, Verdict, WaiverNote};
use crate::waiver::{Assessed, Limits, PREFIX, Standing, assess, assess_grant};

/// The waivers of one request: of the object, of what it acts on, and of the policies.
pub(super) struct Waivers<'p> {
    policies: Vec<&'p Policy>,
    is_create: bool,
    now: Timestamp,
    subject: Subject,
    own: BTreeMap<String, Assessed>,
    /// Of workloads that the object acts on, and of policies, by the object that carries or is given them.
    others: Vec<(Subject, String, Assessed)>,
    before: Vec<(String, Assessed)>,
    unknown: Vec<String>,
    refused: BTreeSet<String>,
}

/// A waiver that covers a finding, valid or ended.
pub(super) struct On<'w> {
    assessed: &'w Assessed,
    is_create: bool,
}

impl<'p> Waivers<'p> {
    pub(super) fn new(policies: &[&'p Policy], subject: &Subject, is_create: bool, now: Timestamp) -> Self {
        Self {
            policies: policies.to_vec(),
            is_create,
            now,
            subject: subject.clone(),
            own: BTreeMap::new(),
            others: Vec::new(),
            before: Vec::new(),
            unknown: Vec::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Reads the waivers of the object and of the workloads that it acts on, now and before.
    pub(super) fn read(&mut self, subjects: &Subjects, acts_on: &[Arc<Workload>], before: &[Arc<Workload>]) {
        for (rule, text) in of(&subjects.annotations) {
            if rules::rule(rule).is_some() {
                self.own.insert(rule.to_owned(), self.assess(rule, text));
            } else {
                self.unknown.push(format!("{PREFIX}{rule} waives nothing: {}", no_such_rule(rule)));
            }
        }
        let is_subject = |workload: &Workload| {
            (workload.kind, &workload.name) == (subjects.subject.kind, &subjects.subject.name)
        };
        for workload in acts_on.iter().filter(|workload| !is_subject(workload)) {
            let namespace = subjects.subject.namespace.clone();
            let partner = Subject { kind: workload.kind, namespace, name: workload.name.clone() };
            for (rule, text) in of(&workload.annotations) {
                self.others.push((partner.clone(), rule.to_owned(), self.assess(rule, text)));
            }
        }
        let before = before.iter().flat_map(|workload| of(&workload.annotations));
        let before = of(&subjects.old_annotations).chain(before);
        self.before = before.map(|(rule, text)| (rule.to_owned(), self.assess(rule, text))).collect();
        let all =
            self.policies.iter().flat_map(|&policy| policy.grants.iter().map(move |grant| (policy, grant)));
        let mut grants = Vec::new();
        for (policy, grant) in all {
            let at = |kind, name: &str| {
                grant.kind == kind && grant.namespace == subjects.subject.namespace && grant.name == name
            };
            if at(subjects.subject.kind, &subjects.subject.name)
                || acts_on.iter().any(|w| at(w.kind, &w.name))
            {
                let namespace = grant.namespace.clone();
                let subject = Subject { kind: grant.kind, namespace, name: grant.name.clone() };
                let others = others(&self.policies, policy, &grant.rule);
                grants.push((
                    subject,
                    grant.rule.clone(),
                    assess_grant(grant, &policy.waivers, &others, self.now),
                ));
            }
        }
        self.others.extend(grants);
    }

    /// The waiver that covers a finding: a valid one if there is any, else one that has ended.
    pub(super) fn on(&self, finding: &Finding) -> Option<On<'_>> {
        let rank = |assessed: &&Assessed| match assessed.standing {
            Standing::Active => 0,
            Standing::Expiring => 1,
            Standing::Grace => 2,
            Standing::Expired | Standing::Invalid(_) => 3,
        };
        let covering = self.covering(finding).map(|(_, assessed)| assessed);
        covering.min_by_key(rank).map(|assessed| On { assessed, is_create: self.is_create })
    }

    /// The objects whose waivers cover a finding, or used to.
    pub(super) fn holders(&self, finding: &Finding) -> impl Iterator<Item = Subject> {
        self.covering(finding).map(|(holder, _)| holder.clone())
    }

    fn covering(&self, finding: &Finding) -> impl Iterator<Item = (&Subject, &Assessed)> {
        let own = self.own.get(finding.rule).map(|assessed| (&self.subject, assessed));
        let others = self.others.iter().filter(|(_, rule, _)| rule == finding.rule);
        own.into_iter().chain(others.map(|(holder, _, assessed)| (holder, assessed))).filter(
            |(_, assessed)| {
                !matches!(assessed.standing, Standing::Invalid(_))
                    && assessed.covers(finding.container.as_deref())
            },
        )
    }

    /// Why the object's own waiver of the rule doesn't count, if it has one that doesn't.
    pub(super) fn invalid(&self, finding: &Finding) -> Option<String> {
        match &self.own.get(finding.rule)?.standing {
            Standing::Invalid(why) => Some(format!("its waiver doesn't count: {why}")),
            _ => None,
        }
    }

    /// That the request takes away the waiver of a finding: a rollback restores old annotations, and
    /// nobody who rolls back thinks of them.
    pub(super) fn lost(&self, finding: &Finding) -> Option<String> {
        let counted = self.before.iter().find(|(rule, before)| {
            rule == finding.rule
                && matches!(before.standing, Standing::Active | Standing::Expiring)
                && before.covers(finding.container.as_deref())
        });
        let owner = counted?.1.note().owner;
        Some(format!("this change takes its waiver away, which {owner} answered for"))
    }

    /// That the object's own waiver of the rule doesn't count after all.
    pub(super) fn discard(&mut self, rule: &str, why: String) {
        if let Some(own) = self.own.get_mut(rule) {
            own.standing = Standing::Invalid(why);
            self.refused.insert(rule.to_owned());
        }
    }

    /// Whether the object's own waiver of the rule was discarded, so that another one by the same hand
    /// is no way out.
    pub(super) fn is_refused(&self, rule: &str) -> bool {
        self.refused.contains(rule)
    }

    /// Whether the object's own waiver of the rule is a right one for an emergency.
    pub(super) fn is_emergency(&self, rule: &str) -> bool {
        let is_right = |own: &Assessed| !matches!(own.standing, Standing::Invalid(_));
        self.own.get(rule).is_some_and(|own| own.waiver.emergency && is_right(own))
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
        assess(text, rule, &limits(&self.policies, rule), self.now)
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

    /// What to tell beside the finding. A rollback restores old annotations, ended waivers among them.
    pub(super) fn remark(&self, state: State, was_valid: bool) -> Option<String> {
        let end = self.assessed.end_in_words();
        match self.assessed.standing {
            Standing::Grace | Standing::Expired if was_valid => {
                Some(format!("this change brings back a waiver that ended {end}"))
            }
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
pub(super) fn of(annotations: &Labels) -> impl Iterator<Item = (&str, &str)> {
    annotations.iter().filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text)))
}

/// What a waiver's annotation says of itself; a declared singleton gives no more than its reason.
pub(super) fn note(key: &str, text: &str) -> WaiverNote {
    match key.strip_prefix(PREFIX) {
        Some(rule) => assess(text, rule, &[], Timestamp::UNIX_EPOCH).note(),
        None => WaiverNote { reason: text.trim().to_owned(), ..WaiverNote::default() },
    }
}

/// That a waiver's rule is none, with the nearest one that is.
pub(super) fn no_such_rule(rule: &str) -> String {
    let hint = nearest(rule, RULES.iter().map(|rule| rule.meta().name));
    let hint = hint.map_or_else(String::new, |near| format!("; did you mean {PREFIX}{near}?"));
    format!("there is no such rule{hint}")
}

/// The limits of every policy that has the rule: a waiver must satisfy them all.
pub(super) fn limits<'p>(policies: &[&'p Policy], rule: &str) -> Vec<&'p Limits> {
    let has = |policy: &&&Policy| policy.rules.iter().any(|r| r.meta.name == rule);
    policies.iter().filter(has).map(|policy| &policy.waivers).collect()
}

/// The limits of the policies beside the one that grants.
pub(super) fn others<'p>(policies: &[&'p Policy], granting: &Policy, rule: &str) -> Vec<&'p Limits> {
    let others: Vec<&Policy> =
        policies.iter().copied().filter(|policy| !std::ptr::eq(*policy, granting)).collect();
    limits(&others, rule)
}
