//! From edits to a JSON Patch that applies to the object just read.
//!
//! A patch that decodes but doesn't apply is a 500 to the user even under `failurePolicy: Ignore`
//! (`pkg/admission/plugin/webhook/mutating/dispatcher.go`), so every missing parent is added first,
//! nothing is tested or replaced that might not be there, and the patch is made against the very
//! object of the request.

use std::collections::{HashMap, HashSet};

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use serde_json::{Map, Value, json};

use crate::object::clean_path;
use crate::verdict::Edit;

/// The name of the volume that Plimsoll adds. One of its own: a filled-in `tmp` would clash with a
/// `tmp` that the author adds later.
const VOLUME: &str = "plimsoll-tmp";

/// Builds the patch; `None` if the object or a pointer can't be read.
pub(super) fn build(text: &str, edits: &[Edit]) -> Option<Vec<PatchOperation>> {
    if edits.is_empty() {
        return Some(Vec::new());
    }
    let mut builder = Builder::new(serde_json::from_str(text).ok()?);
    let mut done: HashSet<&Edit> = HashSet::new();
    for edit in edits.iter().filter(|&edit| done.insert(edit)) {
        match edit {
            Edit::SetInteger(pointer, value) => builder.set_at_least(pointer, *value)?,
            Edit::SetBoolean(pointer, value) => builder.set(pointer, json!(value))?,
            Edit::SetText(pointer, value) => builder.set(pointer, json!(value))?,
            Edit::SetType(pointer, kind) => builder.set(pointer, json!({ "type": kind }))?,
            Edit::Spread { pod, labels } => builder.set(
                &format!("{pod}/topologySpreadConstraints"),
                json!([{
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": labels},
                }]),
            )?,
            Edit::MountTmp { container, pod, size_limit } => builder.mount_tmp(container, pod, size_limit)?,
        }
    }
    Some(builder.operations)
}

/// Operations, and the object as it is after them. A pod can have thousands of containers, so nothing
/// in here looks at all of them for each.
struct Builder {
    object: Value,
    operations: Vec<PatchOperation>,
    integers: HashMap<String, i64>,
    /// Names of volumes, by the pointer to their list.
    volumes: HashMap<String, HashSet<String>>,
    /// The number of the last volume that was added.
    number: usize,
}

impl Builder {
    fn new(object: Value) -> Self {
        let (integers, volumes) = (HashMap::new(), HashMap::new());
        Self { object, operations: Vec::new(), integers, volumes, number: 0 }
    }

    /// Adds a value, its missing parents first. `add` replaces a map's member (RFC 6902 §4.1).
    fn set(&mut self, pointer: &str, value: Value) -> Option<()> {
        let (parent, _) = pointer.rsplit_once('/')?;
        if !parent.is_empty() && self.object.pointer(parent).is_none_or(Value::is_null) {
            self.set(parent, Value::Object(Map::new()))?;
        }
        self.add(pointer, value)
    }

    /// Sets an integer, unless another policy's edit has set as much: the larger one is right by both.
    fn set_at_least(&mut self, pointer: &str, value: i64) -> Option<()> {
        if self.integers.get(pointer).is_some_and(|&set| set >= value) {
            return Some(());
        }
        self.integers.insert(pointer.to_owned(), value);
        self.set(pointer, json!(value))
    }

    /// Appends to a list, which is made first if it isn't there.
    fn append(&mut self, list: &str, value: Value) -> Option<()> {
        if self.object.pointer(list).is_none_or(Value::is_null) {
            self.set(list, Value::Array(Vec::new()))?;
        }
        self.add(&format!("{list}/-"), value)
    }

    fn add(&mut self, pointer: &str, value: Value) -> Option<()> {
        let path = PointerBuf::parse(pointer.to_owned()).ok()?;
        let operation = PatchOperation::Add(AddOperation { path, value });
        json_patch::patch(&mut self.object, std::slice::from_ref(&operation)).ok()?;
        self.operations.push(operation);
        Some(())
    }

    /// Mounts a volume of its own at a container's `/tmp`. Containers don't share one: two programs
    /// that were never meant to meet would find each other's files.
    fn mount_tmp(&mut self, container: &str, pod: &str, size_limit: &str) -> Option<()> {
        let mounts = format!("{container}/volumeMounts");
        let mounted = self.object.pointer(&mounts).and_then(Value::as_array);
        let path = |mount: &Value| mount.get("mountPath").and_then(Value::as_str).map(clean_path);
        if mounted.is_some_and(|mounts| mounts.iter().any(|mount| path(mount).as_deref() == Some("/tmp"))) {
            return Some(());
        }
        let volumes = format!("{pod}/volumes");
        let name = self.free_name(&volumes);
        self.append(&volumes, json!({ "name": name, "emptyDir": { "sizeLimit": size_limit } }))?;
        self.append(&mounts, json!({ "name": name, "mountPath": "/tmp" }))
    }

    /// The next name that no volume has.
    fn free_name(&mut self, volumes: &str) -> String {
        if !self.volumes.contains_key(volumes) {
            let list = self.object.pointer(volumes).and_then(Value::as_array).into_iter().flatten();
            let names = list.filter_map(|volume| Some(volume.get("name")?.as_str()?.to_owned()));
            self.volumes.insert(volumes.to_owned(), names.collect());
        }
        let taken = self.volumes.entry(volumes.to_owned()).or_default();
        loop {
            self.number += 1;
            let name = if self.number == 1 { VOLUME.to_owned() } else { format!("{VOLUME}-{}", self.number) };
            if taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(object: &Value, edits: &[Edit]) -> Value {
        let operations = build(&object.to_string(), edits).unwrap();
        let mut patched = object.clone();
        json_patch::patch(&mut patched, &operations).unwrap();
        patched
    }

    #[test]
    fn missing_parents_come_first() {
        let object = json!({"spec": {"containers": [{"name": "a"}]}});
        let pointer = "/spec/containers/0/securityContext/readOnlyRootFilesystem".to_owned();
        let patched = apply(&object, &[Edit::SetBoolean(pointer, true)]);
        assert_eq!(
            patched,
            json!({"spec": {"containers": [
            {"name": "a", "securityContext": {"readOnlyRootFilesystem": true}}]}})
        );
    }

    #[test]
    fn each_container_gets_a_tmp_of_its_own_under_a_free_name() {
        let object = json!({"spec": {
            "volumes": [{"name": "plimsoll-tmp", "configMap": {"name": "x"}}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": null}]}});
        let mount = |index: u8| Edit::MountTmp {
            container: format!("/spec/containers/{index}"),
            pod: "/spec".to_owned(),
            size_limit: "64Mi".to_owned(),
        };
        let patched = apply(&object, &[mount(0), mount(1), mount(1)]);
        let names: Vec<_> =
            patched["spec"]["volumes"].as_array().unwrap().iter().map(|v| v["name"].clone()).collect();
        assert_eq!(names, ["plimsoll-tmp", "plimsoll-tmp-2", "plimsoll-tmp-3"]);
        assert_eq!(
            patched["spec"]["containers"][1]["volumeMounts"],
            json!([{"name": "plimsoll-tmp-3", "mountPath": "/tmp"}])
        );
    }
}
