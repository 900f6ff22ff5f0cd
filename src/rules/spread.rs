//! Replicas are not all on one node.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::facts::Workload;
use crate::manifest::strict::StrictError;
use crate::object::Body;
use crate::verdict::{Action, Edit, Finding};

pub(super) struct Spread;

const NAME: &str = "spread";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A workload with 2 replicas or more says how its pods are to be spread.",
    rationale: "Two replicas on one node are one replica as soon as that node fails. The scheduler spreads pods a \
        little by itself (`maxSkew` 3 over hostnames), which is nothing for a workload with 2 or 3.\n\nWhere the author \
        set neither `topologySpreadConstraints` nor `podAntiAffinity`, a soft constraint over hostnames is filled in \
        (`maxSkew: 1`, `ScheduleAnyway`): it never keeps a pod from starting. It is filled in only together with a \
        template that is new or changes anyway, since a change of the template is a rollout.",
    bad: include_str!("spread/bad.yaml"),
    good: include_str!("spread/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::Always,
    references: &["https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for Spread {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        findings.extend(context.replicated().filter(|w| !w.is_spread).map(|w| together(context, &w)));
    }
}

fn together(context: &Context<'_>, workload: &Workload) -> Finding {
    const FIELD: &str = "spec.template.spec.topologySpreadConstraints";
    let floor = context.availability(workload).floor;
    let is_here = matches!(context.object.body, Body::Workload(_));
    let mut finding = context.finding(NAME, if is_here { FIELD } else { context.floor_path() });
    finding.place = "spread".to_owned();
    finding.observed = "unset".to_owned();
    finding.required = "a topologySpreadConstraint or pod anti-affinity".to_owned();
    finding.says = match context.autoscaler() {
        Some(_) => {
            format!("keeps {floor} pods of {} {}, which may all be on one node", workload.kind, workload.name)
        }
        None => format!("has {floor} pods that may all be on one node"),
    };
    finding.needs = "them spread".to_owned();
    finding.remedy = match is_here {
        true => format!("Set {FIELD}"),
        false => format!("Set {FIELD} in {} {}", workload.kind, workload.name),
    };
    finding.fix.extend(fix(context));
    finding
}

/// The constraint counts the pods that the workload's own selector selects, so a selector without
/// matchLabels is left to its author.
fn fix(context: &Context<'_>) -> Option<Edit> {
    let Body::Workload(spec) = &context.object.body else { return None };
    let labels = spec.selector.as_ref().map(|selector| selector.match_labels.clone())?;
    let is_due = !labels.is_empty() && context.brings_template();
    is_due.then(|| Edit::Spread { pod: "/spec/template/spec".to_owned(), labels })
}
