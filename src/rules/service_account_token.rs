//! Pods that don't talk to the apiserver have no credentials for it.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::object::Kind;
use crate::verdict::{Action, Edit, Finding};

pub(super) struct ServiceAccountToken;

const NAME: &str = "service-account-token";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Pods set automountServiceAccountToken to false.",
    rationale: "Every container gets a token of its pod's service account, valid for the apiserver, unless somebody says \
        no. Who can read a file in the pod, by a path traversal in a web application, can then ask the cluster for \
        whatever the account may read.\n\nOnly the pod's own field counts. The ServiceAccount has one too, but whoever may \
        edit the account can change it later, the pod's field overrides it, and it isn't in the request. A pod that does \
        need a token sets the field to `false` and mounts a projected `serviceAccountToken` with the audience and the \
        lifetime that it needs in the container that needs it, or carries a waiver.\n\nFilled in only where a policy says \
        `fix: true`: a program that talks to the apiserver stops working.",
    bad: include_str!("service_account_token/bad.yaml"),
    good: include_str!("service_account_token/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::OptIn,
    references: &["https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {}

impl Rule for ServiceAccountToken {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    /// The token is mounted by the ServiceAccount admission plugin
    /// (`plugin/pkg/admission/serviceaccount/admission.go`, `shouldAutomount`).
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(pods) = context.pods() else { return };
        let automount = pods.spec.automount_service_account_token;
        if automount == Some(false) {
            return;
        }
        let mut finding = context.finding(NAME, format!("{}.automountServiceAccountToken", pods.path));
        "pod".clone_into(&mut finding.place);
        finding.observed = automount.map_or("unset", |_| "true").to_owned();
        finding.required = "false".to_owned();
        finding.says = "gives its pods a token for the apiserver".to_owned();
        finding.needs = "automountServiceAccountToken: false".to_owned();
        finding.remedy = "Set automountServiceAccountToken: false in the pod spec".to_owned();
        match automount {
            // An explicit `true` overrides a ServiceAccount that says no.
            Some(_) => finding.severity = 2,
            // A Pod has its token by now: the plugin mounts it before any webhook is asked.
            None if context.object.kind == Kind::Pod => {}
            None => {
                let pointer = format!("{}/automountServiceAccountToken", pods.pointer);
                finding.fix.push(Edit::SetBoolean(pointer, false));
            }
        }
        findings.push(finding);
    }
}
