//! Workloads at zero are told to whoever cleans up.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::verdict::{Action, Finding};

pub(super) struct InactiveWorkload;

const NAME: &str = "inactive-workload";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A workload isn't left scaled to zero (told by scan only).",
    rationale: "A workload at 0 replicas promises nothing, so no other rule minds it, and nobody notices it either: its \
        configuration ages, its image is never patched, and one day somebody scales it up. Only `plimsoll scan` tells of \
        it, as something to clean up; the webhook and `check` never do, since scaling to zero is a fine thing to ask for. A \
        workload that a ScaledObject may start again by itself is not inactive. Kubernetes doesn't keep since when a \
        workload is at 0, so the rule can't tell a week from an hour.",
    bad: include_str!("inactive_workload/bad.yaml"),
    good: include_str!("inactive_workload/good.yaml"),
    parameters: &[],
    action: Action::Audit,
    fix: Fix::Never,
    references: &[
        "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#scaling-a-deployment",
    ],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for InactiveWorkload {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(workload) = context.workload().filter(|_| context.is_stored) else { return };
        if !context.availability(workload).is_inactive() {
            return;
        }
        let mut finding = context.finding(NAME, "spec.replicas");
        finding.ceiling = Action::Warn;
        finding.observed = "0".to_owned();
        finding.required = "1".to_owned();
        finding.says = "is scaled to zero".to_owned();
        finding.needs = "workloads that run".to_owned();
        finding.remedy = "Delete it if nobody is going to start it again".to_owned();
        findings.push(finding);
    }
}
