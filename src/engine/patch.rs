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

use crate::object::{Object, clean_path};
use crate::verdict::Edit;

/// The name of the volume that Plimsoll adds. One of its own: a filled-in `tmp` would clash with a
/// `tmp` that the author adds later.
const VOLUME: &str = "plimsoll-tmp";

/// The most containers that a pod is patched with.
const MOST_CONTAINERS: usize = 256;

/// Operations on an object's spec, and the spec as it is after them. Some of what it does looks at
/// every container for each, so a pod of very many is not patched at all: see [`Draft::is_too_large`].
pub(super) struct Draft<'a> {
    before: &'a Object<'a>,
    old_before: Option<&'a Object<'a>>,
    /// The object with nothing but its spec, read once there is something to do.
    object: Value,
    /// The same of the object before, in an UPDATE, read once an edit looks back.
    old: Value,
    operations: Vec<PatchOperation>,
    integers: HashMap<String, i64>,
    /// Names of volumes, by the pointer to their list.
    volumes: HashMap<String, HashSet<String>>,
    /// The number of the last volume that was added.
    number: usize,
}

impl<'a> Draft<'a> {
    /// `old` is the object before, in an UPDATE: what was filled in then and is gone now comes back as
    /// it was, and the edits say so.
    pub(super) fn new(object: &'a Object<'a>, old: Option<&'a Object<'a>>) -> Self {
        Self {
            before: object,
            old_before: old,
            object: Value::Null,
            old: Value::Null,
            operations: Vec::new(),
            integers: HashMap::new(),
            volumes: HashMap::new(),
            number: 0,
        }
    }

    /// The spec's JSON text after the edits; `None` without any.
    pub(super) fn spec(&self) -> Option<String> {
        self.object.get("spec").filter(|_| !self.operations.is_empty()).map(Value::to_string)
    }

    /// The operations, in the order in which they apply.
    pub(super) fn into_patch(self) -> Vec<PatchOperation> {
        self.operations
    }

    /// Makes edits, all or none. Whether it made any.
    pub(super) fn apply(&mut self, edits: &mut [Edit]) -> bool {
        let done = self.operations.len();
        if self.try_apply(edits).is_none() {
            self.operations.truncate(done);
        }
        self.operations.len() > done
    }

    fn try_apply(&mut self, edits: &mut [Edit]) -> Option<()> {
        if edits.is_empty() {
            return Some(());
        }
        if self.object.is_null() {
            self.object = spec_of(self.before)?;
        }
        let looks_back = |edit: &Edit| matches!(edit, Edit::MountTmp { .. } | Edit::SetInherited { .. });
        if self.old.is_null() && edits.iter().any(looks_back) {
            self.old = self.old_before.and_then(spec_of).unwrap_or_default();
        }
        if self.is_too_large(edits) {
            return None;
        }
        for edit in edits.iter_mut() {
            let Edit::MountTmp { container, pod, size_limit } = edit else { continue };
            if let Some(before) = self.filled_before(container, pod) {
                *size_limit = before.size_limit;
            }
        }
        let edits: &[Edit] = edits;
        let mut done: HashSet<&Edit> = HashSet::new();
        for edit in edits.iter().filter(|&edit| done.insert(edit)) {
            match edit {
                Edit::SetInteger(pointer, value) => self.set_at_least(pointer, *value)?,
                Edit::SetBoolean(pointer, value) => self.set(pointer, json!(value))?,
                Edit::SetText(pointer, value) => self.set(pointer, json!(value))?,
                Edit::SetList(pointer, values) => self.set(pointer, json!(values))?,
                Edit::SetInherited { field, kind, container, pod } => {
                    let value = json!({ "type": kind });
                    let given = containers_given(edits, pod, field);
                    let at = if self.belongs_to_pod(&given, container, pod, field, &value) {
                        pod
                    } else {
                        container
                    };
                    self.set_once(&format!("{at}{field}"), value)?;
                }
                Edit::SetType(pointer, kind) => self.set(pointer, json!({ "type": kind }))?,
                Edit::Spread { pod, labels } => self.set(
                    &format!("{pod}/topologySpreadConstraints"),
                    json!([{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": labels},
                    }]),
                )?,
                Edit::MountTmp { container, pod, size_limit } => {
                    self.mount_tmp(container, pod, size_limit)?;
                }
            }
        }
        Some(())
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
        // What seems to be missing elsewhere may well be there.
        if !pointer.starts_with("/spec") {
            return None;
        }
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

/// An object's spec, and nothing else of it; `None` if it is longer than any that is stored.
fn spec_of(object: &Object<'_>) -> Option<Value> {
    const LONGEST: usize = 4 << 20;
    let mut all = Map::new();
    if object.spec_text().len() > LONGEST {
        return None;
    }
    if object.has_spec() {
        all.insert("spec".to_owned(), serde_json::from_str(object.spec_text()).ok()?);
    }
    Some(Value::Object(all))
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
mod tests;
