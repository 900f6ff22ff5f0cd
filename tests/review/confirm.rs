//! A cache frozen in the past, an empty one, and a cluster that knows better: every decision is right.

#![allow(clippy::needless_pass_by_value, reason = "a table of cases reads better without borrows")]

use plimsoll::object::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::generate::{Step, steps};
use super::support::{Stage, World, production, request};

const WAIVER: &str = "{owner: a@example.com, reason: internal tool only, expires: 2400-12-31}";

/// Every rule that looks at a second object, each able to deny.
fn policy() -> Value {
    json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "production"}, "spec": {
            "match": {"namespaceSelector": {"matchLabels": {"environment": "production"}}},
            "singletons": {"byAnnotation": true},
            "waivers": {"maxDuration": "200000d"},
            "rules": {
                "min-replicas": {}, "singleton": {}, "autoscaler-range": {}, "disruption-budget": {},
                "has-disruption-budget": {"action": "Deny"}, "rollout-availability": {"action": "Deny"},
                "single-writer-volume": {}, "spread": {"action": "Deny"}}}})
}

fn workload(replicas: i64) -> Value {
    let spread = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]);
    json!({"metadata": {"name": "web", "resourceVersion": "7"}, "spec": {"replicas": replicas,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"topologySpreadConstraints": spread}}}})
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let mut place = &mut object;
    for part in parent.split('/').filter(|part| !part.is_empty()) {
        place = &mut place[part];
    }
    place[field.replace("~1", "/")] = value;
    object
}

fn waived(rule: &str) -> Value {
    with(workload(3), "/metadata/annotations", json!({format!("waiver.plimsoll.dev/{rule}"): WAIVER}))
}

fn singleton() -> Value {
    let object = with(workload(1), "/metadata/annotations", json!({"plimsoll.dev/singleton": "true"}));
    with(object, "/spec/strategy", json!({"type": "Recreate"}))
}

fn on_claim() -> Value {
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    with(
        with(workload(1), "/spec/template/spec/volumes", volumes),
        "/spec/strategy",
        json!({"type": "Recreate"}),
    )
}

fn autoscaler(name: &str, minimum: i64, maximum: i64) -> Value {
    json!({"metadata": {"name": name}, "spec": {"minReplicas": minimum, "maxReplicas": maximum,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}})
}

fn scaled(minimum: i64, maximum: i64) -> Value {
    json!({"metadata": {"name": "web", "uid": "s"}, "spec": {"scaleTargetRef": {"name": "web"},
        "minReplicaCount": minimum, "maxReplicaCount": maximum}})
}

fn made_by_keda(minimum: i64, maximum: i64) -> Value {
    let owner = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "web", "uid": "s",
        "controller": true}]);
    with(autoscaler("keda-hpa-web", minimum, maximum), "/metadata/ownerReferences", owner)
}

fn budget(name: &str, terms: Value) -> Value {
    with(
        json!({"metadata": {"name": name}, "spec": terms}),
        "/spec/selector",
        json!({"matchLabels": {"app": "web"}}),
    )
}

fn claim(mode: &str) -> Value {
    json!({"metadata": {"name": "data"}, "spec": {"accessModes": [mode]}})
}

fn scale_to(replicas: i64) -> Value {
    json!({"metadata": {"name": "web", "resourceVersion": "7"}, "spec": {"replicas": replicas}})
}

fn create(kind: Kind, object: Value) -> Value {
    request(kind, "", &object, None)
}

fn update(kind: Kind, old: Value, new: Value) -> Value {
    request(kind, "", &new, Some(&old))
}

fn scale(from: i64, to: i64) -> Value {
    request(Kind::Deployment, "scale", &scale_to(to), Some(&scale_to(from)))
}

/// A request and two worlds: in the first it is right, in the second it is wrong.
struct Case {
    name: &'static str,
    request: Value,
    good: World,
    bad: World,
}

