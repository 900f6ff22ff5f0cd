//! A namespace can't be taken out of a policy by a label.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::object::Kind;
use crate::verdict::{Action, Finding};

pub(super) struct ProtectedNamespace;

const NAME: &str = "protected-namespace";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A change of a namespace's labels doesn't take it out of a policy's selector.",
    rationale: "A policy that selects namespaces by label is only as strong as that label: whoever may edit it could \
        opt out of every other rule. Such a change is a finding like any other: refused, and waivable by an annotation \
        on the namespace. Adding a namespace to a policy and changing other labels is free. Policies that select by name \
        need no protection.",
    bad: include_str!("protected_namespace/bad.yaml"),
    good: include_str!("protected_namespace/good.yaml"),
    parameters: &[],
    action: Action::Deny,
    fix: Fix::Never,
    references: &["https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for ProtectedNamespace {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        if context.object.kind != Kind::Namespace || !context.leaves_policy {
            return;
        }
        let mut finding = context.finding(NAME, "metadata.labels");
        finding.observed = "outside the policy's selector".to_owned();
        finding.required = "inside the policy's selector".to_owned();
        finding.says = "would leave the policy by this change of its labels".to_owned();
        finding.needs = "it to stay".to_owned();
        finding.remedy = "Keep the labels that the policy selects by".to_owned();
        findings.push(finding);
    }
}
