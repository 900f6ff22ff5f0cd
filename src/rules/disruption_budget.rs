//! Disruption budgets leave room for a drain and keep something running.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::availability::{Availability, Disruption};
use crate::facts::{Budget, Workload};
use crate::manifest::strict::StrictError;
use crate::object::Body;
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
        its eviction fail. A budget that selects nothing warns, since its workload may be about to come, unless it would \
        block every eviction whatever it selected. A workload at 0 has nothing to evict; one that KEDA takes down to 0 \
        is judged, with a warning, at the fewest pods that run.",
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
                findings.extend(never_allows(context, budget));
                findings.push(selects_nothing(context, budget));
            } else {
                findings.extend(judge(context, budget, None));
                findings.extend(selected.iter().filter_map(|workload| overlap(context, workload)));
            }
            return;
        }
        let Some(workload) = context.scaled() else { return };
        if context.availability(&workload).is_inactive() {
            return;
        }
        for budget in context.budgets_of(&workload.pod_labels) {
            findings.extend(judge(context, &budget, Some(&workload)));
        }
        // An autoscaler makes pods fall under two budgets only where it starts what is switched off.
        if context.workload().is_some() || workload.replicas == 0 || kept_off(context) {
            findings.extend(overlap(context, &workload));
        }
    }
}

/// Whether the autoscaler allowed no pod before, however many are left.
fn kept_off(context: &Context<'_>) -> bool {
    let before = context.old.map(|old| &old.body);
    matches!(before, Some(Body::Autoscaler(before)) if before.maximum() <= 0)
}

/// How many pods a budget selects at the fewest.
struct Selected {
    pods: i64,
    /// Whether all of them are gone while no trigger is active, so that these are the fewest that run.
    scales_to_zero: bool,
}

impl Selected {
    fn of(context: &Context<'_>, budget: &Budget) -> Self {
        let selected = context.selected(budget.selector.as_ref());
        let all: Vec<_> = selected.iter().map(|workload| context.availability(workload)).collect();
        let floors = all.iter().map(|a| a.floor).fold(0, i64::saturating_add);
        if floors > 0 {
            return Self { pods: floors, scales_to_zero: false };
        }
        let running = all.iter().map(Availability::fewest_running).fold(0, i64::saturating_add);
        Self { pods: running, scales_to_zero: true }
    }
}

/// Judges a budget at the fewest pods that its workloads may settle at: at the budget itself, or at
/// what changes how many pods a workload has.
fn judge(context: &Context<'_>, budget: &Budget, at: Option<&Workload>) -> Option<Finding> {
    let Selected { pods, scales_to_zero } = Selected::of(context, budget);
    if pods <= 0 {
        return None;
    }
    let disruption = Disruption::of(budget, pods);
    let path = if at.is_some() { context.floor_path() } else { budget_path(budget) };
    // Room for other pods is another promise, so the place names whose.
    let place = at.map_or_else(
        || format!("room for {}", names(context, budget)),
        |_| format!("budget {}", budget.name),
    );
    let terms = match at {
        Some(_) => format!("PodDisruptionBudget {} with {}", budget.name, terms(budget)),
        None => terms(budget),
    };
    let count = if pods == 1 { "the only pod".to_owned() } else { format!("{pods} pods") };
    let mut finding = context.finding(NAME, path);
    if disruption.allowed < 1 {
        finding.place = place;
        finding.severity = lack(disruption, pods);
        finding.observed = format!("{terms} allows 0 disruptions of {count}");
        finding.says = match at {
            None => format!("allows no disruption of {count} with {terms}"),
            Some(_) => format!("leaves {count}, of which {terms} lets none go"),
        };
        finding.required = "at least 1 allowed disruption".to_owned();
        finding.needs = "room to evict 1".to_owned();
        finding.remedy = match at {
            None => more_room(budget, pods),
            Some(workload) => more_pods(context, budget, workload, pods),
        };
        // While nothing runs there is nothing to evict. And a new autoscaler is not to blame for a
        // budget that left no more room without it.
        if scales_to_zero || at.is_some_and(|workload| was_so(context, budget, workload, pods)) {
            finding.ceiling = Action::Warn;
        }
        return Some(finding);
    }
    if pods >= 2 && disruption.desired < 1 {
        finding.place = format!("{place} keeps nothing");
        finding.observed = format!("{terms} keeps 0 of {count}");
        finding.says = match at {
            None => format!("lets all of {count} go at once with {terms}"),
            Some(_) => format!("leaves {count}, all of which {terms} lets go at once"),
        };
        finding.required = "at least 1 pod kept".to_owned();
        finding.needs = "1 pod kept".to_owned();
        finding.remedy = match at {
            None => "Set spec.maxUnavailable: 1 and no minAvailable".to_owned(),
            Some(_) => format!("Set maxUnavailable: 1 in PodDisruptionBudget {}", budget.name),
        };
        // Whoever adds pods to a budget that was right for one takes no pod from anybody.
        if at.is_some_and(|workload| !shrinks(context, workload)) {
            finding.ceiling = Action::Warn;
        }
        return Some(finding);
    }
    None
}

