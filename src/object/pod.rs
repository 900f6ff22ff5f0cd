//! Pod templates, containers and their volumes.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Text, few, few_entries, nullable, short_or_empty};

/// `PodTemplateSpec`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PodTemplate<'a> {
    /// Labels of the pods.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub metadata: TemplateMetadata<'a>,
    /// The pods.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub spec: PodSpec<'a>,
}

/// The metadata of a template.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TemplateMetadata<'a> {
    /// Labels.
    #[serde(borrow, default, deserialize_with = "few_entries")]
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
}

/// `PodSpec`, as far as it is read. Ephemeral containers can't be part of a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec<'a> {
    #[serde(borrow, default, deserialize_with = "few")]
    init_containers: Vec<Container<'a>>,
    #[serde(borrow, default, deserialize_with = "few")]
    containers: Vec<Container<'a>>,
    /// Volumes.
    #[serde(borrow, default, deserialize_with = "few")]
    pub volumes: Vec<Volume<'a>>,
    /// Security settings that containers inherit.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub security_context: PodSecurityContext<'a>,
    /// Whether the pods mount a token of their service account; unset means what the account says.
    pub automount_service_account_token: Option<bool>,
    /// What all containers of a pod need together.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub resources: Resources<'a>,
    host_users: Option<bool>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    os: PodOs<'a>,
    #[serde(borrow, default, deserialize_with = "few_entries")]
    node_selector: BTreeMap<Text<'a>, Text<'a>>,
    #[serde(default, deserialize_with = "nullable")]
    topology_spread_constraints: Vec<IgnoredAny>,
    #[serde(default, deserialize_with = "nullable")]
    affinity: Affinity,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Affinity {
    #[serde(default, deserialize_with = "nullable")]
    pod_anti_affinity: PodAntiAffinity,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodAntiAffinity {
    #[serde(default, deserialize_with = "nullable")]
    required_during_scheduling_ignored_during_execution: Vec<IgnoredAny>,
    #[serde(default, deserialize_with = "nullable")]
    preferred_during_scheduling_ignored_during_execution: Vec<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
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
    /// (`pkg/apis/core/validation`, `validateWindows`) or, with only a node selector, meaningless: the
    /// kubelet itself keeps that label of its node right, and refuses pods that select another one.
    pub fn is_windows(&self) -> bool {
        match &*self.os.name {
            "" => self.node_selector.get("kubernetes.io/os").is_some_and(|os| &**os == "windows"),
            os => os == "windows",
        }
    }

    /// Whether the pods have user namespaces of their own, in which root is nobody on the node.
    pub fn has_user_namespace(&self) -> bool {
        self.host_users == Some(false)
    }
}

/// A pod's `securityContext`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext<'a> {
    /// Whether containers may not run as root.
    pub run_as_non_root: Option<bool>,
    /// The user that containers run as.
    pub run_as_user: Option<i64>,
    /// Which system calls containers may make.
    #[serde(borrow)]
    pub seccomp_profile: Option<SeccompProfile<'a>>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// Its name, unique in the pod.
    #[serde(borrow, default, deserialize_with = "short_or_empty")]
    pub name: Text<'a>,
    /// Its security settings.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub security_context: SecurityContext<'a>,
    /// What it needs.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub resources: Resources<'a>,
    #[serde(default, deserialize_with = "nullable")]
    ports: Vec<IgnoredAny>,
    readiness_probe: Option<IgnoredAny>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    restart_policy: Text<'a>,
    /// Mounted volumes.
    #[serde(borrow, default, deserialize_with = "few")]
    pub volume_mounts: Vec<VolumeMount<'a>>,
    /// Raw block devices.
    #[serde(borrow, default, deserialize_with = "few")]
    pub volume_devices: Vec<VolumeDevice<'a>>,
}

impl Container<'_> {
    /// Whether it says which ports it listens on.
    pub fn has_ports(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Whether it says when it is ready.
    pub fn has_readiness_probe(&self) -> bool {
        self.readiness_probe.is_some()
    }

    /// Whether an init container keeps running beside the others.
    pub fn is_sidecar(&self) -> bool {
        &*self.restart_policy == "Always"
    }
}

