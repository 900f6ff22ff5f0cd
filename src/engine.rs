//! Match, default, judge, ratchet, waive: from a request, policies, facts and the time to a verdict.
//!
//! Nothing in here does I/O, so `serve`, `check` and `scan` can't disagree. What a verdict rests on
//! comes back with it: [`Outcome::rests_on`] and [`Outcome::missing`] name what a caller with a
//! cluster should read live before it believes the verdict, [`Outcome::looked_at`] what else it should
//! read if it knows that the facts are old.

mod authorize;
mod doubt;
mod owner;
mod patch;
mod subject;
mod waive;
pub mod waivers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

pub use authorize::Permission;
pub use doubt::unconfirmed;
pub use owner::{maker, makes_others};

use crate::facts::{NamespaceFacts, Reference};
use crate::object::{Kind, Object};
use crate::policy::{Policy, PolicyRule};
use crate::rules::{Context, Singletons};
use crate::verdict::{Action, Finding, Judged, State, Subject, Verdict};
use patch::Draft;
use subject::Subjects;
use waive::Waivers;

/// What is done to the object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Operation {
    Connect,
    Create,
    Delete,
    Update,
}

impl Operation {
    /// The name as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Update => "UPDATE",
        }
    }
}

/// One request to judge.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is done.
    pub operation: Operation,
    /// The kind of the object; for a scale request the kind of the workload.
    pub kind: Kind,
    /// The object's namespace; for a Namespace its own name.
    pub namespace: &'a str,
    /// Who asks.
    pub user: &'a str,
    /// Their groups.
    pub groups: Vec<&'a str>,
    /// The field manager, where the client has one.
    pub manager: Option<&'a str>,
    /// Whether the object is a manifest, so that no API default has covered up what is unset.
    pub manifest: bool,
    /// The object as it would be stored.
    pub object: Object<'a>,
    /// The object before, in an UPDATE.
    pub old: Option<Object<'a>>,
}

impl<'a> Request<'a> {
    /// A request that nobody in particular makes, about a new object.
    pub fn create(kind: Kind, namespace: &'a str, object: Object<'a>) -> Self {
        Self {
            operation: Operation::Create,
            kind,
            namespace,
            user: "",
            groups: Vec::new(),
            manager: None,
            manifest: false,
            object,
            old: None,
        }
    }
}

impl Request<'_> {
    /// The same request with another spec of its object; `None` if that can't be read.
    fn with_spec<'t>(&'t self, spec: &'t str) -> Option<Request<'t>> {
        let object = self.object.with_spec(spec).ok()?;
        Some(Request { groups: self.groups.clone(), object, old: self.old.clone(), ..*self })
    }
}

/// A verdict and what it rests on.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Facts about other objects on which findings rest, absences included: those of a denial, and the
    /// owner that may answer for them.
    pub rests_on: BTreeSet<Reference>,
    /// Partners that the object names or selects and that the facts don't have.
    pub missing: BTreeSet<Reference>,
    /// Every fact about another object that had a say, whatever came of it.
    pub looked_at: BTreeSet<Reference>,
    /// The waivers that findings asked for, whether they still count or have ended: the object that
    /// carries each, or that a policy grants it to, and the rule.
    pub waivers: HashSet<(Subject, &'static str)>,
    /// Rules that the request's user has to be allowed to waive, and of which no answer says so yet.
    pub asks: BTreeSet<&'static str>,
}

/// Judges what is there already, or what nobody in particular brings: `check` and `scan` ask nobody
/// who may waive.
pub fn judge(request: &Request<'_>, policies: &[Policy], facts: &NamespaceFacts, now: Timestamp) -> Outcome {
    Pass::new(request, policies, facts, now).judge()
}

/// Judges an object as the next change of its spec will find it, whatever that changes: an update
/// from the stored object to itself that is more than an edit of metadata. What the ratchet lets be
/// comes back as existing, what an ended waiver or a policy without a ratchet refuses as new.
pub fn judge_next(
    request: &Request<'_>,
    policies: &[Policy],
    facts: &NamespaceFacts,
    now: Timestamp,
) -> Outcome {
    let mut pass = Pass::new(request, policies, facts, now);
    pass.subjects.is_metadata_only = false;
    pass.is_stored = true;
    pass.judge()
}

/// Judges a request of somebody: what the validating webhook answers. Answers say which rules that
/// user may waive; where one is wanted and missing, the waiver doesn't count and [`Outcome::asks`]
/// names its rule.
pub fn judge_authorized(
    request: &Request<'_>,
    policies: &[Policy],
    facts: &NamespaceFacts,
    answers: &BTreeMap<&'static str, Permission>,
    now: Timestamp,
) -> Outcome {
    let mut pass = Pass::new(request, policies, facts, now);
    pass.answers = Some(answers);
    pass.judge()
}

