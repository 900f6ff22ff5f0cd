//! Every rule on its fixtures, as a user sees it, and on its own examples.
//!
//! A fixture is a YAML file of documents: optionally a `settings` mapping first, then what else is
//! in the cluster, and last the object of the request. Settings: `policy` (a spec; by default just
//! the rule that the folder is named after), `old` (the object before, for an update), `now`,
//! `manager` (the field manager, which makes it a request rather than a manifest), `stored` (it is
//! judged where it lies, as by a scan), `scale`
//! (the replicas that a scale request asks of the last object).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

use std::fmt::Write as _;

use jiff::Timestamp;
use plimsoll::engine::{self, Operation, Request};
use plimsoll::facts::{Fact, NamespaceFacts, Owner};
use plimsoll::manifest;
use plimsoll::object::{Kind, Labels, Object};
use plimsoll::policy::{Policy, load};
use plimsoll::render;
use plimsoll::rules::{Fix, RULES};
use plimsoll::verdict::Verdict;
use serde_json::{Map, Value, json};

const NOW: &str = "2026-12-01T12:00:00Z";

fn policy(spec: &Value) -> Vec<Policy> {
    let document = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "production"}, "spec": spec});
    load::from_texts(&[("policy".to_owned(), document.to_string())]).unwrap()
}

fn kind(value: &Value) -> Kind {
    let (api_version, kind) = (value["apiVersion"].as_str().unwrap(), value["kind"].as_str().unwrap());
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    Kind::from_group_kind(group, kind).unwrap_or_else(|| panic!("{api_version} {kind} is read"))
}

fn facts(documents: &[Value]) -> NamespaceFacts {
    let mut facts = NamespaceFacts::default();
    facts.labels = Some(Labels::default());
    for document in documents {
        let (kind, text) = (kind(document), document.to_string());
        let object = Object::read(kind, &text).unwrap();
        let fact = Fact::project(&object);
        let (name, uid) =
            (object.display_name(), object.metadata.uid.as_deref().unwrap_or_default().to_owned());
        facts.insert(Fact::Owner(Owner { kind, name, uid, text: text.clone() }));
        if let Some(fact) = fact {
            facts.insert(fact);
        }
    }
    facts
}

struct Case {
    settings: Map<String, Value>,
    policies: Vec<Policy>,
    facts: NamespaceFacts,
    object: Value,
}

impl Case {
    fn read(rule: &str, text: &str) -> Self {
        let documents = manifest::parse("fixture.yaml", text).unwrap();
        let mut documents: Vec<Value> = documents.into_iter().map(|document| document.value).collect();
        let settings = match documents.first() {
            Some(Value::Object(first)) if !first.contains_key("kind") => {
                let settings = first.clone();
                documents.remove(0);
                settings
            }
            _ => Map::new(),
        };
        let object = documents.pop().unwrap();
        let spec = settings
            .get("policy")
            .cloned()
            .unwrap_or_else(|| json!({"rules": {rule: {}}, "singletons": {"byAnnotation": true}}));
        let mut around = documents;
        if settings.contains_key("scale") {
            around.push(object.clone());
        }
        Self { policies: policy(&spec), facts: facts(&around), settings, object }
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(Value::as_str)
    }

