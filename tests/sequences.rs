//! No sequence of allowed updates reaches a state that a CREATE would have been refused for, unless
//! it was there from the start; and what is not older than the policy's `since` doesn't stay as it is
//! once somebody changes it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

use std::collections::BTreeMap;

use generate::{Step, steps};
use jiff::Timestamp;
use plimsoll::engine::{self, Operation, Request};
use plimsoll::facts::{Fact, NamespaceFacts};
use plimsoll::object::{Kind, Labels, Object};
use plimsoll::policy::{Policy, load};
use plimsoll::verdict::{Judged, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

#[path = "generate/steps.rs"]
mod generate;

/// Objects are from before or after this.
const SINCE: &str = "2026-01-01";
const BEFORE: &str = "2025-06-01T00:00:00Z";
const AFTER: &str = "2026-06-01T00:00:00Z";

/// What is wrong with an object: its kind and name, the rule and the place.
type What = (Kind, String, &'static str, String);
/// And how bad it is.
type Findings = BTreeMap<What, i64>;

/// One Deployment, what scales it and what budgets it. Its claim takes one writer.
#[derive(Clone, Debug, Default)]
struct World {
    workload: Option<Value>,
    autoscaler: Option<Value>,
    scaled_object: Option<Value>,
    budgets: [Option<Value>; 2],
}

impl World {
    fn stored(&mut self, step: &Step) -> &mut Option<Value> {
        match step {
            Step::Workload { .. } | Step::Scale(_) => &mut self.workload,
            Step::Autoscaler(..) => &mut self.autoscaler,
            Step::ScaledObject { .. } => &mut self.scaled_object,
            Step::Budget { which, .. } => {
                let [first, second] = &mut self.budgets;
                if *which { first } else { second }
            }
        }
    }

    fn objects(&self) -> impl Iterator<Item = (Kind, &Value)> {
        let of = |kind, object| Option::as_ref(object).map(|object| (kind, object));
        let [first, second] = &self.budgets;
        [
            of(Kind::Deployment, &self.workload),
            of(Kind::HorizontalPodAutoscaler, &self.autoscaler),
            of(Kind::ScaledObject, &self.scaled_object),
            of(Kind::PodDisruptionBudget, first),
            of(Kind::PodDisruptionBudget, second),
        ]
        .into_iter()
        .flatten()
    }

    fn facts(&self) -> NamespaceFacts {
        let mut facts = NamespaceFacts::default();
        facts.labels = Some(Labels::default());
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        for (kind, object) in self.objects().chain([(Kind::PersistentVolumeClaim, &claim)]) {
            let text = object.to_string();
            facts.insert(Fact::project(&Object::read(kind, &text).unwrap()).unwrap());
        }
        facts
    }

    /// Takes a step if the engine lets it, and says whether it does.
    fn take(&mut self, step: &Step, policies: &[Policy]) -> bool {
        let facts = self.facts();
        let old = self.stored(step).clone();
        let new = dated(step, old.as_ref().map_or(AFTER, created));
        if let Step::Scale(replicas) = step {
            let Some(mut workload) = old else { return false };
            let before =
                json!({"metadata": {"name": "web"}, "spec": {"replicas": workload["spec"]["replicas"]}});
            if !judge(step.kind(), true, &new, Some(&before), &facts, policies).allowed() {
                return false;
            }
            workload["spec"]["replicas"] = (*replicas).into();
            self.workload = Some(workload);
            return true;
        }
        let allowed = judge(step.kind(), false, &new, old.as_ref(), &facts, policies).allowed();
        if allowed {
            *self.stored(step) = Some(new);
        }
        allowed
    }

    /// Puts in what a step makes, as if nobody had been asked.
    fn put(&mut self, step: &Step, created: &str) {
        match (step, &mut self.workload) {
            (Step::Scale(replicas), Some(workload)) => workload["spec"]["replicas"] = (*replicas).into(),
            (Step::Scale(_), None) => {}
            _ => *self.stored(step) = Some(dated(step, created)),
        }
    }

    /// How bad each thing is that is wrong with an object: by kind, name, rule and place.
    fn findings(&self, policies: &[Policy]) -> Findings {
        self.all_findings(policies).map(|(what, judged)| (what, judged.finding.severity)).collect()
    }

    /// The same, of those for which an object would be refused if it came now.
    fn denials(&self, policies: &[Policy]) -> Findings {
        // Somebody has scaled it since KEDA was paused; KEDA would scale it back if it came now.
        let is_set = self.paused().is_none_or(|count| self.replicas() == Some(count));
        let all = self.all_findings(policies).filter(|(what, judged)| {
            judged.denies() && !comes_of_growth(judged) && (is_set || what.0 != Kind::ScaledObject)
        });
        all.map(|(what, judged)| (what, judged.finding.severity)).collect()
    }

    fn all_findings(&self, policies: &[Policy]) -> impl Iterator<Item = (What, Judged)> {
        let facts = self.facts();
        self.objects().flat_map(move |(kind, object)| {
            let name = object["metadata"]["name"].as_str().unwrap();
            let verdict = judge(kind, false, object, None, &facts, policies);
            let what = move |of: &Judged| (kind, name.to_owned(), of.finding.rule, of.finding.place.clone());
            verdict.findings.into_iter().map(move |judged| (what(&judged), judged))
        })
    }

    fn replicas(&self) -> Option<i64> {
        self.workload.as_ref()?["spec"]["replicas"].as_i64()
    }

    /// The count at which KEDA was told to pause.
    fn paused(&self) -> Option<i64> {
        let annotation =
            &self.scaled_object.as_ref()?["metadata"]["annotations"]["autoscaling.keda.sh/paused-replicas"];
        annotation.as_str().map(|count| count.parse().unwrap())
    }

    /// KEDA sets the count at which it was told to pause.
    fn pause(&mut self) {
        if let (Some(count), Some(workload)) = (self.paused(), &mut self.workload) {
            workload["spec"]["replicas"] = count.into();
        }
    }

    /// What the autoscaler may set the workload to, now or later.
    fn own_writes(&self, is_told: bool) -> Vec<i64> {
        let range = |object: &Value, minimum: &str, maximum: &str| {
            let spec = &object["spec"];
            let of = |field: &str| spec[field].as_i64();
            (of(minimum).unwrap()..=of(maximum).unwrap()).chain(of("idleReplicaCount")).collect()
        };
        match (&self.autoscaler, &self.scaled_object, self.replicas()) {
            (_, _, None) => Vec::new(),
            // It sets the count once, when it is told to.
            (_, Some(_), _) if self.paused().is_some() => {
                self.paused().filter(|_| is_told).into_iter().collect()
            }
            (_, Some(object), _) => range(object, "minReplicaCount", "maxReplicaCount"),
            // At 0 an HPA lets it be.
            (Some(object), None, Some(1..)) => range(object, "minReplicas", "maxReplicas"),
            _ => Vec::new(),
        }
    }

    /// Whether an autoscaler may write a count.
    fn may_write(&self, count: i64, policies: &[Policy]) -> bool {
        let scale = |count: Option<i64>| json!({"metadata": {"name": "web"}, "spec": {"replicas": count}});
        let (new, old) = (scale(Some(count)), scale(self.replicas()));
        judge(Kind::Deployment, true, &new, Some(&old), &self.facts(), policies).allowed()
    }
}

/// The object of a step, created at a time.
fn dated(step: &Step, created: &str) -> Value {
    let mut object = step.object();
    object["metadata"]["creationTimestamp"] = created.into();
    object
}

fn created(object: &Value) -> &str {
    object["metadata"]["creationTimestamp"].as_str().unwrap()
}

fn judge(
    kind: Kind,
    is_scale: bool,
    object: &Value,
    old: Option<&Value>,
    facts: &NamespaceFacts,
    policies: &[Policy],
) -> Verdict {
    let read = |text| if is_scale { Object::read_scale(kind, text) } else { Object::read(kind, text) };
    let (text, before) = (object.to_string(), old.map(Value::to_string));
    let request = Request {
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        kind,
        namespace: "shop",
        user: "alice",
        groups: Vec::new(),
        manager: Some("test"),
        manifest: false,
        object: read(&text).unwrap(),
        old: before.as_deref().map(|before| read(before).unwrap()),
    };
    engine::judge(&request, policies, facts, Timestamp::UNIX_EPOCH).verdict
}

fn policies(since: Option<&str>) -> Vec<Policy> {
    let mut document = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "production"}, "spec": {"singletons": {"byAnnotation": true}, "rules": {
            "min-replicas": {}, "singleton": {}, "autoscaler-range": {}, "disruption-budget": {},
            "single-writer-volume": {}}}});
    if let Some(since) = since {
        document["spec"]["since"] = since.into();
    }
    load::from_texts(&[("policy".to_owned(), document.to_string())]).unwrap()
}

