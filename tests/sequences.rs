//! No sequence of allowed updates reaches a state that a CREATE would have been refused for.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

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
        let new = step.object();
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

    fn replicas(&self) -> Option<i64> {
        self.workload.as_ref()?["spec"]["replicas"].as_i64()
    }

    /// The count at which KEDA was told to pause.
    fn paused(&self) -> Option<i64> {
        let annotation =
            &self.scaled_object.as_ref()?["metadata"]["annotations"]["autoscaling.keda.sh/paused-replicas"];
        annotation.as_str().map(|count| count.parse().unwrap())
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

fn policies() -> Vec<Policy> {
    let document = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "production"}, "spec": {"singletons": {"byAnnotation": true}, "rules": {
            "min-replicas": {}, "singleton": {}, "autoscaler-range": {}, "disruption-budget": {},
            "single-writer-volume": {}}}});
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
        let policies = policies();
        let mut world = World::default();
        for step in &sequence {
            let is_told = world.take(step, &policies) && step.kind() == Kind::ScaledObject;
            for count in world.own_writes(is_told) {
                prop_assert!(world.may_write(count, &policies), "after {step:?}: its autoscaler writes {count}\n{world:#?}");
            }
            if let (Some(count), true, Some(workload)) = (world.paused(), is_told, &mut world.workload) {
                workload["spec"]["replicas"] = count.into();
            }
            let facts = world.facts();
            for (kind, object) in world.objects() {
                // Somebody has scaled it since KEDA was paused; KEDA would scale it back if it came now.
                if kind == Kind::ScaledObject && world.paused().is_some_and(|count| world.replicas() != Some(count)) {
                    continue;
                }
                let verdict = judge(kind, false, object, None, &facts, &policies);
                let denies = verdict.findings.iter().filter(|judged| judged.denies() && !comes_of_growth(judged));
                let says: Vec<_> =
                    denies.map(|j| format!("{} {}: {}", j.finding.rule, j.finding.subject, j.finding.says)).collect();
                prop_assert!(says.is_empty(), "after {step:?}: {says:?}\n{world:#?}");
            }
        }
    }
}
