//! From edits to a JSON Patch that applies to the object just read.
//!
//! A patch that decodes but doesn't apply is a 500 to the user even under `failurePolicy: Ignore`
//! (`pkg/admission/plugin/webhook/mutating/dispatcher.go`), so every missing parent is added first,
//! nothing is tested or replaced that might not be there, and the patch is made against the very
//! object of the request.

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
    let mut builder = Builder { object: serde_json::from_str(text).ok()?, operations: Vec::new() };
    let mut done: Vec<&Edit> = Vec::new();
    for edit in edits {
        if done.contains(&edit) {
            continue;
        }
        done.push(edit);
        match edit {
            // Of two policies the one that asks for more is right by both.
            Edit::SetInteger(pointer, value) if builder.has_been_set(pointer, *value) => {}
            Edit::SetInteger(pointer, value) => builder.set(pointer, json!(value))?,
            Edit::SetBoolean(pointer, value) => builder.set(pointer, json!(value))?,
            Edit::SetType(pointer, kind) => builder.set(pointer, json!({ "type": kind }))?,
            Edit::MountTmp { container, pod, size_limit } => builder.mount_tmp(container, pod, size_limit)?,
        }
    }
    Some(builder.operations)
}

/// Operations, and the object as it is after them.
struct Builder {
    object: Value,
    operations: Vec<PatchOperation>,
}

impl Builder {
    /// Adds a value, its missing parents first. `add` replaces a map's member (RFC 6902 §4.1).
    fn set(&mut self, pointer: &str, value: Value) -> Option<()> {
        let (parent, _) = pointer.rsplit_once('/')?;
        if !parent.is_empty() && self.object.pointer(parent).is_none_or(Value::is_null) {
            self.set(parent, Value::Object(Map::new()))?;
        }
        self.add(pointer, value)
    }

    /// Whether an earlier edit has set the integer to as much.
    fn has_been_set(&self, pointer: &str, value: i64) -> bool {
        self.operations.iter().any(|operation| match operation {
            PatchOperation::Add(add) => add.path.as_str() == pointer && add.value.as_i64() >= Some(value),
            _ => false,
        })
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

    fn free_name(&self, volumes: &str) -> String {
        let volumes = self.object.pointer(volumes).and_then(Value::as_array);
        let is_taken = |name: &str| {
            volumes.is_some_and(|v| v.iter().any(|v| v.get("name").and_then(Value::as_str) == Some(name)))
        };
        let numbered = (2..).map(|number| format!("{VOLUME}-{number}"));
        // Names are finite in the list and endless here, so one is free.
        std::iter::once(VOLUME.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
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
