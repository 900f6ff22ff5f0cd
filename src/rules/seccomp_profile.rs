//! Containers have a seccomp profile.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::verdict::{Action, Edit, Finding};

pub(super) struct SeccompProfile;

const NAME: &str = "seccomp-profile";

/// The profiles that count; anything else is none.
const PROFILES: [&str; 2] = [DEFAULT, "Localhost"];

/// What is filled in.
const DEFAULT: &str = "RuntimeDefault";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Every container runs under the seccomp profile RuntimeDefault or Localhost.",
    rationale: "Without a profile a process may make every system call that the kernel has, the forgotten ones with the \
        holes included; unset means Unconfined on most nodes. The runtime's default profile blocks some sixty that \
        services don't make.\n\nJudged as the restricted Pod Security profile does: the pod or the container names a \
        profile, and neither names `Unconfined`, even if the other one is right. Windows pods pass.\n\nWhere nothing is \
        set at either level the pod gets `RuntimeDefault`. A container that is new in an old pod gets it for itself, and \
        its neighbours keep what they run with.",
    bad: include_str!("seccomp_profile/bad.yaml"),
    good: include_str!("seccomp_profile/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::Always,
    references: &[
        "https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted",
        "https://kubernetes.io/docs/tutorials/security/seccomp/",
    ],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {}

impl Rule for SeccompProfile {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    /// As `policy/check_seccompProfile_restricted.go` of k8s.io/pod-security-admission.
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(pods) = context.pods().filter(|pods| !pods.spec.is_windows()) else { return };
        let pod = pods.spec.security_context.seccomp_profile.as_ref().map(|profile| &*profile.kind);
        if let Some(kind) = pod.filter(|kind| !PROFILES.contains(kind)) {
            let mut finding =
                context.finding(NAME, format!("{}.securityContext.seccompProfile.type", pods.path));
            "pod".clone_into(&mut finding.place);
            // The more containers follow it, the worse.
            let heirs = pods.containers().filter(|p| p.container.security_context.seccomp_profile.is_none());
            finding.severity = i64::try_from(heirs.count()).unwrap_or(i64::MAX - 1) + 1;
            finding.says = format!("gives its pods the seccomp profile {}", quoted(kind));
            describe(&mut finding, kind);
            findings.push(finding);
        }
        for place in pods.containers() {
            let name = &place.container.name;
            let own = place.container.security_context.seccomp_profile.as_ref().map(|profile| &*profile.kind);
            if own.or(pod).is_some_and(|kind| own.is_none() || PROFILES.contains(&kind)) {
                continue;
            }
            let mut finding = context.container_finding(NAME, &place, "securityContext.seccompProfile.type");
            match own {
                // Unset is RuntimeDefault on a node with `seccompDefault`, this never.
                Some(kind) => {
                    finding.severity = 2;
                    finding.says = format!("gives container {name} the seccomp profile {}", quoted(kind));
                    describe(&mut finding, kind);
                }
                None => {
                    finding.says = format!("gives container {name} no seccomp profile");
                    describe(&mut finding, "unset");
                    "Set the pod's securityContext.seccompProfile.type: RuntimeDefault"
                        .clone_into(&mut finding.remedy);
                    finding.fix.push(Edit::SetInherited {
                        field: "/securityContext/seccompProfile",
                        kind: DEFAULT,
                        container: place.pointer.clone(),
                        pod: pods.pointer.clone(),
                    });
                }
            }
            findings.push(finding);
        }
    }
}

fn describe(finding: &mut Finding, observed: &str) {
    observed.clone_into(&mut finding.observed);
    finding.required = PROFILES.join(" or ");
    finding.needs = finding.required.clone();
    "Set seccompProfile.type: RuntimeDefault there".clone_into(&mut finding.remedy);
}

/// The apiserver refuses a type that isn't there, but only after we have seen it.
fn quoted(kind: &str) -> &str {
    if kind.is_empty() { "\"\"" } else { kind }
}
