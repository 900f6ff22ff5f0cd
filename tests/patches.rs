//! What is filled in, over generated pods and every rule about them: it fits, it is enough, it is
//! done once, and it changes nothing that was there.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "generate/pods.rs"]
mod pods;

use json_patch::PatchOperation;
use plimsoll::engine::{self, Operation, Request};
use plimsoll::facts::NamespaceFacts;
use plimsoll::object::{Kind, Labels, Object};
use plimsoll::policy::{Policy, load};
use plimsoll::verdict::{State, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A Deployment around a pod spec.
fn deployment(name: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": pod},
        },
    })
}

/// Every rule about pods, filling in whatever it can.
fn policy() -> Vec<Policy> {
    let fix = json!({"fix": true});
    let document = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "production"}, "spec": {"rules": {
            "read-only-root-filesystem": fix, "tmp-volume": fix, "run-as-non-root": fix,
            "privilege-escalation": fix, "capabilities": fix, "seccomp-profile": fix,
            "service-account-token": fix, "resources": {}, "probes": {}}}});
    load::from_texts(&[("policy".to_owned(), document.to_string())]).unwrap()
}

/// What /mutate and /validate say about an object, new or in place of an old one.
fn judge(object: &Value, old: Option<&Value>) -> (Verdict, Verdict) {
    let (text, old) = (object.to_string(), old.map(Value::to_string));
    let read = |text| Object::read(Kind::Deployment, text).unwrap();
    let request = Request {
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        kind: Kind::Deployment,
        namespace: "shop",
        user: "alice",
        groups: Vec::new(),
        manager: Some("kubectl"),
        manifest: false,
        object: read(&text),
        old: old.as_deref().map(read),
    };
    let mut facts = NamespaceFacts::default();
    facts.labels = Some(Labels::default());
    let (policies, now) = (policy(), "2026-12-01T12:00:00Z".parse().unwrap());
    let filled = engine::fill_in(&request, &policies, &facts, now).verdict;
    (filled, engine::judge(&request, &policies, &facts, now).verdict)
}

/// What /mutate makes of an object.
fn fill(object: &Value, old: Option<&Value>) -> (Value, Verdict) {
    let (filled, _) = judge(object, old);
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &filled.patch).expect("the patch applies to what it was made from");
    (patched, filled)
}

/// The values in an object that are neither null nor empty, by their pointers.
fn leaves(value: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| leaves(item, &format!("{at}/{index}"), found));
        }
        Value::Object(fields) => {
            let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
            fields.iter().for_each(|(name, value)| leaves(value, &format!("{at}/{}", escape(name)), found));
        }
        leaf => found.push((at.to_owned(), leaf.clone())),
    }
}

fn pod(object: &mut Value) -> &mut Value {
    object.pointer_mut("/spec/template/spec").unwrap()
}

/// Puts a container of another pod, without its mounts, before or behind the others; where it is.
fn insert_newcomer(object: &mut Value, newcomer: &Value, first: bool) -> usize {
    let mut container = newcomer["containers"][0].clone();
    container["name"] = "new".into();
    for field in ["volumeMounts", "volumeDevices"] {
        container.as_object_mut().unwrap().remove(field);
    }
    let containers = pod(object)["containers"].as_array_mut().unwrap();
    let at = if first { 0 } else { containers.len() };
    containers.insert(at, container);
    at
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn filling_in_is_enough_and_adds_only(spec in pods::pod_specs()) {
        let object = deployment("web", &spec);
        let (patched, filled) = fill(&object, None);
        for operation in &filled.patch {
            prop_assert!(matches!(operation, PatchOperation::Add(_)), "{operation:?} takes something away");
        }
        let mut before = Vec::new();
        leaves(&object, "", &mut before);
        for (pointer, leaf) in before {
            prop_assert_eq!(patched.pointer(&pointer), Some(&leaf), "{} was there", pointer);
        }
        let (again, judged) = judge(&patched, None);
        prop_assert!(again.patch.is_empty(), "a second pass adds {:?}", again.patch);
        for fixed in &filled.findings {
            prop_assert_eq!(fixed.state, State::Fixed);
            let is_left = judged.findings.iter().any(|left| {
                (left.finding.rule, &left.finding.place) == (fixed.finding.rule, &fixed.finding.place)
            });
            prop_assert!(!is_left, "{} at {} was to be mended", fixed.finding.rule, fixed.finding.place);
        }
        let fixable = judged.findings.iter().find(|judged| !judged.finding.fix.is_empty());
        prop_assert!(fixable.is_none(), "nothing is left to do but {:?}", fixable);
    }

    #[test]
    fn a_manifest_that_replaces_what_was_made_of_it_changes_nothing(spec in pods::pod_specs()) {
        let object = deployment("web", &spec);
        let (stored, _) = fill(&object, None);
        let (replaced, _) = fill(&object, Some(&stored));
        prop_assert_eq!(replaced, stored);
    }

    #[test]
    fn it_changes_nothing_after_a_container_came_either(
        spec in pods::pod_specs(),
        newcomer in pods::pod_specs(),
        first in any::<bool>(),
    ) {
        let manifest = deployment("web", &spec);
        let (old, _) = fill(&manifest, None);
        // First the patch that `apply` makes of the new manifest, then all of it.
        let mut manifests = [old.clone(), manifest];
        for object in &mut manifests {
            insert_newcomer(object, &newcomer, first);
        }
        let [applied, manifest] = manifests;
        let (stored, _) = fill(&applied, Some(&old));
        let (replaced, _) = fill(&manifest, Some(&stored));
        prop_assert_eq!(replaced, stored);
    }

    #[test]
    fn it_changes_nothing_after_a_container_went_either(spec in pods::pod_specs(), which in any::<prop::sample::Index>()) {
        let manifest = deployment("web", &spec);
        let (old, _) = fill(&manifest, None);
        let mut manifests = [old.clone(), manifest];
        for object in &mut manifests {
            let containers = pod(object)["containers"].as_array_mut().unwrap();
            if containers.len() > 1 {
                containers.remove(which.index(containers.len()));
            }
        }
        let [applied, manifest] = manifests;
        let (stored, _) = fill(&applied, Some(&old));
        let (replaced, _) = fill(&manifest, Some(&stored));
        // The volume of the one that went stays behind with `apply`, and goes with the whole manifest.
        let without_volumes = |mut object: Value| {
            pod(&mut object)["volumes"] = Value::Null;
            object
        };
        prop_assert_eq!(without_volumes(replaced), without_volumes(stored));
    }

    #[test]
    fn an_old_pod_keeps_what_it_has_when_a_container_is_new(
        spec in pods::pod_specs(),
        newcomer in pods::pod_specs(),
        first in any::<bool>(),
    ) {
        let old = deployment("web", &spec);
        let mut object = old.clone();
        let at = insert_newcomer(&mut object, &newcomer, first);
        let containers = pod(&mut object)["containers"].as_array_mut().unwrap();
        containers.iter_mut().for_each(|container| container["image"] = "image:2".into());
        let (mut patched, filled) = fill(&object, Some(&old));
        for fixed in &filled.findings {
            prop_assert_eq!(fixed.finding.container.as_deref(), Some("new"));
        }
        // Take the newcomer and its volume away, and nothing has changed.
        for object in [&mut patched, &mut object] {
            pod(object)["containers"].as_array_mut().unwrap().remove(at);
            let count = spec["volumes"].as_array().unwrap().len();
            pod(object)["volumes"].as_array_mut().unwrap().truncate(count);
        }
        prop_assert_eq!(patched, object);
    }
}
