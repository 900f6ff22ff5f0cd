//! Every waiver there is and how it stands: what `plimsoll waivers`, the gauges and the Events go by.
//!
//! Judged by the very parser and clock that judge a request's own waivers, so that no list can call
//! active what the webhook refuses.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::waive;
use crate::object::{Kind, Labels};
use crate::policy::Policy;
use crate::rules::{self, SINGLETON_ANNOTATION, declares_singleton};
use crate::verdict::{Subject, WaiverNote};
use crate::waiver::{Assessed, Standing, assess, assess_grant};

/// An object that may carry waivers.
#[derive(Clone, Debug)]
pub struct Holder<'a> {
    /// Its kind, namespace (none for a Namespace) and name.
    pub subject: Subject,
    /// Its labels, which policies select by.
    pub labels: &'a Labels,
    /// Its annotations; those that are no waivers are passed over.
    pub annotations: &'a Labels,
}

/// What the waivers are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Register<'a> {
    /// The policies in force.
    pub policies: &'a [Policy],
    /// Labels by namespace; a namespace that isn't there is one whose labels nobody knows.
    pub namespaces: &'a BTreeMap<String, Labels>,
    /// What findings asked for: the union of [`Outcome::waivers`](super::Outcome::waivers) over every
    /// object. `None` if not every object was judged, so that nobody can tell what is needed.
    pub needed: Option<&'a HashSet<(Subject, &'static str)>>,
    /// The time.
    pub now: Timestamp,
}

/// How a waiver stands, for people and machines.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum WaiverState {
    /// It counts.
    Active,
    /// It counts, and ends soon.
    Expiring,
    /// It has ended.
    Expired,
    /// It doesn't count.
    Invalid,
    /// No finding needs it.
    Unneeded,
}

/// Where a waiver stands written.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub enum Source {
    /// In an annotation of the object.
    Annotation,
    /// In the policy of this name.
    Grant(String),
    /// It is a declaration by annotation that the workload must run once.
    Singleton,
}

/// One waiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The object.
    pub subject: Subject,
    /// The rule as written, which may be one that there is none of.
    pub rule: String,
    /// Where it stands written.
    pub source: Source,
    /// How it stands.
    pub state: WaiverState,
    /// Owner, reason, end and ticket as written; empty where it can't be read.
    pub note: WaiverNote,
    /// The containers that it is about; all of them if there are none.
    pub containers: Vec<String>,
    /// Its end, where it has a readable one.
    pub ends: Option<Timestamp>,
    /// Why it doesn't count, or why nothing needs it.
    pub remark: Option<String>,
}

impl WaiverState {
    /// Every state, in the order in which a waiver's life goes.
    pub const ALL: [Self; 5] = [Self::Active, Self::Expiring, Self::Expired, Self::Invalid, Self::Unneeded];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Expiring => "Expiring",
            Self::Expired => "Expired",
            Self::Invalid => "Invalid",
            Self::Unneeded => "Unneeded",
        }
    }
}

impl fmt::Display for WaiverState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Listed {
    /// The namespace that it is about: the object's own, which for a Namespace is itself.
    pub fn home(&self) -> &str {
        home(&self.subject)
    }

    /// Whole days until its end, negative after it; `None` where it has none.
    pub fn days_left(&self, now: Timestamp) -> Option<i64> {
        Some(self.ends?.duration_since(now).as_secs().div_euclid(86_400))
    }
}

