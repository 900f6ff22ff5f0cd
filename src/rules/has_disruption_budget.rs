//! What runs more than once has a disruption budget.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::facts::Workload;
use crate::manifest::strict::StrictError;
use crate::object::Body;
use crate::verdict::{Action, Finding};

pub(super) struct HasDisruptionBudget;

const NAME: &str = "has-disruption-budget";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A workload with 2 replicas or more has a PodDisruptionBudget.",
    rationale: "Replicas protect against losing one pod. Without a budget nothing keeps a drain, or two at a time, from \
        evicting all of them at once: an upgrade of the nodes becomes an outage of the workload. `maxUnavailable: 1` is \
        right for nearly everything and stays right when the workload is scaled.\n\nThe rule warns: a budget is \
        usually applied after its workload. It is told wherever the floor becomes 2 (the workload, its `scale`, its \
        autoscaler), and to a budget that stops selecting a workload. Deleting a budget is never refused.",
    bad: include_str!("has_disruption_budget/bad.yaml"),
    good: include_str!("has_disruption_budget/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::Never,
    references: &["https://kubernetes.io/docs/tasks/run-application/configure-pdb/"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for HasDisruptionBudget {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        if context.budget().is_some() {
            findings.extend(forsaken(context));
        } else if let Some(workload) = context.replicated()
            && context.budgets_of(&workload.pod_labels).is_empty()
        {
            findings.push(unprotected(context, &workload));
        }
    }
}

fn unprotected(context: &Context<'_>, workload: &Workload) -> Finding {
    let mut finding = context.finding(NAME, context.floor_path());
    finding.place = "budget".to_owned();
    finding.observed = "no budget".to_owned();
    finding.required = "a budget".to_owned();
    finding.says = match context.autoscaler() {
        Some(_) => {
            format!("scales {} {}, which has no PodDisruptionBudget", workload.kind, workload.name)
        }
        None => "has no PodDisruptionBudget that selects its pods".to_owned(),
    };
    finding.needs = "one".to_owned();
    finding.remedy = "Add one with maxUnavailable: 1".to_owned();
    finding
}

/// A workload that the budget used to select and that no budget selects any more.
fn forsaken(context: &Context<'_>) -> Option<Finding> {
    let Body::Budget(old) = &context.old?.body else { return None };
    let selected = context.selected(old.selector.as_ref());
    let forsaken = selected.iter().find(|workload| {
        context.availability(workload).floor >= 2 && context.budgets_of(&workload.pod_labels).is_empty()
    })?;
    let mut finding = context.finding(NAME, "spec.selector");
    finding.observed = format!("{} {} has no budget", forsaken.kind, forsaken.name);
    finding.required = "a budget".to_owned();
    finding.says = format!(
        "no longer selects {} {}, which is left without a PodDisruptionBudget",
        forsaken.kind, forsaken.name
    );
    finding.needs = "one for it".to_owned();
    finding.remedy = "Check spec.selector, or add another budget".to_owned();
    Some(finding)
}
