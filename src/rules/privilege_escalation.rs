//! Containers can't gain privileges that they didn't start with.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::verdict::{Action, Edit, Finding};

pub(super) struct PrivilegeEscalation;

const NAME: &str = "privilege-escalation";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Every container and init container sets allowPrivilegeEscalation to false.",
    rationale: "While it isn't `false`, a program with the setuid bit makes root of any user, and `runAsNonRoot` is worth \
        little. A service has no use for `sudo`.\n\nJudged as the restricted Pod Security profile does; Windows pods, \
        where the field isn't supported, pass. Where the author left the field unset it becomes `false`, except in a \
        container that is privileged or adds CAP_SYS_ADMIN: Kubernetes refuses the two together.",
    bad: include_str!("privilege_escalation/bad.yaml"),
    good: include_str!("privilege_escalation/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::Always,
    references: &[
        "https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted",
        "https://docs.kernel.org/userspace-api/no_new_privs.html",
    ],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {}

impl Rule for PrivilegeEscalation {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    /// As `policy/check_allowPrivilegeEscalation.go` of k8s.io/pod-security-admission.
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(pods) = context.pods().filter(|pods| !pods.spec.is_windows()) else { return };
        for place in pods.containers() {
            let security = &place.container.security_context;
            if security.allow_privilege_escalation == Some(false) {
                continue;
            }
            let mut finding =
                context.container_finding(NAME, &place, "securityContext.allowPrivilegeEscalation");
            finding.observed = security.allow_privilege_escalation.map_or("unset", |_| "true").to_owned();
            finding.required = "false".to_owned();
            finding.says = format!("allows container {} to gain privileges", place.container.name);
            finding.needs = "allowPrivilegeEscalation: false".to_owned();
            finding.remedy = "Set securityContext.allowPrivilegeEscalation: false".to_owned();
            // `ValidateSecurityContext` in `pkg/apis/core/validation/validation.go` takes exactly these.
            let is_admin = security.capabilities.add.iter().any(|added| &**added == "CAP_SYS_ADMIN");
            if security.privileged {
                finding.remedy.push_str(" and take privileged: true away");
            } else if is_admin {
                finding.remedy.push_str(" and take CAP_SYS_ADMIN away");
            } else if security.allow_privilege_escalation.is_none() {
                let pointer = format!("{}/securityContext/allowPrivilegeEscalation", place.pointer);
                finding.fix.push(Edit::SetBoolean(pointer, false));
            }
            findings.push(finding);
        }
    }
}