/// Whoever adds a second pod to a budget that was right for one is warned, not refused: scaling toward
/// compliance always passes. The budget itself would be refused in that state.
fn comes_of_growth(judged: &Judged) -> bool {
    judged.finding.place.ends_with("keeps nothing")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_allowed_step_by_step_is_allowed_at_once(sequence in proptest::collection::vec(steps(false), 1..12)) {
        let policies = policies(None);
        let mut world = World::default();
        for step in &sequence {
            let is_told = world.take(step, &policies) && step.kind() == Kind::ScaledObject;
            for count in world.own_writes(is_told) {
                prop_assert!(world.may_write(count, &policies), "after {step:?}: its autoscaler writes {count}\n{world:#?}");
            }
            if is_told {
                world.pause();
            }
            let denials = world.denials(&policies);
            prop_assert!(denials.is_empty(), "after {step:?}: {denials:?}\n{world:#?}");
        }
    }

    #[test]
    fn what_was_bad_from_the_start_gets_no_worse(
        start in proptest::collection::vec((steps(false), any::<bool>()), 0..6),
        sequence in proptest::collection::vec(steps(false), 1..12),
    ) {
        let policies = policies(Some(SINCE));
        let mut world = World::default();
        for (step, is_old) in &start {
            world.put(step, if *is_old { BEFORE } else { AFTER });
        }
        for step in &sequence {
            let (before, was) = (world.findings(&policies), world.stored(step).clone());
            let is_allowed = world.take(step, &policies);
            // What KEDA writes is judged as well.
            let may_pause = world.paused().is_some_and(|count| world.may_write(count, &policies));
            if is_allowed && step.kind() == Kind::ScaledObject && may_pause {
                world.pause();
            }
            let after = world.denials(&policies);
            for ((kind, name, rule, place), severity) in &after {
                // Whoever is told of it now: two budgets over one pod are told to whoever makes pods.
                let was = before.iter().filter(|((.., of, at), _)| (of, at) == (rule, place)).map(|(_, was)| was).max();
                prop_assert!(was >= Some(severity), "{rule} {kind} {name}: {place}: {severity}, before {step:?} {was:?}\n{world:#?}");
            }
            // A scale changes nothing but the count, so it can't put anything else right.
            let is_edit = is_allowed && !matches!(step, Step::Scale(_)) && *world.stored(step) != was;
            if let (true, Some(object)) = (is_edit, world.stored(step)) && created(object) == AFTER {
                let name = object["metadata"]["name"].as_str().unwrap();
                // A step in the right direction is never refused, however short.
                let left = after.iter().find(|(what, severity)| {
                    (what.0, what.1.as_str()) == (step.kind(), name) && before.get(*what) == Some(*severity)
                });
                prop_assert!(left.is_none(), "{left:?} is left by {step:?}\n{world:#?}");
            }
        }
    }
}

