//! Pod specs that the apiserver takes, however odd: several containers, fields set and unset, volumes
//! and mounts at every spelling of `/tmp`.
//!
//! Test programs include this file by `#[path = "generate/pods.rs"] mod pods;`.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

/// Where things are mounted.
const PATHS: &[&str] = &[
    "/tmp",
    "/tmp/",
    "//tmp",
    "tmp",
    "/var/../tmp",
    "/tmp/cache",
    "/tmp/..",
    "/",
    "/tmpfs",
    "/data",
    "/etc/web",
];

/// Names of volumes, Plimsoll's own among them.
const VOLUMES: &[&str] = &["tmp", "plimsoll-tmp", "plimsoll-tmp-2", "plimsoll-tmp-x", "data"];

/// Pod specs.
pub(crate) fn pod_specs() -> impl Strategy<Value = Value> {
    let os = prop_oneof![
        8 => Just(json!({})),
        1 => Just(json!({"os": {"name": "windows"}})),
        1 => Just(json!({"os": {"name": "linux"}})),
        1 => Just(json!({"nodeSelector": {"kubernetes.io/os": "windows"}})),
        1 => Just(json!({"hostUsers": false})),
        1 => Just(json!({"hostUsers": true, "os": null})),
    ];
    let level = prop_oneof![
        6 => Just(json!({})),
        1 => Just(json!({"resources": {"requests": {"cpu": 90}, "limits": {"memory": "90Gi"}}})),
        1 => Just(json!({"resources": {"requests": {"cpu": 90, "memory": "90Gi"}}})),
    ];
    let token = select(vec![json!({}), json!({}), json!(true), json!(false), Value::Null]);
    let volumes = subsequence(VOLUMES, 0..=VOLUMES.len())
        .prop_flat_map(|names| vec(source(), names.len()).prop_map(move |sources| (names.clone(), sources)));
    (os, level, token, pod_security(), volumes, vec(container(), 0..3), vec(container(), 1..4)).prop_map(
        |(os, level, token, security, (names, sources), init, app)| {
            let volumes: Vec<(&str, Value)> = names.into_iter().zip(sources).collect();
            let mut pod = os;
            merge(&mut pod, level);
            if !token.is_object() {
                pod["automountServiceAccountToken"] = token;
            }
            if !security.is_null() {
                pod["securityContext"] = security;
            }
            if !init.is_empty() {
                pod["initContainers"] = containers("init", init, &volumes);
            }
            pod["containers"] = containers("app", app, &volumes);
            let volumes = volumes.into_iter().map(|(name, mut source)| {
                source["name"] = name.into();
                source
            });
            pod["volumes"] = volumes.collect();
            make_valid(pod)
        },
    )
}

fn source() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({"emptyDir": null}),
        json!({"emptyDir": {}}),
        json!({"emptyDir": {"sizeLimit": "0"}}),
        json!({"emptyDir": {"sizeLimit": "64Mi"}}),
        json!({"emptyDir": {"sizeLimit": "1Gi"}}),
        json!({"emptyDir": {"sizeLimit": "64Mi", "medium": "Memory"}}),
        json!({"configMap": {"name": "x"}}),
        json!({"persistentVolumeClaim": {"claimName": "x"}}),
        json!({"persistentVolumeClaim": {"claimName": "x", "readOnly": true}}),
    ])
}

fn seccomp() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({"type": "RuntimeDefault"})),
        1 => Just(json!({"type": "Localhost", "localhostProfile": "a.json"})),
        1 => Just(json!({"type": "Unconfined"})),
        1 => Just(Value::Null),
    ]
}

fn user() -> impl Strategy<Value = Value> {
    select(vec![json!(0), json!(1000), json!(1000), Value::Null])
}

fn non_root() -> impl Strategy<Value = Value> {
    prop_oneof![4 => Just(json!(true)), 1 => Just(json!(false)), 1 => Just(Value::Null)]
}

/// A pod's security context, or null for none.
fn pod_security() -> impl Strategy<Value = Value> {
    let fields = (weighted(0.6, non_root()), weighted(0.3, user()), weighted(0.5, seccomp()));
    let set = fields.prop_map(|(non_root, user, seccomp)| {
        object([("runAsNonRoot", non_root), ("runAsUser", user), ("seccompProfile", seccomp)])
    });
    prop_oneof![1 => Just(Value::Null), 3 => set]
}

fn capabilities() -> impl Strategy<Value = Value> {
    let list = |of: &'static [&'static str]| prop_oneof![2 => Just(Value::Null), 3 => subsequence(of, 0..=of.len()).prop_map(|list| json!(list))];
    let drop = prop_oneof![3 => Just(json!(["ALL"])), 2 => list(&["ALL", "all", "NET_RAW"])];
    let add = list(&["NET_BIND_SERVICE", "NET_ADMIN", "CAP_SYS_ADMIN"]);
    let add = prop_oneof![3 => Just(json!(["NET_BIND_SERVICE"])), 2 => add];
    (weighted(0.8, drop), weighted(0.4, add)).prop_map(|(drop, add)| object([("drop", drop), ("add", add)]))
}

/// A container's security context, or null for none.
fn security() -> impl Strategy<Value = Value> {
    let root = select(vec![json!(true), json!(true), json!(false), Value::Null]);
    let escalation = select(vec![json!(false), json!(false), json!(false), json!(true), Value::Null]);
    let fields = (
        weighted(0.4, root),
        weighted(0.7, escalation),
        weighted(0.7, capabilities()),
        weighted(0.3, non_root()),
        weighted(0.2, user()),
        weighted(0.3, seccomp()),
    );
    let set = fields.prop_map(|(root, escalation, capabilities, non_root, user, seccomp)| {
        object([
            ("readOnlyRootFilesystem", root),
            ("allowPrivilegeEscalation", escalation),
            ("capabilities", capabilities),
            ("runAsNonRoot", non_root),
            ("runAsUser", user),
            ("seccompProfile", seccomp),
        ])
    });
    prop_oneof![1 => Just(Value::Null), 6 => set]
}

