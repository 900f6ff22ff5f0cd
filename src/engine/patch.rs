//! From edits to a JSON Patch that applies to the object just read.
//!
//! A patch that decodes but doesn't apply is a 500 to the user even under `failurePolicy: Ignore`
//! (`pkg/admission/plugin/webhook/mutating/dispatcher.go`), so every missing parent is added first,
//! nothing is tested or replaced that might not be there, and the patch is made against the very
//! object of the request.

use std::collections::{BTreeSet, HashMap, HashSet};

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use serde_json::{Map, Value, json};

use crate::object::clean_path;
use crate::verdict::Edit;

/// The name of the volume that Plimsoll adds. One of its own: a filled-in `tmp` would clash with a
/// `tmp` that the author adds later.
const VOLUME: &str = "plimsoll-tmp";

/// The most containers that a pod is patched with.
const MOST_CONTAINERS: usize = 256;

/// Builds the patch; `None` if the object or a pointer can't be read. `old` is the object before, in
/// an UPDATE: what was filled in then and is gone now comes back as it was, and the edits say so.
pub(super) fn build(text: &str, old: Option<&str>, edits: &mut [Edit]) -> Option<Vec<PatchOperation>> {
    if edits.is_empty() {
        return Some(Vec::new());
    }
    let looks_back = |edit: &Edit| matches!(edit, Edit::MountTmp { .. } | Edit::SetInherited { .. });
    let old = old.filter(|_| edits.iter().any(looks_back));
    let old = old.and_then(|old| serde_json::from_str(old).ok()).unwrap_or_default();
    let mut builder = Builder::new(serde_json::from_str(text).ok()?, old);
    if builder.is_too_large(edits) {
        return None;
    }
    for edit in edits.iter_mut() {
        let Edit::MountTmp { container, pod, size_limit } = edit else { continue };
        if let Some(before) = builder.filled_before(container, pod) {
            *size_limit = before.size_limit;
        }
    }
    let edits: &[Edit] = edits;
    let mut done: HashSet<&Edit> = HashSet::new();
    for edit in edits.iter().filter(|&edit| done.insert(edit)) {
        match edit {
            Edit::SetInteger(pointer, value) => builder.set_at_least(pointer, *value)?,
            Edit::SetBoolean(pointer, value) => builder.set(pointer, json!(value))?,
            Edit::SetText(pointer, value) => builder.set(pointer, json!(value))?,
            Edit::SetList(pointer, values) => builder.set(pointer, json!(values))?,
            Edit::SetInherited { field, kind, container, pod } => {
                let value = json!({ "type": kind });
                let given = containers_given(edits, pod, field);
                let at = if builder.belongs_to_pod(&given, container, pod, field, &value) {
                    pod
                } else {
                    container
                };
                builder.set_once(&format!("{at}{field}"), value)?;
            }
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

/// The containers of a pod that are given a field which the pod could hand down to them.
fn containers_given<'e>(edits: &'e [Edit], pod: &str, field: &str) -> BTreeSet<&'e str> {
    let given = edits.iter().filter_map(|edit| match edit {
        Edit::SetInherited { field: f, container, pod: p, .. } if (p.as_str(), *f) == (pod, field) => {
            Some(container.as_str())
        }
        _ => None,
    });
    given.collect()
}

/// Operations, and the object as it is after them. Some of what it does looks at every container for
/// each, so a pod of very many is not patched at all: see [`Builder::is_too_large`].
struct Builder {
    object: Value,
    old: Value,
    operations: Vec<PatchOperation>,
    integers: HashMap<String, i64>,
    /// Names of volumes, by the pointer to their list.
    volumes: HashMap<String, HashSet<String>>,
    /// The number of the last volume that was added.
    number: usize,
}

impl Builder {
    fn new(object: Value, old: Value) -> Self {
        let (integers, volumes) = (HashMap::new(), HashMap::new());
        Self { object, old, operations: Vec::new(), integers, volumes, number: 0 }
    }

    /// Whether a pod has more containers than anybody means to run: its patch would cost more than
    /// it is worth, and what is not filled in is judged all the same.
    fn is_too_large(&self, edits: &[Edit]) -> bool {
        let pods = edits.iter().filter_map(|edit| match edit {
            Edit::MountTmp { pod, .. } | Edit::SetInherited { pod, .. } => Some(pod.as_str()),
            _ => None,
        });
        let count = |pod: &str| {
            let lists = ["initContainers", "containers"].map(|list| format!("{pod}/{list}"));
            lists.iter().map(|list| items(&self.object, list).len()).sum::<usize>()
        };
        pods.collect::<HashSet<_>>().into_iter().any(|pod| count(pod) > MOST_CONTAINERS)
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

    /// The same, unless an earlier edit has done it.
    fn set_once(&mut self, pointer: &str, value: Value) -> Option<()> {
        let has_been_set = self.operations.iter().any(|operation| match operation {
            PatchOperation::Add(add) => add.path.as_str() == pointer,
            _ => false,
        });
        if has_been_set { Some(()) } else { self.set(pointer, value) }
    }

    /// Whether a field that a container is given goes into its pod: where it was before this request,
    /// if it was anywhere, and else where every container of the pod is given it. Never where that
    /// would reach a container that isn't.
    fn belongs_to_pod(
        &self,
        given: &BTreeSet<&str>,
        container: &str,
        pod: &str,
        field: &str,
        value: &Value,
    ) -> bool {
        let lists = ["initContainers", "containers"].map(|list| format!("{pod}/{list}"));
        let all = lists.iter().flat_map(|list| {
            items(&self.object, list)
                .iter()
                .enumerate()
                .map(move |(index, it)| (format!("{list}/{index}"), it))
        });
        let has = |it: &Value| it.pointer(field).is_some_and(|value| !value.is_null());
        let (mut others, mut heirs) = (false, false);
        for (_, it) in all.filter(|(pointer, _)| !given.contains(pointer.as_str())) {
            others = true;
            heirs |= !has(it);
        }
        let is_as_before = |it: Option<&Value>| it.and_then(|it| it.pointer(field)) == Some(value);
        match self.object.pointer(container).and_then(|it| text(it, "name")) {
            Some(name) if is_as_before(self.old_container(pod, name)) => false,
            _ => !heirs && (!others || is_as_before(self.old.pointer(pod))),
        }
    }

    /// A container of the object before this request.
    fn old_container(&self, pod: &str, name: &str) -> Option<&Value> {
        let lists = ["initContainers", "containers"].map(|list| items(&self.old, &format!("{pod}/{list}")));
        lists.into_iter().flatten().find(|old| text(old, "name") == Some(name))
    }

    /// Puts a value into a list, which is made first if it isn't there: before the first item that
    /// followed the value in the old list, or at the end.
    fn insert(&mut self, list: &str, value: Value, followers: &[String], key: &str) -> Option<()> {
        if self.object.pointer(list).is_none_or(Value::is_null) {
            self.set(list, Value::Array(Vec::new()))?;
        }
        let items = self.object.pointer(list)?.as_array()?;
        let is_follower =
            |item: &Value| text(item, key).is_some_and(|key| followers.iter().any(|f| f == key));
        let at = items.iter().position(is_follower).map_or_else(|| "-".to_owned(), |at| at.to_string());
        self.add(&format!("{list}/{at}"), value)
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
        if items(&self.object, &mounts).iter().any(is_at_tmp) {
            return Some(());
        }
        let volumes = format!("{pod}/volumes");
        let before = self.filled_before(container, pod);
        let is_there =
            |name: &str| items(&self.object, &volumes).iter().any(|v| text(v, "name") == Some(name));
        match before {
            Some(before) if !is_there(&before.name) => {
                self.insert(&volumes, volume(&before.name, size_limit), &before.volumes_after, "name")?;
                self.insert(&mounts, mount(&before.name), &before.mounts_after, "mountPath")
            }
            before => {
                let leftover = self.leftover(pod, size_limit, before.as_ref().map(|before| &*before.name));
                let name = leftover.clone().unwrap_or_else(|| self.free_name(&volumes));
                if leftover.is_none() {
                    self.insert(&volumes, volume(&name, size_limit), &[], "name")?;
                }
                let after = before.map(|before| before.mounts_after).unwrap_or_default();
                self.insert(&mounts, mount(&name), &after, "mountPath")
            }
        }
    }

    /// What was filled in for the container before this request: a PUT of the author's manifest drops
    /// it, and unless it comes back under the same name and in the same order, the template has
    /// changed and the pods are replaced.
    fn filled_before(&self, container: &str, pod: &str) -> Option<Filled> {
        let old = self.old_container(pod, text(self.object.pointer(container)?, "name")?)?;
        let mounts = items(old, "/volumeMounts");
        let mounted = mounts.iter().position(is_at_tmp)?;
        let name = text(mounts.get(mounted)?, "name").filter(|name| is_ours(name))?;
        let volumes = items(&self.old, &format!("{pod}/volumes"));
        let defined = volumes.iter().position(|volume| text(volume, "name") == Some(name))?;
        let size_limit = volumes.get(defined)?.pointer("/emptyDir/sizeLimit")?.as_str()?;
        // Anything else about them is somebody's wish, and its absence one too.
        let is_as_filled = volumes.get(defined) == Some(&volume(name, size_limit))
            && mounts.get(mounted) == Some(&mount(name));
        let after = |list: &[Value], at: usize, key: &str| {
            list.iter().skip(at + 1).filter_map(|item| text(item, key).map(str::to_owned)).collect()
        };
        is_as_filled.then(|| Filled {
            name: name.to_owned(),
            size_limit: size_limit.to_owned(),
            volumes_after: after(volumes, defined, "name"),
            mounts_after: after(mounts, mounted, "mountPath"),
        })
    }

    /// A volume like the one to be filled in that no container mounts any more, the container's own
    /// if it is there.
    fn leftover(&self, pod: &str, size_limit: &str, own: Option<&str>) -> Option<String> {
        let lists =
            ["initContainers", "containers"].map(|list| items(&self.object, &format!("{pod}/{list}")));
        let mounts = lists.into_iter().flatten().flat_map(|container| items(container, "/volumeMounts"));
        let mounted: BTreeSet<_> = mounts.filter_map(|mount| text(mount, "name")).collect();
        let volumes = items(&self.object, &format!("{pod}/volumes")).iter();
        let is_fit = |(name, it): &(&str, &Value)| {
            is_ours(name) && !mounted.contains(name) && **it == volume(name, size_limit)
        };
        let fit: Vec<_> = volumes.filter_map(|it| Some((text(it, "name")?, it))).filter(is_fit).collect();
        let (name, _) = fit.iter().find(|(name, _)| Some(*name) == own).or_else(|| fit.first())?;
        Some((*name).to_owned())
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

/// A volume that was filled in before.
struct Filled {
    name: String,
    size_limit: String,
    /// The names of the volumes that followed.
    volumes_after: Vec<String>,
    /// The paths of the mounts that followed.
    mounts_after: Vec<String>,
}

fn volume(name: &str, size_limit: &str) -> Value {
    json!({ "name": name, "emptyDir": { "sizeLimit": size_limit } })
}

fn mount(name: &str) -> Value {
    json!({ "name": name, "mountPath": "/tmp" })
}

fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn is_at_tmp(mount: &Value) -> bool {
    text(mount, "mountPath").map(clean_path).as_deref() == Some("/tmp")
}

/// Whether Plimsoll gives this name to volumes.
fn is_ours(name: &str) -> bool {
    let number = name.strip_prefix(VOLUME).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(object: &Value, edits: &[Edit]) -> Value {
        let operations = build(&object.to_string(), None, &mut edits.to_vec()).unwrap();
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

    #[test]
    fn a_field_is_set_in_the_pod_only_if_every_container_is_to_have_it() {
        let object = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let edit = |index: u8| Edit::SetInherited {
            field: "/securityContext/seccompProfile",
            kind: "RuntimeDefault",
            container: format!("/spec/containers/{index}"),
            pod: "/spec".to_owned(),
        };
        let profile = json!({"seccompProfile": {"type": "RuntimeDefault"}});
        let one = apply(&object, &[edit(1)]);
        assert_eq!(one["spec"]["containers"][1]["securityContext"], profile);
        assert!(
            one["spec"].get("securityContext").is_none()
                && one["spec"]["containers"][0].get("securityContext").is_none()
        );
        let both = apply(&object, &[edit(0), edit(1)]);
        assert_eq!(
            both["spec"],
            json!({"securityContext": profile, "containers": [{"name": "a"}, {"name": "b"}]})
        );
    }

    #[test]
    fn what_was_filled_in_before_comes_back_as_it_was() {
        let mount = |index: u8| Edit::MountTmp {
            container: format!("/spec/containers/{index}"),
            pod: "/spec".to_owned(),
            size_limit: "128Mi".to_owned(),
        };
        let manifest = json!({"spec": {
            "volumes": [{"name": "v", "configMap": {"name": "x"}}],
            "containers": [
                {"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
                {"name": "b"}]}});
        // The second container came first, the volume `v` last, and the policy allowed less.
        let old = json!({"spec": {
            "volumes": [
                {"name": "plimsoll-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                {"name": "plimsoll-tmp-2", "emptyDir": {"sizeLimit": "64Mi"}},
                {"name": "v", "configMap": {"name": "x"}}],
            "containers": [
                {"name": "a", "volumeMounts": [
                    {"name": "plimsoll-tmp-2", "mountPath": "/tmp"}, {"name": "v", "mountPath": "/v"}]},
                {"name": "b", "volumeMounts": [{"name": "plimsoll-tmp", "mountPath": "/tmp"}]}]}});
        let mut edits = [mount(0), mount(1)];
        let operations = build(&manifest.to_string(), Some(&old.to_string()), &mut edits).unwrap();
        assert!(matches!(&edits[0], Edit::MountTmp { size_limit, .. } if size_limit == "64Mi"));
        let mut patched = manifest.clone();
        json_patch::patch(&mut patched, &operations).unwrap();
        assert_eq!(patched, old);
    }

    #[test]
    fn a_volume_that_lost_its_mount_is_mounted_again() {
        let mount = Edit::MountTmp {
            container: "/spec/containers/0".to_owned(),
            pod: "/spec".to_owned(),
            size_limit: "64Mi".to_owned(),
        };
        let object = json!({"spec": {
            "volumes": [
                {"name": "plimsoll-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                {"name": "plimsoll-tmp-2", "emptyDir": {"sizeLimit": "64Mi"}}],
            "containers": [
                {"name": "a"},
                {"name": "b", "volumeMounts": [{"name": "plimsoll-tmp", "mountPath": "/tmp"}]}]}});
        let patched = apply(&object, &[mount]);
        assert_eq!(patched["spec"]["volumes"], object["spec"]["volumes"]);
        assert_eq!(patched["spec"]["containers"][0]["volumeMounts"][0]["name"], "plimsoll-tmp-2");
    }
}
