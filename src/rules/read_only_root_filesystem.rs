//! Containers can't write their own image.

use serde::Deserialize;
use serde_json::Value;

use super::tmp_volume::{DEFAULT_SIZE_LIMIT, SizeLimit, Tmp};
use super::{Check, Context, Fix, Meta, Parameter, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::verdict::{Action, Edit, Finding};

pub(super) struct ReadOnlyRootFilesystem;

const NAME: &str = "read-only-root-filesystem";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Every container and init container has a read-only root filesystem.",
    rationale: "A process that can't write its own image can't be replaced by what an attacker drops there, and \
        nothing that matters gets lost in a layer that ends with the pod.\n\nWhere the author left the field unset it \
        becomes `true`, and in the same change a container without a writable `/tmp` gets one, since many programs die \
        without it; where something at `/tmp` can't be written, neither is done. An explicit `false` is never overridden: \
        it is refused. On Windows the field is not supported, so \
        Windows pods pass. Ephemeral containers are never judged, so `kubectl debug` works.",
    bad: include_str!("read_only_root_filesystem/bad.yaml"),
    good: include_str!("read_only_root_filesystem/good.yaml"),
    parameters: &[Parameter {
        name: "tmpSizeLimit",
        default: DEFAULT_SIZE_LIMIT,
        summary: "The sizeLimit of the volume that comes with the fix. Where the policy names one at `tmp-volume`, that is \
            the default.",
    }],
    action: Action::Deny,
    fix: Fix::Always,
    references: &["https://kubernetes.io/docs/tasks/configure-pod-container/security-context/"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Parameters {
    tmp_size_limit: SizeLimit,
}

impl Rule for ReadOnlyRootFilesystem {
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
            let (name, read_only) =
                (&place.container.name, place.container.security_context.read_only_root_filesystem);
            if read_only == Some(true) {
                continue;
            }
            let mut finding =
                context.container_finding(NAME, &place, "securityContext.readOnlyRootFilesystem");
            finding.observed = read_only.map_or("unset", |_| "false").to_owned();
            finding.required = "true".to_owned();
            finding.says = format!("lets container {name} write its root filesystem");
            finding.needs = "readOnlyRootFilesystem: true".to_owned();
            finding.remedy =
                "Set readOnlyRootFilesystem: true, and mount an emptyDir with a sizeLimit at /tmp".to_owned();
            let tmp = Tmp::of(pods.spec, place.container);
            // Together or not at all: nothing can make these two writable.
            if read_only.is_none() && !matches!(tmp, Tmp::Device | Tmp::ReadOnly) {
                let field = format!("{}/securityContext/readOnlyRootFilesystem", place.pointer);
                finding.fix.push(Edit::SetBoolean(field, true));
                if tmp == Tmp::Absent {
                    let (pod, size_limit) = (pods.pointer.clone(), self.tmp_size_limit.0.clone());
                    finding.fix.push(Edit::MountTmp { container: place.pointer, pod, size_limit });
                }
            }
            findings.push(finding);
        }
    }
}