/// A container without a name, its mounts by the number of a volume.
fn container() -> impl Strategy<Value = Value> {
    let mounts = subsequence(PATHS, 0..=3).prop_flat_map(|paths| {
        vec((0..VOLUMES.len(), any::<bool>()), paths.len()).prop_map(move |how| {
            let mounts = paths.iter().zip(how);
            let mount = mounts.map(|(path, (volume, read_only))| match read_only {
                true => json!({"name": volume, "mountPath": path, "readOnly": true}),
                false => json!({"name": volume, "mountPath": path}),
            });
            mount.collect::<Vec<Value>>()
        })
    });
    let device = weighted(0.1, select(vec!["/tmp", "/tmp/", "/dev/raw"]));
    let resources = select(vec![
        json!({}),
        json!({"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}),
        json!({"resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}}),
        json!({"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}),
    ]);
    let ports = select(vec![json!({}), json!({"ports": [{"containerPort": 80}]})]);
    let probe = weighted(0.5, Just(json!({"exec": {"command": ["true"]}})));
    (security(), mounts, device, resources, ports, probe, any::<bool>()).prop_map(
        |(security, mounts, device, resources, ports, probe, sidecar)| {
            let mut container = json!({"image": "image:1"});
            merge(&mut container, resources);
            merge(&mut container, ports);
            if !security.is_null() {
                container["securityContext"] = security;
            }
            if !mounts.is_empty() {
                container["volumeMounts"] = mounts.into();
            }
            if let Some(path) = device {
                container["volumeDevices"] = json!([{"name": 0, "devicePath": path}]);
            }
            container["readinessProbe"] = probe.unwrap_or_default();
            container["restartPolicy"] = if sidecar { "Always".into() } else { Value::Null };
            container
        },
    )
}

/// Gives containers names, and their mounts volumes that are there.
fn containers(kind: &str, containers: Vec<Value>, volumes: &[(&str, Value)]) -> Value {
    let named = containers.into_iter().enumerate().map(|(index, mut container)| {
        container["name"] = format!("{kind}-{index}").into();
        let claim = volumes.iter().find(|(_, source)| source.get("persistentVolumeClaim").is_some());
        let device = container["volumeDevices"][0]["devicePath"].as_str().map(str::to_owned);
        match (claim, &device) {
            (Some((name, _)), Some(_)) => container["volumeDevices"][0]["name"] = (*name).into(),
            _ => remove(&mut container, "volumeDevices"),
        }
        let raw = container["volumeDevices"][0]["name"].as_str().map(str::to_owned);
        remove_null(&mut container, "volumeDevices");
        let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
        for mount in &mut mounts {
            let number = usize::try_from(mount["name"].as_u64().unwrap()).unwrap();
            mount["name"] =
                if volumes.is_empty() { Value::Null } else { volumes[number % volumes.len()].0.into() };
        }
        mounts.retain(|mount| {
            let (name, path) = (mount["name"].as_str(), mount["mountPath"].as_str());
            name.is_some() && (raw.is_none() || (name != raw.as_deref() && path != device.as_deref()))
        });
        match mounts.is_empty() {
            true => remove(&mut container, "volumeMounts"),
            false => container["volumeMounts"] = mounts.into(),
        }
        match (kind, container["restartPolicy"] == "Always") {
            ("init", true) => {}
            ("init", false) => remove(&mut container, "readinessProbe"),
            _ => remove(&mut container, "restartPolicy"),
        }
        container
    });
    named.collect()
}

/// Takes out what the apiserver refuses together (`pkg/apis/core/validation/validation.go`).
fn make_valid(mut pod: Value) -> Value {
    let is_windows = pod["os"]["name"] == "windows";
    let has_user_namespace = pod["hostUsers"] == false;
    for list in ["initContainers", "containers"] {
        for container in pod[list].as_array_mut().into_iter().flatten() {
            if has_user_namespace {
                remove(container, "volumeDevices");
            }
            let Some(security) = container.get_mut("securityContext") else { continue };
            if is_windows {
                keep(security, &["runAsNonRoot"]);
            }
            let add = security["capabilities"]["add"].as_array();
            let is_admin = add.is_some_and(|add| add.contains(&json!("CAP_SYS_ADMIN")));
            if is_admin && security["allowPrivilegeEscalation"] == false {
                remove(security, "allowPrivilegeEscalation");
            }
            remove_null(security, "capabilities");
            remove_null(security, "allowPrivilegeEscalation");
        }
    }
    if is_windows {
        remove(&mut pod, "resources");
        if let Some(security) = pod.get_mut("securityContext") {
            keep(security, &["runAsNonRoot"]);
        }
    }
    for list in ["initContainers", "os", "hostUsers"] {
        remove_null(&mut pod, list);
    }
    pod
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let set = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    set.collect::<Map<_, _>>().into()
}

fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else { panic!("only objects are merged") };
    into.as_object_mut().unwrap().extend(from);
}

fn remove(object: &mut Value, field: &str) {
    object.as_object_mut().unwrap().remove(field);
}

/// Reading a field that isn't there by index, to change it, puts a null there.
fn remove_null(object: &mut Value, field: &str) {
    if object.get(field).is_some_and(Value::is_null) {
        remove(object, field);
    }
}

fn keep(object: &mut Value, fields: &[&str]) {
    let fields: BTreeSet<_> = fields.iter().copied().collect();
    if let Value::Object(object) = object {
        object.retain(|name, _| fields.contains(name.as_str()));
    }
}
