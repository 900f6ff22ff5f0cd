//! A container that can't write its root filesystem has a bounded `/tmp`.

use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Parameter, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::object::{Container, PodSpec, Quantity, Volume, clean_path};
use crate::verdict::{Action, Edit, Finding};

pub(super) struct TmpVolume;

const NAME: &str = "tmp-volume";

/// What the fix allows a container to keep in `/tmp`.
pub(super) const DEFAULT_SIZE_LIMIT: &str = "64Mi";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Every container with a read-only root filesystem mounts an emptyDir with a sizeLimit at /tmp.",
    rationale: "A read-only root filesystem takes `/tmp` away from shells, runtimes and servers that spool to it; they \
        fail in ways that nobody connects with the setting. An emptyDir gives it back, and its sizeLimit keeps a runaway \
        process from filling the node's disk.\n\nA container without one gets the volume `plimsoll-tmp` (64Mi), each \
        container its own; it comes back as it was when a manifest without it replaces the object. Paths are compared as the kernel sees them, so `/tmp/` counts; a mount below `/tmp` doesn't \
        make `/tmp` writable. A writable volume of another kind at `/tmp`, or an emptyDir without a limit, warns.",
    bad: include_str!("tmp_volume/bad.yaml"),
    good: include_str!("tmp_volume/good.yaml"),
    parameters: &[Parameter {
        name: "sizeLimit",
        default: DEFAULT_SIZE_LIMIT,
        summary: "The sizeLimit of the volume that is filled in.",
    }],
    action: Action::Deny,
    fix: Fix::Always,
    references: &["https://kubernetes.io/docs/concepts/storage/volumes/#emptydir"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Parameters {
    size_limit: SizeLimit,
}

/// The size of a volume, as a policy writes it. It is put into objects, so it has to be a quantity
/// that the apiserver takes, and one that limits: zero is no limit.
#[derive(Clone, Debug)]
pub(super) struct SizeLimit(pub(super) String);

impl Default for SizeLimit {
    fn default() -> Self {
        Self(DEFAULT_SIZE_LIMIT.to_owned())
    }
}

impl<'de> Deserialize<'de> for SizeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = text.strip_suffix(unit).unwrap_or_default();
        let is_unit = ["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit);
        if is_unit && number.parse::<u32>().is_ok_and(|number| number > 0) {
            Ok(Self(text))
        } else {
            Err(de::Error::invalid_value(de::Unexpected::Str(&text), &"a size such as 64Mi or 1Gi"))
        }
    }
}

/// What a container has at `/tmp`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tmp {
    /// Nothing.
    Absent,
    /// A bounded emptyDir.
    Bounded,
    /// A raw block device: nothing can be mounted there.
    Device,
    /// Something writable that isn't an emptyDir.
    Other,
    /// A volume that can't be written.
    ReadOnly,
    /// An emptyDir without a limit.
    Unbounded,
    /// The same in the node's memory.
    UnboundedMemory,
}

impl Tmp {
    /// Finds what a container has at `/tmp`, or mounted over all of `/`. Of several mounts of one
    /// directory, which the apiserver can't tell by their texts, the last one lies on top: container
    /// runtimes sort them by depth and keep their order otherwise.
    pub(super) fn of(pod: &PodSpec<'_>, container: &Container<'_>) -> Self {
        if container.volume_devices.iter().any(|device| clean_path(&device.device_path) == "/tmp") {
            return Self::Device;
        }
        let mounted =
            |at: &str| container.volume_mounts.iter().rfind(|mount| clean_path(&mount.mount_path) == at);
        let Some(mount) = mounted("/tmp").or_else(|| mounted("/")) else { return Self::Absent };
        let volume = pod.volume(&mount.name);
        match volume.and_then(|volume| volume.empty_dir.as_ref()) {
            _ if mount.read_only || volume.is_some_and(Volume::is_read_only) => Self::ReadOnly,
            Some(dir) if dir.size_limit.as_ref().is_none_or(Quantity::is_zero) => match &*dir.medium {
                "Memory" => Self::UnboundedMemory,
                _ => Self::Unbounded,
            },
            Some(_) => Self::Bounded,
            None => Self::Other,
        }
    }
}

impl Rule for TmpVolume {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(pods) = context.pods().filter(|pods| !pods.spec.is_windows()) else { return };
        for place in pods.containers() {
            if place.container.security_context.read_only_root_filesystem != Some(true) {
                continue;
            }
            let tmp = Tmp::of(pods.spec, place.container);
            if tmp == Tmp::Bounded {
                continue;
            }
            let name = &place.container.name;
            let mut finding = context.container_finding(NAME, &place, "volumeMounts");
            finding.required = "an emptyDir with a sizeLimit".to_owned();
            finding.needs = "an emptyDir with a sizeLimit at /tmp".to_owned();
            finding.remedy = "Mount one there".to_owned();
            let (severity, ceiling, observed, says) = match tmp {
                Tmp::Absent => (2, Action::Deny, "nothing", "gives container {} no /tmp to write to"),
                Tmp::Device => {
                    (2, Action::Deny, "a raw block device", "gives container {} a raw block device at /tmp")
                }
                Tmp::ReadOnly => {
                    (2, Action::Deny, "a read-only volume", "gives container {} a /tmp that it can't write")
                }
                Tmp::Unbounded => (
                    1,
                    Action::Warn,
                    "an emptyDir without a sizeLimit",
                    "lets container {} fill the node's disk through /tmp",
                ),
                Tmp::UnboundedMemory => (
                    1,
                    Action::Warn,
                    "an emptyDir in memory without a sizeLimit",
                    "lets container {} fill the node's memory through /tmp",
                ),
                Tmp::Bounded | Tmp::Other => (
                    1,
                    Action::Warn,
                    "a volume of another kind",
                    "gives container {} a /tmp that is no emptyDir",
                ),
            };
            finding.severity = severity;
            finding.ceiling = ceiling;
            finding.observed = observed.to_owned();
            finding.says = says.replace("{}", name);
            if matches!(tmp, Tmp::Unbounded | Tmp::UnboundedMemory) {
                "Set sizeLimit on the emptyDir".clone_into(&mut finding.remedy);
            }
            if tmp == Tmp::Absent {
                let (pod, size_limit) = (pods.pointer.clone(), self.size_limit.0.clone());
                finding.fix.push(Edit::MountTmp { container: place.pointer, pod, size_limit });
            }
            findings.push(finding);
        }
    }
}