/// Fills in what is new and fixable: what the mutating webhook answers. Its findings are those that
/// it mends; the others are the validating webhook's to tell.
pub fn fill_in(
    request: &Request<'_>,
    policies: &[Policy],
    facts: &NamespaceFacts,
    now: Timestamp,
) -> Outcome {
    let mut draft = Draft::new(&request.object, request.old.as_ref());
    let mut outcome = fill_in_once(request, policies, facts, now, &mut draft);
    // What is filled in can bring another rule to bear: replicas that become 2 want to be spread.
    for _ in 1..ROUNDS {
        let Some(spec) = draft.spec() else { break };
        let Some(next) = request.with_spec(&spec) else { break };
        let more = fill_in_once(&next, policies, facts, now, &mut draft);
        if more.verdict.findings.is_empty() {
            break;
        }
        outcome.verdict.findings.extend(more.verdict.findings);
        outcome.missing.extend(more.missing);
        outcome.looked_at.extend(more.looked_at);
    }
    outcome.verdict.patch = draft.into_patch();
    outcome
}

/// How often fixes may bring on more of them.
const ROUNDS: usize = 3;

/// One round: what it finds comes back as fixed, and the draft has it.
fn fill_in_once(
    request: &Request<'_>,
    policies: &[Policy],
    facts: &NamespaceFacts,
    now: Timestamp,
    draft: &mut Draft<'_>,
) -> Outcome {
    let mut pass = Pass::new(request, policies, facts, now);
    // A template that differs from its controller's starts an endless series of new objects.
    if pass.policies.is_empty() || request.object.metadata.controller().is_some() {
        return pass.outcome;
    }
    pass.run();
    // What a waiver used to accept was left as it is for a reason, so its end is told, not patched over.
    let fixable = |judged: &Judged| {
        judged.state == State::New && judged.waiver.is_none() && !judged.finding.fix.is_empty()
    };
    let verdict = &mut pass.outcome.verdict;
    verdict.findings.retain(fixable);
    // Who waives is the validating webhook's to ask and to record.
    verdict.waivers.clear();
    let mut edits: Vec<_> =
        verdict.findings.iter().flat_map(|judged| judged.finding.fix.iter().cloned()).collect();
    if draft.apply(&mut edits) {
        verdict.findings.iter_mut().for_each(|judged| judged.state = State::Fixed);
        let fixes = verdict.findings.iter_mut().flat_map(|judged| judged.finding.fix.iter_mut());
        fixes.zip(edits).for_each(|(fix, done)| *fix = done);
    } else {
        verdict.findings.clear();
    }
    pass.outcome
}

/// One run over the rules of the policies that apply.
struct Pass<'p> {
    request: &'p Request<'p>,
    facts: &'p NamespaceFacts,
    policies: Vec<&'p Policy>,
    singletons: Singletons<'p>,
    subjects: Subjects,
    waivers: Waivers<'p>,
    /// Who may waive what; `None` where nobody is asked.
    answers: Option<&'p BTreeMap<&'static str, Permission>>,
    /// The namespace, if its labels decide which policies apply.
    namespace: Option<Reference>,
    /// Whether a policy applies to the object, whoever made it.
    is_governed: bool,
    /// Whether it is judged where it lies.
    is_stored: bool,
    outcome: Outcome,
}

impl<'p> Pass<'p> {
    fn new(
        request: &'p Request<'p>,
        policies: &'p [Policy],
        facts: &'p NamespaceFacts,
        now: Timestamp,
    ) -> Self {
        let mut outcome = Outcome::default();
        let subjects = Subjects::of(request, facts);
        // A namespace is in a policy by what it was before the request.
        let own = (request.kind == Kind::Namespace).then_some(&subjects.labels_before);
        let labels = own.or(facts.labels.as_ref());
        let by_labels = own.is_none() && policies.iter().any(|policy| policy.matching.needs_labels());
        let namespace = by_labels.then(|| Reference::Object(Kind::Namespace, request.namespace.to_owned()));
        outcome.looked_at.extend(namespace.clone());
        if labels.is_none() {
            outcome.missing.extend(namespace.clone());
        }
        // What joins a policy brings its waivers along: that one has to ask for them.
        let joins = |policy: &Policy| {
            own.is_some() && policy.matching.namespace(request.namespace, Some(&subjects.labels))
        };
        let applies = |policy: &Policy| policy.matching.namespace(request.namespace, labels) || joins(policy);
        if policies.iter().any(applies) {
            outcome.missing.extend(subjects.missing.iter().cloned());
            outcome.looked_at.extend(subjects.looked_at.iter().cloned());
        }
        let governs = |policy: &&Policy| applies(policy) && subjects.is_selected(&policy.matching);
        let mut policies: Vec<&Policy> = policies.iter().filter(governs).collect();
        let is_write = matches!(request.operation, Operation::Create | Operation::Update);
        let is_governed = is_write && !policies.is_empty();
        if !is_write || subjects.belongs_to_another {
            policies.clear();
        }
        let all = policies.len();
        policies.retain(|policy| !policy.exempt.covers(request.user, request.groups.iter().copied()));
        outcome.verdict.exempt = all > 0 && policies.is_empty();
        outcome.verdict.policies = policies.iter().map(|policy| policy.name.clone()).collect();
        let singletons = Singletons {
            declared: policies.iter().flat_map(|policy| &policy.singletons).collect(),
            by_annotation: policies.iter().any(|policy| policy.singletons_by_annotation),
        };
        let waivers = Waivers::new(&policies, &subjects.subject, request.operation == Operation::Create, now);
        let answers = None;
        Self {
            request,
            facts,
            policies,
            singletons,
            subjects,
            waivers,
            answers,
            namespace,
            is_governed,
            is_stored: false,
            outcome,
        }
    }

