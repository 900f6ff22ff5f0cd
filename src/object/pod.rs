//! Pod templates, containers and their volumes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Text, nullable};

/// `PodTemplateSpec`.
#[derive(Debug, Default, Deserialize)]
pub struct PodTemplate<'a> {
    /// Labels of the pods.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub metadata: TemplateMetadata<'a>,
    /// The pods.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub spec: PodSpec<'a>,
}

/// The metadata of a template.
#[derive(Debug, Default, Deserialize)]
pub struct TemplateMetadata<'a> {
    /// Labels.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
}

/// `PodSpec`, as far as it is read. Ephemeral containers can't be part of a template.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    init_containers: Vec<Container<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    containers: Vec<Container<'a>>,
    /// Volumes.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub volumes: Vec<Volume<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    os: PodOs<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    node_selector: BTreeMap<Text<'a>, Text<'a>>,
    /// What the pod as a whole asks for and may use.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub resources: Resources<'a>,
    #[serde(default, deserialize_with = "nullable")]
    topology_spread_constraints: Vec<IgnoredAny>,
    #[serde(default, deserialize_with = "nullable")]
    affinity: Affinity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Affinity {
    #[serde(default, deserialize_with = "nullable")]
    pod_anti_affinity: PodAntiAffinity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodAntiAffinity {
    #[serde(default, deserialize_with = "nullable")]
    required_during_scheduling_ignored_during_execution: Vec<IgnoredAny>,
    #[serde(default, deserialize_with = "nullable")]
    preferred_during_scheduling_ignored_during_execution: Vec<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
struct PodOs<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
}

/// Which list of the pod spec a container is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ContainerKind {
    /// `containers`
    App,
    /// `initContainers`, sidecars included
    Init,
}

impl ContainerKind {
    /// The field's name.
    pub fn field(self) -> &'static str {
        match self {
            Self::App => "containers",
            Self::Init => "initContainers",
        }
    }
}

impl<'a> PodSpec<'a> {
    /// Every container with its list and index, init containers first as they run first.
    pub fn containers(&self) -> impl Iterator<Item = (ContainerKind, usize, &Container<'a>)> {
        let init = self.init_containers.iter().enumerate().map(|(i, c)| (ContainerKind::Init, i, c));
        init.chain(self.containers.iter().enumerate().map(|(i, c)| (ContainerKind::App, i, c)))
    }

    /// The volume of a name.
    pub fn volume(&self, name: &str) -> Option<&Volume<'a>> {
        self.volumes.iter().find(|volume| &*volume.name == name)
    }

    /// Whether the author said how the pods are to keep apart: by topology or by anti-affinity.
    pub fn is_spread(&self) -> bool {
        let anti_affinity = &self.affinity.pod_anti_affinity;
        !self.topology_spread_constraints.is_empty()
            || !anti_affinity.required_during_scheduling_ignored_during_execution.is_empty()
            || !anti_affinity.preferred_during_scheduling_ignored_during_execution.is_empty()
    }

    /// Whether the pods run on Windows, where Linux security fields are invalid
    /// (`pkg/apis/core/validation`, `validateWindows`) or, with only a node selector, meaningless.
    pub fn is_windows(&self) -> bool {
        &*self.os.name == "windows"
            || self.node_selector.get("kubernetes.io/os").is_some_and(|os| &**os == "windows")
    }
}

/// A container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// Its name, unique in the pod.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    /// Its security settings.
    #[serde(default, deserialize_with = "nullable")]
    pub security_context: SecurityContext,
    /// Mounted volumes.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub volume_mounts: Vec<VolumeMount<'a>>,
    /// Raw block devices.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub volume_devices: Vec<VolumeDevice<'a>>,
    /// What it asks for and may use.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub resources: Resources<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    restart_policy: Text<'a>,
}

impl Container<'_> {
    /// Whether it is an init container that stays: a sidecar.
    pub fn is_restarted(&self) -> bool {
        &*self.restart_policy == "Always"
    }
}