impl<'r> Register<'r> {
    /// The waivers of the objects and the grants of the policies, by their end; those without one
    /// come last.
    pub fn list<'o>(&self, holders: impl IntoIterator<Item = Holder<'o>>) -> Vec<Listed> {
        let mut all: Vec<Listed> = self.grants().collect();
        for holder in holders {
            self.carried(&holder, &mut all);
        }
        let key = |listed: &Listed| {
            let subject = &listed.subject;
            let name = (subject.namespace.clone(), subject.kind, subject.name.clone());
            (listed.ends.is_none(), listed.ends, name, listed.rule.clone())
        };
        all.sort_by_cached_key(key);
        all
    }

    fn carried(&self, holder: &Holder<'_>, all: &mut Vec<Listed>) {
        let policies = self.policies_of(holder);
        for (rule, text) in waive::of(holder.annotations) {
            let mut assessed = assess(text, rule, &waive::limits(&policies, rule), self.now);
            if rules::rule(rule).is_none() {
                assessed.standing = Standing::Invalid(waive::no_such_rule(rule));
            }
            let source = Source::Annotation;
            all.push(self.listed(holder.subject.clone(), rule, source, &assessed, &policies));
        }
        let Some(reason) = holder.annotations.get(SINGLETON_ANNOTATION) else { return };
        if !declares_singleton(reason) {
            return;
        }
        let counts = policies.iter().any(|policy| policy.singletons_by_annotation);
        let is_unknown = !counts && self.may_be_more(&holder.subject);
        all.push(Listed {
            subject: holder.subject.clone(),
            rule: "singleton".to_owned(),
            source: Source::Singleton,
            state: if counts || is_unknown { WaiverState::Active } else { WaiverState::Invalid },
            note: WaiverNote { reason: reason.trim().to_owned(), ..WaiverNote::default() },
            containers: Vec::new(),
            ends: None,
            remark: (!counts && !is_unknown)
                .then(|| "no policy that applies lets annotations declare singletons".to_owned()),
        });
    }

    fn grants(&self) -> impl Iterator<Item = Listed> {
        let all = self.policies.iter().flat_map(|policy| policy.grants.iter().map(move |g| (policy, g)));
        all.map(|(policy, grant)| {
            let namespace = if grant.kind == Kind::Namespace { "" } else { &grant.namespace };
            let subject =
                Subject { kind: grant.kind, namespace: namespace.to_owned(), name: grant.name.clone() };
            let policies = self.policies_in(&subject);
            let others = waive::others(&policies, policy, &grant.rule);
            let assessed = assess_grant(grant, &policy.waivers, &others, self.now);
            self.listed(subject, &grant.rule, Source::Grant(policy.name.clone()), &assessed, &policies)
        })
    }

    fn listed(
        &self,
        subject: Subject,
        rule: &str,
        source: Source,
        assessed: &Assessed,
        policies: &[&Policy],
    ) -> Listed {
        let unneeded = self.unneeded(&subject, rule, policies);
        let (state, remark) = match (&assessed.standing, unneeded) {
            (Standing::Invalid(why), _) => (WaiverState::Invalid, Some(why.clone())),
            (_, Some(why)) => (WaiverState::Unneeded, Some(why.to_owned())),
            (Standing::Active, _) => (WaiverState::Active, None),
            (Standing::Expiring, _) => (WaiverState::Expiring, None),
            (Standing::Grace | Standing::Expired, _) => (WaiverState::Expired, None),
        };
        let containers = assessed.waiver.containers.clone();
        let (note, ends) = (assessed.note(), assessed.ends);
        Listed { subject, rule: rule.to_owned(), source, state, note, containers, ends, remark }
    }

    /// Why nothing needs a waiver, if that can be told. One on a Namespace is needed while somebody
    /// changes its labels, which no look at it shows.
    fn unneeded(&self, subject: &Subject, rule: &str, policies: &[&Policy]) -> Option<&'static str> {
        let has_rule = policies.iter().any(|policy| policy.rules.iter().any(|r| r.meta.name == rule));
        if !has_rule && !self.may_be_more(subject) {
            return Some("no policy that applies has the rule");
        }
        let (needed, rule) = (self.needed?, rules::rule(rule)?.meta().name);
        let is_needed = subject.kind == Kind::Namespace || needed.contains(&(subject.clone(), rule));
        (!is_needed).then_some("the object keeps the rule")
    }

    fn policies_of(&self, holder: &Holder<'_>) -> Vec<&'r Policy> {
        let mut policies = self.policies_in(&holder.subject);
        if holder.subject.kind != Kind::Namespace {
            policies.retain(|policy| policy.matching.object(holder.labels));
        }
        policies
    }

    fn policies_in(&self, subject: &Subject) -> Vec<&'r Policy> {
        let home = home(subject);
        let labels = self.namespaces.get(home);
        self.policies.iter().filter(|policy| policy.matching.namespace(home, labels)).collect()
    }

    /// Whether a policy might apply beside those that do, if the namespace's labels were known.
    fn may_be_more(&self, subject: &Subject) -> bool {
        !self.namespaces.contains_key(home(subject))
            && self.policies.iter().any(|p| p.matching.needs_labels())
    }
}

/// The namespace by which policies apply to an object.
fn home(subject: &Subject) -> &str {
    if subject.kind == Kind::Namespace { &subject.name } else { &subject.namespace }
}

#[cfg(test)]
mod tests;