    fn judge(mut self) -> Outcome {
        if !self.policies.is_empty() {
            self.run();
            // It is never denied, whatever the facts are.
            if self.subjects.is_metadata_only {
                self.outcome.looked_at.clear();
            }
            // A Deployment's annotations are copied to its ReplicaSets, where nothing needs them.
            if self.request.object.metadata.controller().is_none() {
                let notices = self.waivers.notices(&self.outcome.verdict, &self.subjects);
                self.outcome.verdict.notices.extend(notices);
            }
        }
        if let (true, Some(at)) = (self.is_governed, &self.subjects.judged_at) {
            let notice = format!("{} is made by KEDA: it is judged at {at}", self.subjects.subject);
            self.outcome.verdict.notices.push(notice);
        }
        self.outcome
    }

    fn run(&mut self) {
        let request = self.request;
        let mut context = Context::new(
            &request.object,
            self.subjects.subject.clone(),
            self.subjects.new.clone(),
            &self.singletons,
            self.facts,
        );
        context.previous_replicas = self.subjects.previous_replicas;
        context.old = request.old.as_ref();
        context.manager = request.manager;
        context.manifest = request.manifest;
        context.is_stored = self.is_stored;
        let acts_on = context.acts_on();
        let before = request.old.as_ref().map(|old| {
            let subject = self.subjects.subject.clone();
            let mut before =
                Context::new(old, subject, self.subjects.old.clone(), &self.singletons, self.facts);
            before.is_past = true;
            before
        });
        let old_acts_on = before.as_ref().map(Context::acts_on).unwrap_or_default();
        self.waivers.read(&self.subjects, &acts_on, &old_acts_on);
        self.outcome.missing.extend(context.take_missing());
        let claims = authorize::claims(request, &self.subjects, &self.policies, &self.waivers);
        let refused = authorize::settle(claims, request, self.answers, &mut self.waivers, &mut self.outcome);
        // Whose labels decide which policies there are, and whose waivers count, every denial rests on.
        let mut rests_on = context.take_consulted();
        rests_on.extend(before.as_ref().map(Context::take_consulted).unwrap_or_default());
        self.outcome.looked_at.extend(rests_on.iter().cloned());
        rests_on.extend(self.namespace.clone());

        let owner = owner::find(request, self.facts)
            .and_then(|owner| Object::read(owner.kind, &owner.text).ok())
            .filter(|owner| owner.pod_spec().is_some());
        let owner = owner.as_ref().map(|owner| {
            Context::new(owner, self.subjects.subject.clone(), None, &self.singletons, self.facts)
        });

        let mut all = Merged::default();
        for policy in &self.policies {
            context.leaves_policy = request.kind == Kind::Namespace
                && !policy.matching.namespace(request.namespace, Some(&self.subjects.labels));
            for rule in &policy.rules {
                let mut found = Vec::new();
                rule.check.check(&context, &mut found);
                let mut consulted = context.take_consulted();
                self.outcome.looked_at.extend(consulted.iter().cloned());
                self.outcome.missing.extend(context.take_missing());
                if found.is_empty() {
                    continue;
                }
                if let Some(owner) = &owner {
                    let mut owners = Vec::new();
                    rule.check.check(owner, &mut owners);
                    found.retain(|finding| !owner::has(&owners, finding));
                }
                let mut existed = Vec::new();
                if let Some(before) = &before {
                    rule.check.check(before, &mut existed);
                    // That there was no such finding before can be wrong, too.
                    consulted.extend(before.take_consulted());
                }
                let existed: HashMap<&str, &Finding> =
                    existed.iter().map(|finding| (finding.place.as_str(), finding)).collect();
                let judged = found.into_iter().filter_map(|finding| {
                    let old = existed.get(finding.place.as_str()).copied();
                    self.decide(policy, rule, finding, old)
                });
                let judged: Vec<Judged> = judged.collect();
                for Judged { finding, .. } in &judged {
                    let holders = self.waivers.holders(finding);
                    self.outcome.waivers.extend(holders.map(|holder| (holder, finding.rule)));
                }
                if judged.iter().any(Judged::denies) {
                    self.outcome.rests_on.extend(rests_on.iter().cloned());
                    self.outcome.rests_on.extend(consulted);
                }
                judged.into_iter().for_each(|judged| all.add(judged));
            }
        }
        let order =
            |judged: &Judged| crate::rules::RULES.iter().position(|r| r.meta().name == judged.finding.rule);
        all.findings.sort_by_key(order);
        if owner.is_none() && !all.findings.is_empty() {
            self.outcome.rests_on.extend(owner::named(request));
        }
        self.outcome.verdict.findings = all.findings;
        for (claim, why) in refused {
            let finding = context.finding(claim.rule, String::new());
            let judged = claim.finding(finding, &why);
            let is_told = |judged: &Judged| {
                judged.denies() && judged.finding.rule == claim.rule && judged.remark.is_some()
            };
            let findings = &mut self.outcome.verdict.findings;
            findings.extend(judged.filter(|_| !findings.iter().any(is_told)));
        }
    }

