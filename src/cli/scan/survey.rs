//! Judging one object after the other, and what is kept of each.

use jiff::Timestamp;

use super::FailOn;
use crate::cluster::identify;
use crate::engine::{self, Operation, Request};
use crate::facts::{Facts, NamespaceFacts};
use crate::object::{Kind, Object, ReadError};
use crate::policy::Policy;
use crate::render;
use crate::render::report::{Notice, Problem, Report, Resource};
use crate::rules;
use crate::verdict::{Action, Judged, State};

/// The objects so far, under one set of policies.
pub(super) struct Survey<'s> {
    policies: &'s [Policy],
    facts: &'s Facts,
    fail_on: FailOn,
    now: Timestamp,
    report: Report,
}

impl<'s> Survey<'s> {
    pub(super) fn new(policies: &'s [Policy], facts: &'s Facts, fail_on: FailOn, now: Timestamp) -> Self {
        Self { policies, facts, fail_on, now, report: Report::new(policies.len()) }
    }

    /// Judges one object; nothing but its findings is kept.
    pub(super) fn judge(&mut self, kind: Kind, text: &str) {
        self.report.summary.objects += 1;
        if let Err(error) = self.try_judge(kind, text) {
            let message = format!("{kind} {} can't be read: {error}", identify(text));
            self.report.errors.push(Problem { message, location: None });
        }
    }

    /// What was found, by namespace and object, then in the order of the rules.
    pub(super) fn finish(self) -> Report {
        let mut report = self.report;
        let of_rule = |name: &str| rules::RULES.iter().position(|rule| rule.meta().name == name);
        report.findings.sort_by_cached_key(|entry| {
            let Resource { kind, namespace, name } = entry.resource.clone();
            (namespace, kind, name, of_rule(&entry.rule), entry.path.clone())
        });
        report.notices.sort_by_cached_key(|notice| {
            let Resource { kind, namespace, name } = notice.resource.clone();
            (namespace, kind, name)
        });
        report
    }

    fn try_judge(&mut self, kind: Kind, text: &str) -> Result<(), ReadError> {
        let object = Object::read(kind, text)?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default().to_owned();
        let facts: &NamespaceFacts = &self.facts.namespace(&namespace);
        let new = Request::create(kind, &namespace, object);
        let verdict = engine::judge(&new, self.policies, facts, self.now).verdict;
        if verdict.policies.is_empty() {
            self.report.summary.ungoverned += 1;
            return Ok(());
        }
        let uid = new.object.metadata.uid.as_deref();
        let name = new.object.display_name();
        let resource = Resource { kind: kind.to_string(), namespace: namespace.clone(), name };
        for message in &verdict.notices {
            let message = format!("{kind} {namespace}/{}: {message}", resource.name);
            let fails = self.fail_on == FailOn::Warn;
            let (message, resource) = (render::sanitise(&message), resource.clone());
            self.report.notice(Notice { message, fails, resource, location: None });
        }
        let next = Request {
            operation: Operation::Update,
            old: Some(Object::read(kind, text)?),
            ..Request::create(kind, &namespace, Object::read(kind, text)?)
        };
        let next = engine::judge_next(&next, self.policies, facts, self.now).verdict;
        let is_fixable = verdict.findings.iter().any(|judged| !judged.finding.fix.is_empty());
        let filled = if is_fixable {
            engine::fill_in(&new, self.policies, facts, self.now).verdict.findings
        } else {
            Vec::new()
        };
        let is_same =
            |a: &Judged, b: &Judged| a.finding.rule == b.finding.rule && a.finding.place == b.finding.place;
        for judged in &verdict.findings {
            let next = next.findings.iter().find(|other| is_same(other, judged));
            let fills_in = filled.iter().any(|other| is_same(other, judged));
            self.add(&stands(judged, next), fills_in, uid);
        }
        // What is told of a stored object only.
        let stored = next.findings.iter().filter(|n| !verdict.findings.iter().any(|j| is_same(j, n)));
        stored.for_each(|judged| self.add(judged, false, uid));
        Ok(())
    }

    fn add(&mut self, judged: &Judged, fills_in: bool, uid: Option<&str>) {
        self.report.add(judged, fails(judged, self.fail_on), None);
        if let Some(entry) = self.report.findings.last_mut() {
            entry.fills_in = fills_in;
            entry.uid = uid.map(str::to_owned);
        }
    }
}

/// How a finding of a new object like this one stands in this one: its next change is refused, or
/// the ratchet lets it be.
fn stands(new: &Judged, next: Option<&Judged>) -> Judged {
    match next {
        Some(next) if new.denies() && next.denies() => next.clone(),
        Some(_) if new.denies() => Judged { state: State::Existing, ..new.clone() },
        _ => new.clone(),
    }
}

/// A finding that a Deny policy has fails even where the ratchet lets it be: the cluster is not what
/// the policy promises.
fn fails(judged: &Judged, fail_on: FailOn) -> bool {
    let stands = matches!(judged.state, State::New | State::Existing);
    match fail_on {
        FailOn::Never => false,
        FailOn::Deny => stands && judged.action == Action::Deny,
        FailOn::Warn => stands && judged.action >= Action::Warn,
    }
}
