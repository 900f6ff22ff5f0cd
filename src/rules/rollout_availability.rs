//! A rollout leaves something running.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::availability::Availability;
use crate::facts::{RolloutStrategy, Workload};
use crate::manifest::strict::StrictError;
use crate::object::Body;
use crate::verdict::{Action, Finding};

pub(super) struct RolloutAvailability;

const NAME: &str = "rollout-availability";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A rollout leaves at least one pod available.",
    rationale: "A workload with several replicas that goes down for each release has paid for availability without \
        getting it. `Recreate` ends all pods before the first new one starts; so does a rolling update whose \
        `maxUnavailable` is as large as the count, which a scale-down can bring about too.\n\nJudged at the fewest \
        replicas that the workload may settle at, as the deployment controller computes: the surge is rounded up, what \
        may be unavailable is rounded down, and if both come to 0 one pod may be unavailable. `Recreate` with one \
        replica passes, as do declared singletons and single writers of a volume, which must not overlap, and a \
        StatefulSet with one replica, which can't do better.",
    bad: include_str!("rollout_availability/bad.yaml"),
    good: include_str!("rollout_availability/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::Never,
    references: &["https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#strategy"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for RolloutAvailability {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(workload) = context.scaled() else { return };
        let availability = context.availability(&workload);
        if availability.floor < 1 || availability.trough >= 1 || has_to_stop(context, &workload) {
            return;
        }
        findings.extend(stops(context, &workload, &availability));
    }
}

/// Whether the workload must not run twice, not even for a moment.
fn has_to_stop(context: &Context<'_>, workload: &Workload) -> bool {
    context.singleton(workload.kind, &workload.name).is_some()
        || !context.single_writer_claims(workload).is_empty()
}

fn stops(context: &Context<'_>, workload: &Workload, availability: &Availability) -> Option<Finding> {
    let floor = availability.floor;
    let (path, why, remedy) = match workload.strategy {
        RolloutStrategy::Recreate if floor >= 2 => {
            ("spec.strategy.type", "strategy Recreate".to_owned(), "Set spec.strategy: {type: RollingUpdate}")
        }
        RolloutStrategy::Rolling(update) => {
            let max = update.max_unavailable.map_or_else(String::new, |max| format!("maxUnavailable {max}"));
            let remedy = "Set spec.strategy.rollingUpdate: {maxSurge: 1, maxUnavailable: 0}";
            ("spec.strategy.rollingUpdate.maxUnavailable", max, remedy)
        }
        RolloutStrategy::Ordered(update) if floor >= 2 => {
            let max = update.max_unavailable.map_or_else(String::new, |max| format!("maxUnavailable {max}"));
            let remedy = "Set spec.updateStrategy.rollingUpdate.maxUnavailable: 1";
            ("spec.updateStrategy.rollingUpdate.maxUnavailable", max, remedy)
        }
        _ => return None,
    };
    let is_here = matches!(context.object.body, Body::Workload(_));
    let mut finding = context.finding(NAME, if is_here { path } else { context.floor_path() });
    finding.place = "trough".to_owned();
    finding.observed = format!("{why} leaves 0 of {floor}");
    finding.required = "at least 1 pod".to_owned();
    let what_ends = match floor {
        1 => "the only pod before a new one is there".to_owned(),
        2 => "both pods at once".to_owned(),
        floor => format!("all {floor} pods at once"),
    };
    finding.says = match context.autoscaler() {
        Some(_) => {
            let target = format!("{} {}", workload.kind, workload.name);
            format!("lets {target} go down to {floor}, where a rollout ends {what_ends} ({why})")
        }
        None => format!("lets a rollout end {what_ends} ({why})"),
    };
    finding.needs = "1 pod available".to_owned();
    finding.remedy = match is_here {
        true => remedy.to_owned(),
        false => format!("{remedy} in {} {}", workload.kind, workload.name),
    };
    Some(finding)
}