/// What a container or a pod asks for and may use, by resource.
#[derive(Debug, Default, Deserialize)]
pub struct Resources<'a> {
    /// What it asks for.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub requests: BTreeMap<Text<'a>, Quantity<'a>>,
    /// What it may use.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub limits: BTreeMap<Text<'a>, Quantity<'a>>,
}

impl Resources<'_> {
    /// Whether a resource is asked for. A limit alone becomes the request too
    /// (`pkg/apis/core/v1/defaults.go`, `SetDefaults_Pod`).
    pub fn asks_for(&self, resource: &str) -> bool {
        self.requests.contains_key(resource) || self.limits.contains_key(resource)
    }
}

/// A container's `securityContext`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    /// Whether the image's file system can't be written.
    pub read_only_root_filesystem: Option<bool>,
}

/// A mount of a volume.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount<'a> {
    /// The volume's name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    /// Where, as written.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub mount_path: Text<'a>,
    /// Whether it can't be written.
    #[serde(default, deserialize_with = "nullable")]
    pub read_only: bool,
}

/// A raw block device.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeDevice<'a> {
    /// Where, as written.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub device_path: Text<'a>,
}

/// A volume. A volume without any source is an emptyDir (`pkg/apis/core/v1/defaults.go`,
/// `SetDefaults_Volume`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume<'a> {
    /// Its name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    /// Its source, if it is an emptyDir.
    #[serde(borrow)]
    pub empty_dir: Option<EmptyDir<'a>>,
    /// Its source, if it is a claim.
    #[serde(borrow)]
    pub persistent_volume_claim: Option<ClaimReference<'a>>,
    #[serde(rename = "configMap")]
    config_map: Option<IgnoredAny>,
    secret: Option<IgnoredAny>,
    projected: Option<IgnoredAny>,
    #[serde(rename = "downwardAPI")]
    downward_api: Option<IgnoredAny>,
    image: Option<IgnoredAny>,
}

impl Volume<'_> {
    /// Whether the kubelet mounts it read-only whatever the mount says.
    pub fn is_read_only(&self) -> bool {
        self.config_map.is_some()
            || self.secret.is_some()
            || self.projected.is_some()
            || self.downward_api.is_some()
            || self.image.is_some()
    }
}

/// An emptyDir.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir<'a> {
    /// The most that it may hold, a quantity.
    #[serde(borrow)]
    pub size_limit: Option<Quantity<'a>>,
}

/// A quantity as written. The apiserver has checked it; a zero sizeLimit means no limit.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Quantity<'a> {
    /// `64Mi`
    Text(#[serde(borrow)] Text<'a>),
    /// `67108864`
    Number(f64),
}

impl Quantity<'_> {
    /// Whether it is zero, in whatever unit.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Text(text) => {
                let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                number.parse::<f64>().is_ok_and(|number| number == 0.0)
            }
            Self::Number(number) => *number == 0.0,
        }
    }
}

/// A volume's reference to a claim.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimReference<'a> {
    /// The claim's name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub claim_name: Text<'a>,
}

/// A mount path without `.`, `..` and doubled or trailing slashes, as Go's `path.Clean` gives it; the
/// apiserver compares mount paths as plain strings, the kernel doesn't. The kubelet takes a relative
/// path as relative to the root.
pub fn clean_path(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, clean) in [
            ("/tmp", "/tmp"),
            ("/tmp/", "/tmp"),
            ("//tmp/.", "/tmp"),
            ("/tmp/..", "/"),
            ("/var/../tmp", "/tmp"),
            ("/../..", "/"),
            ("tmp", "/tmp"),
            ("/tmp/cache", "/tmp/cache"),
            ("", "/"),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
    }

    #[test]
    fn a_zero_limit_is_no_limit() {
        let zero = |text: &str| serde_json::from_str::<Quantity<'_>>(text).unwrap().is_zero();
        assert!(zero("\"0\"") && zero("\"0Mi\"") && zero("0") && zero("\"0.0G\""));
        assert!(!zero("\"64Mi\"") && !zero("67108864") && !zero("\"1e3\""));
    }
}