    /// How a finding stands: the action, the ratchet, the waivers.
    fn decide(
        &self,
        policy: &Policy,
        rule: &PolicyRule,
        mut finding: Finding,
        old: Option<&Finding>,
    ) -> Option<Judged> {
        let action = policy.action.min(rule.action).min(finding.ceiling);
        if action == Action::Off {
            return None;
        }
        if !rule.fix || action == Action::Audit {
            finding.fix.clear();
        }
        let waivable = policy.waivers.allows(finding.rule) && !self.waivers.is_refused(finding.rule);
        let lost = self.waivers.lost(&finding);
        let (waiver, remark, state) = match self.waivers.on(&finding) {
            Some(on) => {
                let state = on.state(&finding, old, self.subjects.is_metadata_only);
                (Some(on.note()), on.remark(state, lost.is_some()), state)
            }
            None => {
                let state = self.ratchet(policy, &finding, old);
                let remark = self.waivers.invalid(&finding);
                (None, remark.or(lost), state)
            }
        };
        let policies = vec![policy.name.clone()];
        let on_parent = self.subjects.is_scale;
        Some(Judged { finding, action, state, policies, waiver, waivable, on_parent, remark })
    }

    /// What was so before, and is no worse, only warns; unless a waiver used to carry it, or the
    /// object is too young to have an excuse.
    fn ratchet(&self, policy: &Policy, finding: &Finding, old: Option<&Finding>) -> State {
        if self.subjects.is_metadata_only {
            return State::Existing;
        }
        let Some(old) = old.filter(|old| old.severity >= finding.severity) else { return State::New };
        // A step in the right direction is never refused, whoever asks for more.
        if old.severity > finding.severity {
            return State::Existing;
        }
        let created = self.request.object.metadata.created().or(self.subjects.created);
        let too_young = policy.since.is_some_and(|since| created.is_some_and(|created| created >= since));
        if !policy.ratchet || too_young || self.waivers.carried(old) { State::New } else { State::Existing }
    }
}

/// Findings of all policies.
#[derive(Default)]
struct Merged {
    findings: Vec<Judged>,
    index: HashMap<(&'static str, String, String, String), usize>,
}

impl Merged {
    /// Adds a finding; one that another policy has too is shown once, with the strongest action.
    fn add(&mut self, judged: Judged) {
        let finding = &judged.finding;
        let key = (finding.rule, finding.place.clone(), finding.path.clone(), finding.required.clone());
        let known = self.index.get(&key).and_then(|&index| self.findings.get_mut(index));
        let Some(known) = known else {
            self.index.insert(key, self.findings.len());
            return self.findings.push(judged);
        };
        let stronger = (judged.denies(), judged.action) > (known.denies(), known.action);
        let other = if stronger { std::mem::replace(known, judged) } else { judged };
        // Two containers of one name are one place, so a policy may have a finding more than once.
        for policy in other.policies {
            if !known.policies.contains(&policy) {
                known.policies.push(policy);
            }
        }
        known.waivable &= other.waivable;
        if known.finding.fix.is_empty() {
            known.finding.fix = other.finding.fix;
        }
    }
}
