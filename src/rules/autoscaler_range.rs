//! Autoscalers have something to scale, room to scale it in, and it to themselves.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::facts::{Autoscaler, Workload};
use crate::manifest::strict::StrictError;
use crate::object::{Body, Kind, Resource, ResourceMetric};
use crate::verdict::{Action, Finding};

pub(super) struct AutoscalerRange;

const NAME: &str = "autoscaler-range";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "An autoscaler has a target of its own, a range to scale it in, and requests to measure by.",
    rationale: "Two autoscalers over one workload undo each other's work (two HPAs stop with \
        `AmbiguousSelector` and neither scales), so the second one is refused. The HPA that KEDA makes from a \
        ScaledObject is not a second one, nor is one that a ScaledObject takes over by \
        `scaledobject.keda.sh/transfer-hpa-ownership`.\n\nThe rest warns. An autoscaler whose minimum is its maximum \
        never scales. One whose target isn't there does nothing, quietly, though its workload may be about to come. A \
        metric that is a percentage of what the pods request fails for all of them if a single container requests \
        nothing: the autoscaler then stays where it is, under whatever load.",
    bad: include_str!("autoscaler_range/bad.yaml"),
    good: include_str!("autoscaler_range/good.yaml"),
    parameters: &[],
    action: Action::Deny,
    fix: Fix::Never,
    references: &[
        "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/",
        "https://keda.sh/docs/latest/reference/scaledobject-spec/",
    ],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for AutoscalerRange {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        if let Some(autoscaler) = context.autoscaler() {
            findings.extend(no_room(context));
            findings.extend(not_alone(context, autoscaler));
            match context.target(autoscaler) {
                Some(workload) => findings.extend(nothing_to_measure_by(context, autoscaler, &workload)),
                None => findings.extend(no_target(context, autoscaler)),
            }
        } else if let (Some(workload), Body::Workload(_)) = (context.workload(), &context.object.body) {
            for autoscaler in context.autoscalers_of(workload.kind, &workload.name) {
                findings.extend(requests_nothing(context, &autoscaler, workload));
            }
        }
    }
}

fn no_room(context: &Context<'_>) -> Option<Finding> {
    let Body::Autoscaler(spec) = &context.object.body else { return None };
    let (minimum, maximum) = (spec.minimum(), spec.maximum());
    if minimum < maximum {
        return None;
    }
    let mut finding = context.finding(NAME, spec.maximum_path());
    finding.ceiling = Action::Warn;
    finding.place = "range".to_owned();
    finding.severity = minimum.saturating_sub(maximum).saturating_add(1);
    finding.observed = format!("{minimum} to {maximum}");
    finding.required = "a maximum above the minimum".to_owned();
    finding.says = format!("never scales, from {minimum} to {maximum}");
    finding.needs = "a maximum above the minimum".to_owned();
    finding.remedy =
        format!("Set {} above {minimum}, or delete it and set spec.replicas", spec.maximum_path());
    Some(finding)
}

fn not_alone(context: &Context<'_>, autoscaler: &Autoscaler) -> Option<Finding> {
    let others = context.rivals_of(autoscaler);
    let first = others.first()?;
    let target = &autoscaler.target;
    let names: Vec<String> = others.iter().map(|other| format!("{} {}", other.kind, other.name)).collect();
    let names = names.join(", ");
    let mut finding = context.finding(NAME, "spec.scaleTargetRef");
    finding.place = format!("second autoscaler of {} {}", target.kind, target.name);
    finding.severity = i64::try_from(others.len()).unwrap_or(i64::MAX);
    finding.observed = names.clone();
    finding.required = "one autoscaler".to_owned();
    finding.says = format!("scales {} {}, which {names} scales already", target.kind, target.name);
    finding.needs = "one autoscaler per workload".to_owned();
    finding.remedy = format!("Change {} {}, or delete it first", first.kind, first.name);
    Some(finding)
}