fn case(name: &'static str, request: Value, good: &[(Kind, Value)], bad: &[(Kind, Value)]) -> Case {
    let world = |objects: &[(Kind, Value)]| [&[production()], objects].concat();
    Case { name, request, good: world(good), bad: world(bad) }
}

/// Each rule that looks at a second object, at each object that can break it.
fn cases() -> Vec<Case> {
    use Kind::{
        Deployment as D, HorizontalPodAutoscaler as H, PersistentVolumeClaim as C, PodDisruptionBudget as B,
        ScaledObject as S,
    };
    let one = || budget("web", json!({"maxUnavailable": 1}));
    let two_stay = || budget("web", json!({"minAvailable": 2}));
    let annotation = "/metadata/annotations";
    vec![
        // min-replicas
        case(
            "one replica under an autoscaler",
            create(D, workload(1)),
            &[(H, autoscaler("web", 2, 5)), (B, one())],
            &[(B, one())],
        ),
        case(
            "one replica under a ScaledObject",
            create(D, workload(1)),
            &[(S, scaled(2, 5)), (B, one())],
            &[(B, one())],
        ),
        case(
            "scale to one under an autoscaler",
            scale(3, 1),
            &[(D, workload(3)), (H, autoscaler("web", 2, 5)), (B, one())],
            &[(D, workload(3)), (B, one())],
        ),
        case("scale to one with a waiver", scale(3, 1), &[(D, waived("min-replicas"))], &[(D, workload(3))]),
        case(
            "an autoscaler from one over a waiver",
            create(H, autoscaler("web", 1, 5)),
            &[(D, waived("min-replicas"))],
            &[(D, workload(3))],
        ),
        case(
            "an autoscaler from one over a singleton",
            create(H, autoscaler("web", 1, 1)),
            &[(D, singleton())],
            &[(D, workload(3))],
        ),
        case(
            "a ScaledObject from one over a waiver",
            create(S, scaled(1, 5)),
            &[(D, waived("min-replicas"))],
            &[(D, workload(3))],
        ),
        case(
            "a singleton no more, under an autoscaler",
            update(D, singleton(), with(workload(2), annotation, json!({}))),
            &[(H, autoscaler("web", 2, 3)), (B, one())],
            &[(H, autoscaler("web", 1, 3)), (B, one())],
        ),
        // singleton
        case(
            "an autoscaler over a singleton",
            create(H, autoscaler("web", 2, 5)),
            &[(D, workload(3)), (B, one())],
            &[(D, singleton()), (B, one())],
        ),
        case(
            "a ScaledObject over a singleton",
            create(S, scaled(2, 5)),
            &[(D, workload(3)), (B, one())],
            &[(D, singleton()), (B, one())],
        ),
        case(
            "a scale of a singleton",
            scale(1, 2),
            &[(D, workload(1)), (B, one())],
            &[(D, singleton()), (B, one())],
        ),
        case("a singleton under an autoscaler", create(D, singleton()), &[], &[(H, autoscaler("web", 1, 3))]),
        // autoscaler-range
        case(
            "a second autoscaler",
            create(H, autoscaler("second", 2, 5)),
            &[(D, workload(3)), (B, one())],
            &[(D, workload(3)), (B, one()), (H, autoscaler("first", 2, 5))],
        ),
        case(
            "a ScaledObject beside an HPA",
            create(S, scaled(2, 5)),
            &[(D, workload(3)), (B, one())],
            &[(D, workload(3)), (B, one()), (H, autoscaler("first", 2, 5))],
        ),
        case(
            "the HPA that KEDA made",
            create(H, made_by_keda(1, 3)),
            &[(D, workload(1)), (S, scaled(1, 3))],
            &[(D, workload(1))],
        ),
        case(
            "the HPA of another range",
            create(H, made_by_keda(1, 3)),
            &[(D, workload(1)), (S, scaled(1, 3))],
            &[(D, workload(1)), (S, scaled(1, 2))],
        ),
        // disruption-budget
        case("a budget over three", create(B, two_stay()), &[(D, workload(3))], &[(D, workload(2))]),
        case(
            "a budget over what an autoscaler lets shrink",
            create(B, two_stay()),
            &[(D, workload(3))],
            &[(D, workload(3)), (H, autoscaler("web", 2, 5))],
        ),
        case(
            "a second budget",
            create(B, one()),
            &[(D, workload(3))],
            &[(D, workload(3)), (B, budget("first", json!({"maxUnavailable": 1})))],
        ),
        case(
            "a workload under a budget",
            update(D, workload(3), workload(2)),
            &[(B, one())],
            &[(B, two_stay())],
        ),
        case(
            "a scale under a budget",
            scale(3, 2),
            &[(D, workload(3)), (B, one())],
            &[(D, workload(3)), (B, two_stay())],
        ),
        case(
            "a scale under a budget with a waiver",
            scale(3, 2),
            &[(D, waived("disruption-budget")), (B, two_stay())],
            &[(D, workload(3)), (B, two_stay())],
        ),
        case(
            "an autoscaler under a budget",
            create(H, autoscaler("web", 2, 5)),
            &[(D, workload(3)), (B, one())],
            &[(D, workload(3)), (B, two_stay())],
        ),
        case(
            "a ScaledObject under a budget",
            create(S, scaled(2, 5)),
            &[(D, workload(3)), (B, one())],
            &[(D, workload(3)), (B, two_stay())],
        ),
        // has-disruption-budget
        case("a workload without a budget", create(D, workload(3)), &[(B, one())], &[]),
        case("a scale without a budget", scale(1, 3), &[(D, workload(1)), (B, one())], &[(D, workload(1))]),
        case(
            "an autoscaler without a budget",
            create(H, autoscaler("web", 2, 5)),
            &[(D, workload(1)), (B, one())],
            &[(D, workload(1))],
        ),
        case(
            "a budget that looks away",
            update(B, one(), with(one(), "/spec/selector", json!({"matchLabels": {"app": "x"}}))),
            &[(D, workload(3)), (B, budget("other", json!({"maxUnavailable": 1})))],
            &[(D, workload(3)), (B, one())],
        ),
        // rollout-availability
        case(
            "Recreate on a volume with one writer",
            create(D, with(on_claim(), "/spec/replicas", json!(1))),
            &[(C, claim("ReadWriteOnce")), (H, autoscaler("web", 1, 1))],
            &[(C, claim("ReadWriteMany")), (H, autoscaler("web", 2, 2)), (B, one())],
        ),
        // single-writer-volume
        case(
            "a scale on a volume",
            scale(1, 2),
            &[(D, on_claim()), (C, claim("ReadWriteMany")), (B, one()), (H, autoscaler("web", 1, 1))],
            &[(D, on_claim()), (C, claim("ReadWriteOnce")), (B, one())],
        ),
        case(
            "an autoscaler on a volume",
            create(H, autoscaler("web", 2, 5)),
            &[(D, workload(3)), (B, one())],
            &[(D, with(on_claim(), "/spec/replicas", json!(1))), (C, claim("ReadWriteOnce")), (B, one())],
        ),
        case(
            "a workload on a volume",
            create(D, with(on_claim(), "/spec/strategy", workload(1)["spec"]["strategy"].clone())),
            &[(C, claim("ReadWriteMany")), (H, autoscaler("web", 2, 3)), (B, one())],
            &[(C, claim("ReadWriteOnce")), (H, autoscaler("web", 2, 3)), (B, one())],
        ),
        // spread
        case(
            "an autoscaler over what is not spread",
            create(H, autoscaler("web", 2, 5)),
            &[(D, workload(1)), (B, one())],
            &[(D, with(workload(1), "/spec/template/spec", json!({}))), (B, one())],
        ),
        // which policies there are
        Case {
            name: "a namespace that is production no more",
            request: create(D, workload(1)),
            good: vec![(Kind::Namespace, json!({"metadata": {"name": "shop"}}))],
            bad: vec![production()],
        },
    ]
}

