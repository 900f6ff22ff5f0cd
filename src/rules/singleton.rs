//! What must run once never runs twice.

use serde::Deserialize;
use serde_json::Value;

use super::context::SINGLETON_ANNOTATION;
use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::availability::Rollout;
use crate::facts::{Pause, RolloutStrategy, Workload};
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
        which warns; a StatefulSet never starts a pod before its predecessor has ended. A strategy that the author left unset becomes `Recreate`. An autoscaler over a singleton is \
        refused at the autoscaler. Taking the annotation away warns, and the workload is held to the other rules at \
        once.\n\nNo admission can promise more than the API's intent: a node that loses \
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
            let Some(reason) = context.singleton(workload.kind, &workload.name) else {
                findings.extend(no_longer(context));
                return;
            };
            findings.extend(too_many(context, workload, &reason));
            findings.extend(overlap(context, workload, &reason));
        } else if let Some(autoscaler) = context.autoscaler() {
            let target = &autoscaler.target;
            let Some(kind) = Kind::from_group_kind(&target.group, &target.kind) else { return };
            let Some(reason) = context.singleton(kind, &target.name) else { return };
            let Body::Autoscaler(spec) = &context.object.body else { return };
            let mut add = |path: &str, count: i64, says: &str, remedy: String| {
                let mut finding = context.finding(NAME, path);
                finding.place = format!("{path} for {} {}", target.kind, target.name);
                finding.severity = count;
                finding.observed = count.to_string();
                finding.required = "1".to_owned();
                finding.says = format!("{says} {} {} to {count}", target.kind, target.name);
                finding.needs = format!("1 at most, since {reason}");
                finding.remedy = remedy;
                findings.push(finding);
            };
            if autoscaler.maximum > 1 {
                let path = spec.maximum_path();
                add(path, autoscaler.maximum, "can scale", format!("Delete it or set {path}: 1"));
            }
            if let Some(Pause::At(count)) = autoscaler.pause
                && count > 1
            {
                let path = "metadata.annotations[autoscaling.keda.sh/paused-replicas]";
                add(path, count, "is paused and sets", "Pause it at 1 or 0".to_owned());
            }
        }
    }
}

/// Whoever takes the annotation away lifts the promise, which may be right; what is left must keep
/// the other rules, and nobody should do it by accident.
fn no_longer(context: &Context<'_>) -> Option<Finding> {
    let Body::Workload(_) = &context.object.body else { return None };
    let reason = context.was_annotated()?;
    let mut finding = context.finding(NAME, format!("metadata.annotations[{SINGLETON_ANNOTATION}]"));
    finding.ceiling = Action::Warn;
    finding.observed = "removed".to_owned();
    finding.required = reason;
    finding.says = "is no longer declared a singleton".to_owned();
    finding.needs = "the declaration, or a workload that may run twice".to_owned();
    finding.remedy = format!("Put {SINGLETON_ANNOTATION} back unless it may run twice now");
    Some(finding)
}

/// Its own count, and what an autoscaler may make of it: a place each, so that a count is new where only
/// the autoscaler was there before. A scale changes no autoscaler.
fn too_many(context: &Context<'_>, workload: &Workload, reason: &str) -> Vec<Finding> {
    let add = |place: &str, count: i64, says: String, remedy: String| {
        let mut finding = context.finding(NAME, "spec.replicas");
        finding.place = place.to_owned();
        finding.severity = count;
        finding.observed = count.to_string();
        finding.required = "1".to_owned();
        finding.says = says;
        finding.needs = format!("1 at most, since {reason}");
        finding.remedy = remedy;
        finding
    };
    let mut findings = Vec::new();
    if workload.replicas > 1 {
        let says = format!("has {} replicas", workload.replicas);
        findings.push(add("replicas", workload.replicas, says, "Keep spec.replicas at 1".to_owned()));
    }
    if let (Some(boldest), Body::Workload(_)) = (context.boldest_of(workload), &context.object.body)
        && boldest.most() > 1
    {
        let (most, boldest) = (boldest.most(), format!("{} {}", boldest.kind, boldest.name));
        let says = format!("may be scaled up to {most} by {boldest}");
        findings.push(add("autoscaler", most, says, format!("Delete {boldest}")));
    }
    findings
}

/// Whether a rollout starts the second pod before the first has ended. A scale changes no strategy, so
/// a workload that is switched off is held to it too: a scale may switch it on at any time.
fn overlap(context: &Context<'_>, workload: &Workload, reason: &str) -> Option<Finding> {
    let Body::Workload(spec) = &context.object.body else { return None };
    let RolloutStrategy::Rolling(_) = workload.strategy else { return None };
    let peak = Rollout::of(workload.strategy, 1).peak;
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
    let is_default = context.manifest || workload.strategy == RolloutStrategy::DEFAULT;
    if is_default && context.intent(&["spec", "strategy"], is_set) == Intent::Unset {
        finding.fix.push(Edit::SetType("/spec/strategy".to_owned(), "Recreate"));
    }
    Some(finding)
}