/// The workloads that a budget selects, in a fixed order.
fn names(context: &Context<'_>, budget: &Budget) -> String {
    let selected = context.selected(budget.selector.as_ref());
    let mut names: Vec<String> = selected.iter().map(|w| format!("{} {}", w.kind, w.name)).collect();
    names.sort_unstable();
    names.join(", ")
}

/// How many pods are lacking until one may go.
fn lack(disruption: Disruption, pods: i64) -> i64 {
    disruption.desired.saturating_sub(pods).saturating_add(1).max(1)
}

/// Whether a budget allowed nothing, by as much, before an autoscaler came.
fn was_so(context: &Context<'_>, budget: &Budget, workload: &Workload, pods: i64) -> bool {
    if context.autoscaler().is_none() || context.old.is_some() {
        return false;
    }
    let others = pods.saturating_sub(context.availability(workload).fewest_running());
    let without = others.saturating_add(workload.replicas);
    let before = Disruption::of(budget, without);
    workload.replicas > 0
        && before.allowed < 1
        && lack(before, without) >= lack(Disruption::of(budget, pods), pods)
}

/// Whether the request may take pods away: it sets fewer replicas, or lets an autoscaler set fewer.
fn shrinks(context: &Context<'_>, workload: &Workload) -> bool {
    let before = match context.old.map(|old| &old.body) {
        _ if context.autoscaler().is_none() => context.previous_replicas,
        Some(Body::Autoscaler(old)) => Some(old.minimum().max(workload.replicas)),
        _ => Some(workload.replicas),
    };
    before.is_some_and(|before| context.availability(workload).floor < before)
}

/// What the author of a budget can do about it.
fn more_room(budget: &Budget, pods: i64) -> String {
    match (pods, budget.min_available) {
        (1, Some(_)) => "Set spec.minAvailable: 0, or run 2 replicas".to_owned(),
        (_, None) => "Set spec.maxUnavailable: 1".to_owned(),
        (_, Some(_)) => "Set spec.maxUnavailable: 1 and no minAvailable".to_owned(),
    }
}

/// What can be done about it where the number of pods is decided.
fn more_pods(context: &Context<'_>, budget: &Budget, workload: &Workload, pods: i64) -> String {
    let Some(fewest) = Disruption::fewest_pods(budget) else {
        return format!("Set maxUnavailable: 1 in PodDisruptionBudget {}", budget.name);
    };
    let availability = context.availability(workload);
    // Several workloads may share the budget; this one makes up for what is lacking.
    let replicas = availability.fewest_running().saturating_add(fewest.saturating_sub(pods));
    match (&availability.autoscaler, context.autoscaler()) {
        (_, Some(_)) => format!("Set {}: {replicas}", context.floor_path()),
        (Some(autoscaler), None) => {
            format!("Raise the minimum of {} {} to {replicas}", autoscaler.kind, autoscaler.name)
        }
        (None, None) => format!("Keep {replicas} replicas"),
    }
}

/// What is wrong with a budget whatever it selects.
fn never_allows(context: &Context<'_>, budget: &Budget) -> Option<Finding> {
    if budget.selector.is_none() || Disruption::fewest_pods(budget).is_some() {
        return None;
    }
    let terms = terms(budget);
    let mut finding = context.finding(NAME, budget_path(budget));
    finding.place = "room".to_owned();
    finding.observed = format!("{terms} never allows a disruption");
    finding.says = format!("never allows a disruption with {terms}");
    finding.required = "at least 1 allowed disruption".to_owned();
    finding.needs = "room to evict 1".to_owned();
    finding.remedy = more_room(budget, 2);
    Some(finding)
}

/// The eviction API refuses a pod that two budgets select (`registry/core/pod/storage/eviction.go`).
fn overlap(context: &Context<'_>, workload: &Workload) -> Option<Finding> {
    let budgets = context.budgets_of(&workload.pod_labels);
    if budgets.len() < 2 || context.availability(workload).is_inactive() {
        return None;
    }
    let names: Vec<&str> = budgets.iter().map(|budget| budget.name.as_str()).collect();
    let names = names.join(", ");
    let path = match context.object.body {
        Body::Budget(_) => "spec.selector",
        Body::Autoscaler(_) | Body::Scale(_) => context.floor_path(),
        _ => "spec.template.metadata.labels",
    };
    let mut finding = context.finding(NAME, path);
    finding.place = format!("overlap of {names} over {} {}", workload.kind, workload.name);
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
