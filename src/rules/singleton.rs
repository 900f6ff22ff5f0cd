//! What must run once never runs twice.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::availability::rollout_peak;
use crate::facts::{RolloutStrategy, Workload};
use crate::manifest::strict::StrictError;
use crate::object::{Body, Intent, Kind};
use crate::verdict::{Action, Edit, Finding};

pub(super) struct Singleton;

const NAME: &str = "singleton";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A declared singleton has at most 1 replica, also while it is rolled out or autoscaled.",
    rationale: "A scheduler without leader election that runs twice does everything twice: two digests, two \
        bookings, two payments. A policy declares singletons under `spec.singletons.workloads`, a team declares \
        its own with the annotation `plimsoll.dev/singleton` (`\"true\"` or the reason).\n\nOne replica is not \
        enough: a rolling update with a surge starts the second pod before the first has ended, so the strategy \
        must be `Recreate`. With `maxSurge: 0` the old pod may still be terminating when the new one starts, \
        which warns. A strategy that the author left unset becomes `Recreate`. An autoscaler over a singleton is \
        refused at the autoscaler.\n\nNo admission can promise more than the API's intent: a node that loses \
        its network keeps its pod running while the replacement starts. What really must not run twice takes a \
        Lease.",
    bad: include_str!("singleton/bad.yaml"),
    good: include_str!("singleton/good.yaml"),
    parameters: &[],
    action: Action::Deny,
    fix: Fix::Always,
    references: &[
        "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#strategy",
        "https://kubernetes.io/docs/concepts/architecture/leases/",
    ],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for Singleton {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        if let Some(workload) = context.workload() {
            let Some(reason) = context.singleton(workload.kind, &workload.name) else { return };
            findings.extend(too_many(context, workload, &reason));
            findings.extend(overlap(context, workload, &reason));
        } else if let Some(autoscaler) = context.autoscaler() {
            let target = &autoscaler.target;
            let Some(kind) = Kind::from_group_kind(&target.group, &target.kind) else { return };
            let Some(reason) = context.singleton(kind, &target.name) else { return };
            let Body::Autoscaler(spec) = &context.object.body else { return };
            if autoscaler.maximum > 1 {
                let mut finding = context.finding(NAME, spec.maximum_path());
                finding.severity = autoscaler.maximum;
                finding.observed = autoscaler.maximum.to_string();
                finding.required = "1".to_owned();
                finding.says = format!("can scale {} {} to {}", target.kind, target.name, autoscaler.maximum);
                finding.needs = format!("1 at most, since {reason}");
                finding.remedy = format!("Delete it or set {}: 1", spec.maximum_path());
                findings.push(finding);
            }
        }
    }
}

fn too_many(context: &Context<'_>, workload: &Workload, reason: &str) -> Option<Finding> {
    let range = context.range(workload);
    if range.ceiling <= 1 && workload.replicas <= 1 {
        return None;
    }
    let ceiling = range.ceiling.max(workload.replicas);
    let mut finding = context.finding(NAME, "spec.replicas");
    finding.severity = ceiling;
    finding.observed = ceiling.to_string();
    finding.required = "1".to_owned();
    finding.needs = format!("1 at most, since {reason}");
    if workload.replicas > 1 {
        finding.says = format!("has {} replicas", workload.replicas);
        finding.remedy = "Keep spec.replicas at 1".to_owned();
    } else if let Some(autoscaler) = &range.autoscaler {
        finding.says = format!("is scaled up to {ceiling} by {} {}", autoscaler.kind, autoscaler.name);
        finding.remedy = format!("Delete {} {}", autoscaler.kind, autoscaler.name);
    }
    Some(finding)
}

/// Whether a rollout starts the second pod before the first has ended. A scale changes no strategy.
fn overlap(context: &Context<'_>, workload: &Workload, reason: &str) -> Option<Finding> {
    let Body::Workload(spec) = &context.object.body else { return None };
    let RolloutStrategy::Rolling(_) = workload.strategy else { return None };
    if workload.replicas == 0 {
        return None;
    }
    let peak = rollout_peak(workload.strategy, 1);
    let mut finding = context.finding(NAME, "spec.strategy");
    finding.severity = peak;
    finding.required = "Recreate".to_owned();
    finding.needs = format!("strategy Recreate, since {reason}");
    finding.remedy = "Set spec.strategy: {type: Recreate}".to_owned();
    if peak > 1 {
        finding.observed = format!("RollingUpdate, {peak} pods at once");
        finding.says = "starts the new pod before the old one has ended".to_owned();
    } else {
        finding.ceiling = Action::Warn;
        finding.observed = "RollingUpdate, maxSurge 0".to_owned();
        finding.says = "may start the new pod while the old one is still terminating".to_owned();
    }
    let is_set = spec.strategy.kind.is_some() || spec.strategy.rolling_update.is_some();
    if context.intent(&["spec", "strategy"], is_set) == Intent::Unset {
        finding.fix.push(Edit::SetType("/spec/strategy".to_owned(), "Recreate"));
    }
    Some(finding)
}
