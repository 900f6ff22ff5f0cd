//! The rules' fixtures as requests, each in a namespace of its own with its policy and its neighbours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use plimsoll::manifest;
use plimsoll::object::Kind;
use serde_json::{Map, Value, json};

/// A request of a fixture, and what it meets.
pub struct Fixture {
    /// Its namespace.
    pub namespace: String,
    /// What an API server would ask.
    pub review: Value,
    /// What else is in the namespace.
    pub neighbours: Vec<Value>,
    /// The policy that it is about, as a document.
    pub policy: Value,
}

/// The house, from wherever these files are compiled.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|folder| folder.join("tests/rules").is_dir()).expect("in the house")
}

/// The files of a folder with an extension, in order.
pub fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false if entry.extension().is_some_and(|found| found == extension) => files.push(entry),
                false => {}
            }
        }
    }
    files.sort();
    files
}

/// The kind of an object, if it is one that is read.
pub fn kind(object: &Value) -> Option<Kind> {
    let group = object["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group);
    Kind::from_group_kind(group, object["kind"].as_str()?)
}

impl Fixture {
    /// All of them.
    pub fn all() -> Vec<Self> {
        files("tests/rules", "yaml").iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let rule = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let namespace = format!("{rule}--{}", path.file_stem().unwrap().to_str().unwrap());
        let text = std::fs::read_to_string(path).unwrap();
        let documents = manifest::parse("fixture", &text).unwrap();
        let mut documents: Vec<Value> = documents.into_iter().map(|document| document.value).collect();
        documents.iter_mut().for_each(|document| relocate(document, &namespace));
        let mut settings = Map::new();
        if let Some(Value::Object(first)) = documents.first()
            && !first.contains_key("kind")
        {
            settings = first.clone();
            documents.remove(0);
        }
        let object = documents.pop().unwrap();
        let mut policy = settings
            .get("policy")
            .cloned()
            .unwrap_or_else(|| json!({"rules": {rule: {}}, "singletons": {"byAnnotation": true}}));
        if policy["match"].is_null() {
            policy["match"] = json!({"namespaces": [namespace]});
        }
        let policy = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
            "metadata": {"name": namespace}, "spec": policy});
        let review = review(kind(&object).unwrap(), &namespace, &object, &settings);
        let scaled = settings.contains_key("scale").then_some(object);
        documents.extend(scaled);
        Self { namespace, review, neighbours: documents, policy }
    }
}

/// Moves what is said to be in a namespace to another one.
pub fn relocate(value: &mut Value, to: &str) {
    match value {
        Value::Object(map) => {
            if map.get("kind").is_some_and(|kind| kind == "Namespace")
                && let Some(name) = map.get_mut("metadata").and_then(|metadata| metadata.get_mut("name"))
            {
                *name = to.into();
            }
            for (key, value) in map {
                match key.as_str() {
                    "namespace" => *value = to.into(),
                    "namespaces" => *value = json!([to]),
                    _ => relocate(value, to),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| relocate(value, to)),
        _ => {}
    }
}

/// What an API server would ask.
fn review(kind: Kind, namespace: &str, object: &Value, settings: &Map<String, Value>) -> Value {
    let scale = |replicas: &Value| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": object["metadata"]["name"], "namespace": namespace},
            "spec": {"replicas": replicas}})
    };
    let before = object["spec"].get("replicas").cloned().unwrap_or_else(|| json!(1));
    let (new, old) = match settings.get("scale") {
        Some(replicas) => (scale(replicas), scale(&before)),
        None => (object.clone(), settings.get("old").cloned().unwrap_or_default()),
    };
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": kind.group(), "version": kind.version(), "kind": kind.as_str()},
        "resource": {"group": kind.group(), "version": kind.version(), "resource": kind.plural()},
        "subResource": if settings.contains_key("scale") { "scale" } else { "" },
        "name": object["metadata"]["name"],
        "namespace": if kind == Kind::Namespace { "" } else { namespace },
        "operation": operation,
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        "object": new,
        "oldObject": old,
        "dryRun": false,
        "options": {"fieldManager": settings.get("manager").cloned().unwrap_or_else(|| json!("kubectl"))},
    }})
}

/// Whether a list has two items of the same name, which no API server stores where names are keys.
pub fn has_twins(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().any(has_twins),
        Value::Array(list) => {
            let names: Vec<_> = list.iter().filter_map(|item| item["name"].as_str()).collect();
            let distinct: BTreeSet<_> = names.iter().collect();
            distinct.len() < names.len() || list.iter().any(has_twins)
        }
        _ => false,
    }
}