fn no_target(context: &Context<'_>, autoscaler: &Autoscaler) -> Option<Finding> {
    let target = &autoscaler.target;
    let kind = Kind::from_group_kind(&target.group, &target.kind);
    let known_elsewhere = Kind::ALL.iter().find(|kind| kind.as_str() == target.kind);
    let (says, remedy) = match (kind, known_elsewhere) {
        (Some(kind), _) if kind.scales() => (
            format!("scales {kind} {}, which isn't there yet", target.name),
            "Check spec.scaleTargetRef, or apply the workload next".to_owned(),
        ),
        (Some(kind), _) => (
            format!("scales {kind} {}, which can't be scaled", target.name),
            "Point spec.scaleTargetRef at a Deployment or StatefulSet".to_owned(),
        ),
        // Group and kind are what a target is found by; a custom resource of that name may exist.
        (None, Some(kind)) => (
            format!("scales {kind} {} of API group \"{}\", which has none", target.name, target.group),
            format!("Set spec.scaleTargetRef.apiVersion: {}/{}", kind.group(), kind.version()),
        ),
        (None, None) => return None,
    };
    let mut finding = context.finding(NAME, "spec.scaleTargetRef");
    finding.ceiling = Action::Warn;
    finding.place = "target".to_owned();
    finding.observed = format!("{} {}", target.kind, target.name);
    finding.required = "a workload that is there".to_owned();
    finding.says = says;
    finding.needs = "a workload to scale".to_owned();
    finding.remedy = remedy;
    Some(finding)
}

/// The containers that a metric is in vain for.
fn lacking<'w>(metric: &ResourceMetric, workload: &'w Workload) -> Vec<&'w str> {
    let of_resource = workload.without_requests.iter().filter(|(resource, _)| *resource == metric.resource);
    let names = of_resource.map(|(_, container)| container.as_str());
    names.filter(|name| metric.container.as_deref().is_none_or(|only| only == *name)).collect()
}

fn nothing_to_measure_by(
    context: &Context<'_>,
    autoscaler: &Autoscaler,
    workload: &Workload,
) -> Vec<Finding> {
    let path = match autoscaler.kind {
        Kind::ScaledObject => "spec.triggers",
        _ => "spec.metrics",
    };
    let in_vain = |metric: &ResourceMetric| {
        let containers = lacking(metric, workload);
        let resource = metric.resource.as_str();
        let whose = match containers.as_slice() {
            [] => return None,
            [one] => format!("container {one} of {} {} requests", workload.kind, workload.name),
            many => {
                format!("containers {} of {} {} request", many.join(", "), workload.kind, workload.name)
            }
        };
        let mut finding = context.finding(NAME, path);
        finding.ceiling = Action::Warn;
        finding.place = format!("{resource} of {}", metric.container.as_deref().unwrap_or("all"));
        finding.severity = i64::try_from(containers.len()).unwrap_or(i64::MAX);
        finding.observed = format!("no {resource} request");
        finding.required = format!("a {resource} request");
        finding.says = format!("scales by {resource} utilization, but {whose} no {resource}");
        finding.needs = "requests to divide by".to_owned();
        finding.remedy = format!("Set resources.requests.{resource} there");
        Some(finding)
    };
    autoscaler.utilization.iter().filter_map(in_vain).collect()
}

/// The same, told to whoever takes the requests away.
fn requests_nothing(context: &Context<'_>, autoscaler: &Autoscaler, workload: &Workload) -> Vec<Finding> {
    let finding = |resource: Resource, container: &str| {
        let resource = resource.as_str();
        let field = format!("spec.template.spec.containers[{container}].resources.requests.{resource}");
        let mut finding = context.finding(NAME, field);
        finding.ceiling = Action::Warn;
        finding.observed = "unset".to_owned();
        finding.required = format!("a {resource} request");
        finding.says = format!(
            "requests no {resource} for container {container}, while {} {} scales by {resource} utilization",
            autoscaler.kind, autoscaler.name
        );
        finding.needs = "requests to divide by".to_owned();
        finding.remedy = "Set it, or the autoscaler stays where it is under any load".to_owned();
        finding.container = Some(container.to_owned());
        finding
    };
    let metrics = autoscaler.utilization.iter();
    metrics
        .flat_map(|metric| lacking(metric, workload).into_iter().map(|c| finding(metric.resource, c)))
        .collect()
}