    /// The verdict on an object, and its patch.
    fn judge(&self, object: &Value) -> (Verdict, Verdict) {
        let scaled = self.settings.get("scale");
        let (text, old) = match scaled {
            Some(replicas) => {
                let scale = |replicas: &Value| {
                    let metadata = json!({"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"]});
                    json!({"metadata": metadata, "spec": {"replicas": replicas}}).to_string()
                };
                let before = object["spec"].get("replicas").cloned().unwrap_or_else(|| json!(1));
                (scale(replicas), Some(scale(&before)))
            }
            None => (object.to_string(), self.settings.get("old").map(Value::to_string)),
        };
        let kind = kind(object);
        let read =
            |text| if scaled.is_some() { Object::read_scale(kind, text) } else { Object::read(kind, text) };
        let manager = self.setting("manager");
        let request = Request {
            operation: if old.is_some() { Operation::Update } else { Operation::Create },
            kind,
            namespace: object["metadata"]["namespace"].as_str().unwrap_or("shop"),
            user: "alice",
            groups: Vec::new(),
            manager,
            manifest: manager.is_none() && scaled.is_none(),
            object: read(&text).unwrap(),
            old: old.as_deref().map(|old| read(old).unwrap()),
        };
        let now: Timestamp = self.setting("now").unwrap_or(NOW).parse().unwrap();
        let filled = engine::fill_in(&request, &self.policies, &self.facts, now).verdict;
        // What lies in a cluster is judged as the next change will find it.
        let judge = if self.settings.contains_key("stored") { engine::judge_next } else { engine::judge };
        (judge(&request, &self.policies, &self.facts, now).verdict, filled)
    }
}

/// What the user sees: first /mutate, then /validate of what /mutate made of it.
fn show(case: &Case) -> String {
    let mut text = String::new();
    let (_, filled) = case.judge(&case.object);
    for warning in render::warnings(&filled) {
        writeln!(text, "Warning: {warning}").unwrap();
    }
    for operation in &filled.patch {
        writeln!(text, "patch: {}", serde_json::to_string(operation).unwrap()).unwrap();
    }
    let mut patched = case.object.clone();
    json_patch::patch(&mut patched, &filled.patch).expect("the patch applies");
    let (judged, again) = case.judge(&patched);
    assert!(again.patch.is_empty(), "a second pass changes nothing: {:?}", again.patch);
    for warning in render::warnings(&judged) {
        writeln!(text, "Warning: {warning}").unwrap();
    }
    match judged.allowed() {
        true => writeln!(text, "allowed").unwrap(),
        false => writeln!(text, "denied: {}", render::denial(&judged)).unwrap(),
    }
    for finding in &judged.findings {
        writeln!(
            text,
            "finding: {} {} at {}",
            finding.action.as_str(),
            finding.state.as_str(),
            finding.finding.path
        )
        .unwrap();
    }
    text
}

#[test]
fn fixtures() {
    insta::glob!("rules/*/*.yaml", |path| {
        let rule = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let case = Case::read(rule, &std::fs::read_to_string(path).unwrap());
        insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(show(&case)) });
    });
}

#[test]
fn every_rule_keeps_to_its_examples() {
    for rule in RULES {
        let meta = rule.meta();
        let off = json!({"rules": {meta.name: {"fix": false}}, "singletons": {"byAnnotation": true}});
        let case = |text: &str, spec: &Value| {
            let mut case = Case::read(meta.name, text);
            case.policies = policy(spec);
            if meta.name == "inactive-workload" {
                case.settings.insert("stored".to_owned(), json!(true));
            }
            case
        };
        let bad = case(meta.bad, &off);
        if meta.name == "protected-namespace" {
            continue; // It is about a change; its fixtures show both sides.
        }
        let (judged, _) = bad.judge(&bad.object);
        assert!(!judged.findings.is_empty(), "{}: its bad example breaks it", meta.name);
        assert!(judged.findings.iter().all(|judged| judged.finding.rule == meta.name));
        let good = case(meta.good, &off);
        assert!(good.judge(&good.object).0.findings.is_empty(), "{}: its good example keeps it", meta.name);
        if meta.fix == Fix::Never {
            continue;
        }
        let fixing = case(
            meta.bad,
            &json!({"rules": {meta.name: {"fix": true}}, "singletons": {"byAnnotation": true}}),
        );
        let (_, filled) = fixing.judge(&fixing.object);
        if filled.patch.is_empty() {
            continue;
        }
        let mut fixed = fixing.object.clone();
        json_patch::patch(&mut fixed, &filled.patch).unwrap();
        let (judged, again) = fixing.judge(&fixed);
        assert!(judged.allowed() && again.patch.is_empty(), "{}: fixing is enough, and once", meta.name);
    }
}