/// Takes steps of which the last is refused, after what was there before the policy.
fn ends_in_a_denial(start: &[Step], sequence: &[Step]) {
    let policies = policies(None);
    let mut world = World::default();
    start.iter().for_each(|step| world.put(step, BEFORE));
    let (last, first) = sequence.split_last().unwrap();
    for step in first {
        assert!(world.take(step, &policies), "{step:?}");
    }
    assert!(!world.take(last, &policies), "{last:?}\n{world:#?}");
}

fn workload(replicas: i64, singleton: bool) -> Step {
    Step::Workload { replicas, recreate: true, surge: 0, singleton, claim: false, waived: false }
}

fn scaled_object(paused: Option<i64>) -> Step {
    Step::ScaledObject { minimum: 2, more: 0, idle: None, paused }
}

#[test]
fn a_pause_that_somebody_has_scaled_over_is_no_excuse() {
    let budget = Step::Budget { which: false, minimum: true, count: "90%".into(), everybody: false };
    ends_in_a_denial(&[], &[scaled_object(Some(2)), workload(0, false), budget, scaled_object(None)]);
}

#[test]
fn what_ceases_to_be_a_singleton_is_not_paused_below_the_minimum() {
    ends_in_a_denial(&[scaled_object(Some(1)), workload(1, true)], &[workload(1, false)]);
}

#[test]
fn what_is_switched_on_again_is_under_one_budget() {
    let off = |more| Step::ScaledObject { minimum: 0, more, idle: None, paused: None };
    let budget = |which| Step::Budget { which, minimum: false, count: 0.into(), everybody: false };
    ends_in_a_denial(&[off(0), workload(1, false), budget(false)], &[budget(true), off(1)]);
}