fn frozen(world: &World) -> World {
    // Whatever changed since has another version by now.
    world
        .iter()
        .map(|(kind, object)| (*kind, with(object.clone(), "/metadata/resourceVersion", json!("5"))))
        .collect()
}

#[test]
fn a_cache_frozen_in_the_past_and_an_empty_one_get_every_decision_right() {
    let stage = Stage::new(Some(&policy()));
    let mut wrong = Vec::new();
    for case in cases() {
        for (now, before, is_right) in [(&case.good, &case.bad, true), (&case.bad, &case.good, false)] {
            let mut check = |how: &str, is_current: bool, cached: &World, may_miss: bool| {
                stage.watched(is_current);
                let answer = stage.ask(cached, Some(now), &case.request);
                if answer.allowed() != is_right && !(may_miss && answer.allowed()) {
                    wrong.push(format!(
                        "{}, {how}, allowed {}: {}",
                        case.name,
                        answer.allowed(),
                        answer.message()
                    ));
                }
            };
            check("as it is", true, now, false);
            check("frozen, watches lost", false, &frozen(before), false);
            check("empty, watches lost", false, &vec![], false);
            // A cache that follows its watches is milliseconds behind. What changed in these lets in what was
            // right before; and nobody asks each time whether a workload has an autoscaler or a budget after
            // all. What is denied is denied rightly, and what an autoscaler or a budget names or meets is found.
            check("frozen", true, &frozen(before), true);
            check("empty", true, &vec![], case.request["resource"]["group"] == "apps");
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The objects that steps leave behind: the last of each name.
fn world(steps: &[Step], is_production: bool) -> World {
    let mut world = World::new();
    if is_production {
        world.push(production());
    }
    for step in steps.iter().filter(|step| !matches!(step, Step::Scale(_))) {
        let object = with(step.object(), "/metadata/resourceVersion", json!("7"));
        world.retain(|(kind, known)| {
            (*kind, &known["metadata"]["name"]) != (step.kind(), &object["metadata"]["name"])
        });
        world.push((step.kind(), object));
    }
    world.push((Kind::PersistentVolumeClaim, claim("ReadWriteOnce")));
    world
}

/// The review of a step in a world; `None` if there is nothing to scale.
fn review(step: &Step, world: &World) -> Option<Value> {
    let object = with(step.object(), "/metadata/resourceVersion", json!("7"));
    let name = &object["metadata"]["name"];
    let known = world.iter().find(|(kind, known)| *kind == step.kind() && known["metadata"]["name"] == *name);
    let old = known.map(|(_, object)| object);
    match step {
        Step::Scale(replicas) => Some(scale(old?["spec"]["replicas"].as_i64()?, *replicas)),
        _ => Some(request(step.kind(), "", &object, old)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the cache holds of whatever past.
    #[test]
    fn the_past_never_decides(
        now in proptest::collection::vec(steps(true), 0..6),
        before in proptest::collection::vec(steps(true), 0..6),
        step in steps(true),
        production: (bool, bool),
    ) {
        thread_local!(static STAGE: Stage = Stage::new(Some(&policy())));
        STAGE.with(|stage| {
            let (truth, cached) = (world(&now, production.0), frozen(&world(&before, production.1)));
            let Some(request) = review(&step, &truth) else { return Ok(()) };
            stage.watched(true);
            let right = stage.ask(&truth, Some(&truth), &request);
            let answer = stage.ask(&cached, Some(&truth), &request);
            prop_assert!(answer.allowed() || !right.allowed(), "wrongly denied: {}\n{truth:#?}\n{request:#}", answer.message());
            stage.watched(false);
            let answer = stage.ask(&cached, Some(&truth), &request);
            let right = (right.allowed(), right.message());
            prop_assert_eq!((answer.allowed(), answer.message()), right, "{:#?}\n{:#}", truth, request);
            Ok(())
        })?;
    }
}