/// A container's `securityContext`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext<'a> {
    /// Whether a process may have more privileges than its parent.
    pub allow_privilege_escalation: Option<bool>,
    /// Linux capabilities.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub capabilities: Capabilities<'a>,
    /// Whether it is as good as root on the node.
    #[serde(default, deserialize_with = "nullable")]
    pub privileged: bool,
    /// Whether the image's file system can't be written.
    pub read_only_root_filesystem: Option<bool>,
    /// Whether it may not run as root.
    pub run_as_non_root: Option<bool>,
    /// The user that it runs as.
    pub run_as_user: Option<i64>,
    /// Which system calls it may make.
    #[serde(borrow)]
    pub seccomp_profile: Option<SeccompProfile<'a>>,
}

/// Changes to the capabilities that the container runtime gives.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Capabilities<'a> {
    /// More than the runtime gives.
    #[serde(borrow, default, deserialize_with = "few")]
    pub add: Vec<Text<'a>>,
    /// Taken away.
    #[serde(borrow, default, deserialize_with = "few")]
    pub drop: Vec<Text<'a>>,
}

/// A `seccompProfile`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SeccompProfile<'a> {
    /// `RuntimeDefault`, `Localhost` or `Unconfined`.
    #[serde(borrow, default, rename = "type", deserialize_with = "nullable")]
    pub kind: Text<'a>,
}

/// A `resources` field.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Resources<'a> {
    #[serde(borrow, default, deserialize_with = "few_entries")]
    requests: BTreeMap<Text<'a>, Option<Quantity<'a>>>,
    #[serde(borrow, default, deserialize_with = "few_entries")]
    limits: BTreeMap<Text<'a>, Option<Quantity<'a>>>,
}

impl Resources<'_> {
    /// Whether there is a limit, and not of zero, which the kubelet takes for none.
    pub fn limits(&self, resource: &str) -> bool {
        is_some(self.limits.get(resource))
    }

    /// Whether anything is requested. A limit without a request is one: it becomes the request when
    /// a pod is made from the template (`pkg/apis/core/v1/defaults.go`, `SetDefaults_Pod`), which is
    /// why the template doesn't show it.
    pub fn requests(&self, resource: &str) -> bool {
        match self.requests.get(resource) {
            None => self.limits(resource),
            request => is_some(request),
        }
    }
}

fn is_some(quantity: Option<&Option<Quantity<'_>>>) -> bool {
    matches!(quantity, Some(Some(quantity)) if !quantity.is_zero())
}

/// A mount of a volume.
#[derive(Clone, Debug, Default, Deserialize)]
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeDevice<'a> {
    /// Where, as written.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub device_path: Text<'a>,
}

/// A volume. A volume without any source is an emptyDir (`pkg/apis/core/v1/defaults.go`,
/// `SetDefaults_Volume`).
#[derive(Clone, Debug, Default)]
pub struct Volume<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// Its source, if it is an emptyDir.
    pub empty_dir: Option<EmptyDir<'a>>,
    /// Its source, if it is a claim.
    pub persistent_volume_claim: Option<ClaimReference<'a>>,
    read_only: bool,
}

impl Volume<'_> {
    /// Whether the kubelet mounts it read-only whatever the mount says.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }
}

