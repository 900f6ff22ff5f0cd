//! Containers don't run as root.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Place, Pods, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::verdict::{Action, Edit, Finding};

pub(super) struct RunAsNonRoot;

const NAME: &str = "run-as-non-root";

/// Root.
const ROOT: i64 = 0;

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "No container may run as root: runAsNonRoot is true, and no runAsUser is 0.",
    rationale: "Root in a container is root on the node as soon as anything between the two has a hole. With \
        `runAsNonRoot: true` the kubelet refuses to start an image that would run as root, whatever its Dockerfile \
        says.\n\nJudged as the restricted Pod Security profile does (its checks `runAsNonRoot` and `runAsUser`): every \
        container says `true`, or the pod does and no container says `false`, and neither names user 0. Pods with a user \
        namespace of their own (`hostUsers: false`) pass: their root is nobody outside. Windows pods don't, since the \
        field counts there too.\n\nFilled in only where a policy says `fix: true`, because an image that runs as root \
        won't start any more; then in each container, since a pod's setting would also stop `kubectl debug` with an \
        image that runs as root.",
    bad: include_str!("run_as_non_root/bad.yaml"),
    good: include_str!("run_as_non_root/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::OptIn,
    references: &["https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {}

impl Rule for RunAsNonRoot {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    /// As `policy/check_runAsNonRoot.go` and `policy/check_runAsUser.go` of k8s.io/pod-security-admission.
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(pods) = context.pods().filter(|pods| !pods.spec.has_user_namespace()) else { return };
        findings.extend(of_pod(context, &pods));
        for place in pods.containers() {
            findings.extend(of_container(context, &pods, &place));
        }
    }
}

/// What the pod says itself is wrong even if each of its containers says otherwise. It is worse the
/// more containers follow it.
fn of_pod(context: &Context<'_>, pods: &Pods<'_>) -> Vec<Finding> {
    let pod = &pods.spec.security_context;
    let mut findings = Vec::new();
    if pod.run_as_non_root == Some(false) {
        let heirs = pods.spec.containers().filter(|(_, _, c)| c.security_context.run_as_non_root.is_none());
        let mut finding = context.finding(NAME, format!("{}.securityContext.runAsNonRoot", pods.path));
        "pod".clone_into(&mut finding.place);
        finding.severity = 1 + count(heirs);
        non_root(&mut finding, "false");
        "allows its pods to run as root".clone_into(&mut finding.says);
        "Set the pod's securityContext.runAsNonRoot: true".clone_into(&mut finding.remedy);
        findings.push(finding);
    }
    if pod.run_as_user == Some(ROOT) {
        let heirs = pods.spec.containers().filter(|(_, _, c)| c.security_context.run_as_user.is_none());
        let mut finding = context.finding(NAME, format!("{}.securityContext.runAsUser", pods.path));
        "pod user".clone_into(&mut finding.place);
        finding.severity = 1 + count(heirs);
        other_user(&mut finding);
        "runs its pods as user 0".clone_into(&mut finding.says);
        findings.push(finding);
    }
    findings
}

fn of_container(context: &Context<'_>, pods: &Pods<'_>, place: &Place<'_>) -> Vec<Finding> {
    let (pod, own) = (&pods.spec.security_context, &place.container.security_context);
    let name = &place.container.name;
    let mut findings = Vec::new();
    // What it inherits from a pod that says `false` is the pod's finding.
    let is_root_allowed = match own.run_as_non_root {
        Some(non_root) => !non_root,
        None => pod.run_as_non_root.is_none(),
    };
    let user = own.run_as_user.or(pod.run_as_user);
    if is_root_allowed {
        let mut finding = context.container_finding(NAME, place, "securityContext.runAsNonRoot");
        non_root(&mut finding, own.run_as_non_root.map_or("unset", |_| "false"));
        finding.says = format!("allows container {name} to run as root");
        // As user 0 it would never start.
        if own.run_as_non_root.is_none() && user != Some(ROOT) {
            let pointer = format!("{}/securityContext/runAsNonRoot", place.pointer);
            finding.fix.push(Edit::SetBoolean(pointer, true));
        }
        findings.push(finding);
    }
    if own.run_as_user == Some(ROOT) {
        let mut finding = context.container_finding(NAME, place, "securityContext.runAsUser");
        finding.place.push_str(" user");
        other_user(&mut finding);
        finding.says = format!("runs container {name} as user 0");
        findings.push(finding);
    }
    findings
}

fn non_root(finding: &mut Finding, observed: &str) {
    observed.clone_into(&mut finding.observed);
    "true".clone_into(&mut finding.required);
    "runAsNonRoot: true".clone_into(&mut finding.needs);
    "Set securityContext.runAsNonRoot: true".clone_into(&mut finding.remedy);
}

fn other_user(finding: &mut Finding) {
    "0".clone_into(&mut finding.observed);
    "another user".clone_into(&mut finding.required);
    "a user other than 0".clone_into(&mut finding.needs);
    "Set securityContext.runAsUser to another user, or leave it to the image".clone_into(&mut finding.remedy);
}

fn count(heirs: impl Iterator) -> i64 {
    i64::try_from(heirs.count()).unwrap_or(i64::MAX - 1)
}
