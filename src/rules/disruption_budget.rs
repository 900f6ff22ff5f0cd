//! Disruption budgets leave room for a drain and keep something running.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::availability::Disruption;
use crate::facts::{Budget, Workload};
use crate::manifest::strict::StrictError;
use crate::verdict::{Action, Finding};

pub(super) struct DisruptionBudget;

const NAME: &str = "disruption-budget";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A PodDisruptionBudget allows a disruption at the fewest replicas and keeps a pod running.",
    rationale: "A budget that allows nothing blocks every node drain until somebody deletes it at night; one that \
        allows everything protects nothing. Both depend on how many pods there are, so the rule is judged wherever \
        that can change: at the budget, at the workload and its `scale`, and at the autoscaler, and whoever breaks it \
        is told.\n\nThe arithmetic is the disruption controller's: percentages of both `minAvailable` and \
        `maxUnavailable` are rounded up, the count is that of all workloads whose pods are selected, at the fewest \
        replicas that each may settle at. A budget with neither field allows nothing. Two budgets over one pod make \
        its eviction fail. A budget that selects nothing warns: its workload may be about to come. A workload at 0 has \
        nothing to evict.",
    bad: include_str!("disruption_budget/bad.yaml"),
    good: include_str!("disruption_budget/good.yaml"),
    parameters: &[],
    action: Action::Deny,
    fix: Fix::Never,
    references: &["https://kubernetes.io/docs/tasks/run-application/configure-pdb/"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for DisruptionBudget {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        if let Some(budget) = context.budget() {
            let selected = context.selected(budget.selector.as_ref());
            if selected.is_empty() {
                findings.push(selects_nothing(context, budget));
            } else {
                let path = budget_path(budget);
                findings.extend(judge(context, budget, path, "room"));
                findings.extend(selected.iter().find_map(|workload| overlap(context, workload)));
            }
            return;
        }
        let workload = match (context.workload(), context.autoscaler()) {
            (Some(workload), _) => Some(std::sync::Arc::new(workload.clone())),
            (None, Some(autoscaler)) => context.target(autoscaler),
            (None, None) => None,
        };
        let Some(workload) = workload else { return };
        if context.range(&workload).is_inactive() {
            return;
        }
        let path = match &context.object.body {
            crate::object::Body::Autoscaler(spec) => spec.minimum_path(),
            _ => "spec.replicas",
        };
        for budget in context.budgets_of(&workload.pod_labels) {
            findings.extend(judge(context, &budget, path, &format!("budget {}", budget.name)));
        }
        if context.workload().is_some() {
            findings.extend(overlap(context, &workload));
        }
    }
}

/// Judges a budget at the fewest pods that its workloads may settle at.
fn judge(context: &Context<'_>, budget: &Budget, path: &str, place: &str) -> Option<Finding> {
    let selected = context.selected(budget.selector.as_ref());
    let pods = selected.iter().map(|workload| context.range(workload).floor).fold(0, i64::saturating_add);
    if pods <= 0 {
        return None;
    }
    let disruption = Disruption::of(budget, pods);
    let at_budget = context.budget().is_some();
    let mut finding = context.finding(NAME, path);
    finding.place = place.to_owned();
    let terms = terms(budget);
    let whose = if at_budget { String::new() } else { format!(" of PodDisruptionBudget {}", budget.name) };
    let count = if pods == 1 { "the only pod".to_owned() } else { format!("{pods} pods") };
    if disruption.allowed < 1 {
        finding.severity = disruption.desired.saturating_sub(pods).saturating_add(1).max(1);
        finding.observed = format!("{terms}{whose} allows 0 disruptions of {count}");
        finding.says = if at_budget {
            format!("allows no disruption of {count} with {terms}")
        } else {
            format!("leaves {count}, of which {terms}{whose} allows no disruption")
        };
        finding.required = "at least 1 allowed disruption".to_owned();
        finding.needs = "room to evict 1".to_owned();
        finding.remedy = remedy(at_budget, pods, budget, disruption);
        return Some(finding);
    }
    if at_budget && pods >= 2 && disruption.desired < 1 {
        finding.place = "keeps nothing".to_owned();
        finding.observed = format!("{terms} keeps 0 of {count}");
        finding.says = format!("lets all of {count} go at once with {terms}");
        finding.required = "at least 1 pod kept".to_owned();
        finding.needs = "1 pod kept".to_owned();
        finding.remedy = "Set spec.maxUnavailable: 1".to_owned();
        return Some(finding);
    }
    None
}

fn remedy(at_budget: bool, pods: i64, budget: &Budget, disruption: Disruption) -> String {
    match (at_budget, pods) {
        (true, 1) => "Set spec.minAvailable: 0, or run 2 replicas".to_owned(),
        (true, _) => "Set spec.maxUnavailable: 1 and no minAvailable".to_owned(),
        (false, _) if budget.min_available.is_some() => {
            format!("Keep {} replicas", disruption.desired.saturating_add(1))
        }
        (false, _) => format!("Set maxUnavailable: 1 in PodDisruptionBudget {}", budget.name),
    }
}

/// The eviction API refuses a pod that two budgets select (`registry/core/pod/storage/eviction.go`).
fn overlap(context: &Context<'_>, workload: &Workload) -> Option<Finding> {
    let budgets = context.budgets_of(&workload.pod_labels);
    if budgets.len() < 2 {
        return None;
    }
    let names: Vec<&str> = budgets.iter().map(|budget| budget.name.as_str()).collect();
    let names = names.join(", ");
    let path = if context.budget().is_some() { "spec.selector" } else { "spec.template.metadata.labels" };
    let mut finding = context.finding(NAME, path);
    finding.place = "overlap".to_owned();
    finding.severity = i64::try_from(budgets.len()).unwrap_or(i64::MAX);
    finding.observed = names.clone();
    finding.required = "one budget".to_owned();
    finding.says =
        format!("makes pods of {} {} fall under the budgets {names}", workload.kind, workload.name);
    finding.needs = "one budget per pod, since two make evictions fail".to_owned();
    finding.remedy = "Narrow a selector or delete a budget".to_owned();
    Some(finding)
}

fn selects_nothing(context: &Context<'_>, budget: &Budget) -> Finding {
    let mut finding = context.finding(NAME, "spec.selector");
    finding.ceiling = Action::Warn;
    finding.place = "selects nothing".to_owned();
    finding.observed = "no workload".to_owned();
    finding.required = "a workload".to_owned();
    finding.says = match budget.selector {
        Some(_) => "selects no Deployment or StatefulSet that is there yet".to_owned(),
        None => "has no selector, so it selects nothing".to_owned(),
    };
    finding.needs = "a workload to protect".to_owned();
    finding.remedy = "Check spec.selector, or apply the workload next".to_owned();
    finding
}

fn budget_path(budget: &Budget) -> &'static str {
    match (budget.max_unavailable, budget.min_available) {
        (Some(_), _) => "spec.maxUnavailable",
        (None, Some(_)) => "spec.minAvailable",
        (None, None) => "spec",
    }
}

fn terms(budget: &Budget) -> String {
    match (budget.max_unavailable, budget.min_available) {
        (Some(max), _) => format!("maxUnavailable {max}"),
        (None, Some(min)) => format!("minAvailable {min}"),
        (None, None) => "neither minAvailable nor maxUnavailable".to_owned(),
    }
}