/// Written by hand, since every field but the name is a source, the unknown ones too.
impl<'de: 'a, 'a> Deserialize<'de> for Volume<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Source {
            #[serde(default, rename = "readOnly", deserialize_with = "nullable")]
            read_only: bool,
        }

        struct VolumeVisitor;

        impl<'de> Visitor<'de> for VolumeVisitor {
            type Value = Volume<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a volume")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Volume<'de>, M::Error> {
                let mut volume = Volume::default();
                let mut has_source = false;
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    match &*key {
                        "name" => volume.name = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "emptyDir" => {
                            volume.empty_dir = map.next_value()?;
                            has_source |= volume.empty_dir.is_some();
                        }
                        "persistentVolumeClaim" => {
                            volume.persistent_volume_claim = map.next_value()?;
                            let claim = volume.persistent_volume_claim.as_ref();
                            has_source |= claim.is_some();
                            volume.read_only |= claim.is_some_and(|claim| claim.read_only);
                        }
                        "configMap" | "secret" | "projected" | "downwardAPI" | "image" => {
                            let is_there = map.next_value::<Option<IgnoredAny>>()?.is_some();
                            has_source |= is_there;
                            volume.read_only |= is_there;
                        }
                        _ => {
                            let source = map.next_value::<Option<Source>>()?;
                            has_source |= source.is_some();
                            volume.read_only |= source.is_some_and(|source| source.read_only);
                        }
                    }
                }
                if !has_source {
                    volume.empty_dir = Some(EmptyDir::default());
                }
                Ok(volume)
            }
        }

        deserializer.deserialize_map(VolumeVisitor)
    }
}

/// An emptyDir.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir<'a> {
    /// `Memory`, or empty for the node's disk.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub medium: Text<'a>,
    /// The most that it may hold, a quantity.
    #[serde(borrow)]
    pub size_limit: Option<Quantity<'a>>,
}

/// A quantity as written. The apiserver has checked it; a zero sizeLimit means no limit.
#[derive(Clone, Debug, Deserialize)]
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
                // What is too small for a float is none for the apiserver, which rounds up.
                let number = text.trim_start_matches(['+', '-']);
                let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
                let digits = number.get(..end).unwrap_or_default();
                digits.contains('0') && digits.bytes().all(|byte| matches!(byte, b'0' | b'.'))
            }
            Self::Number(number) => *number == 0.0,
        }
    }
}

/// A volume's reference to a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimReference<'a> {
    /// The claim's name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub claim_name: Text<'a>,
    /// Whether it is mounted read-only everywhere.
    #[serde(default, deserialize_with = "nullable")]
    pub read_only: bool,
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
    fn a_volume_without_a_source_is_an_empty_dir() {
        let read = |text: &'static str| serde_json::from_str::<Volume<'_>>(text).unwrap();
        for text in [r#"{"name":"v"}"#, r#"{"name":"v","emptyDir":null}"#, r#"{"configMap":null,"name":"v"}"#]
        {
            assert!(read(text).empty_dir.is_some(), "{text}");
        }
        let nfs = read(r#"{"nfs":{"server":"a","path":"/","readOnly":true},"name":"v"}"#);
        assert!(nfs.empty_dir.is_none() && nfs.is_read_only());
        assert!(!read(r#"{"name":"v","hostPath":{"path":"/"}}"#).is_read_only());
        assert!(
            read(r#"{"name":"v","persistentVolumeClaim":{"claimName":"c","readOnly":true}}"#).is_read_only()
        );
    }

    #[test]
    fn a_limit_is_a_request_unless_there_is_one() {
        let read = |text: &'static str| serde_json::from_str::<Resources<'_>>(text).unwrap();
        assert!(read(r#"{"limits":{"cpu":1}}"#).requests("cpu"));
        assert!(!read(r#"{"limits":{"cpu":1},"requests":{"cpu":"0"}}"#).requests("cpu"));
        assert!(!read(r#"{"limits":{"cpu":0},"requests":null}"#).requests("cpu"));
        assert!(!read(r#"{"limits":{"cpu":null}}"#).limits("cpu"));
        assert!(!read(r#"{"requests":{"cpu":"100m"}}"#).limits("cpu"));
    }

    #[test]
    fn a_zero_limit_is_no_limit() {
        let zero = |text: &str| serde_json::from_str::<Quantity<'_>>(text).unwrap().is_zero();
        assert!(zero("\"0\"") && zero("\"0Mi\"") && zero("0") && zero("\"0.0G\""));
        assert!(!zero("\"64Mi\"") && !zero("67108864") && !zero("\"1e3\"") && !zero("\"1e-400\""));
    }
}
