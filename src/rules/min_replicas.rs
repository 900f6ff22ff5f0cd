//! Workloads run enough replicas to lose one.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Parameter, Rule};
use crate::facts::{Autoscaler, Pause, Workload};
use crate::manifest::strict::{self, StrictError};
use crate::object::{Body, Intent, Kind};
use crate::verdict::{Action, Edit, Finding};

pub(super) struct MinReplicas;

const NAME: &str = "min-replicas";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Workloads and their autoscalers keep at least a minimum of replicas, or none at all.",
    rationale: "With one replica every node drain, eviction and crash is an outage. The rule is judged on the \
        object that sets the floor: `spec.replicas` of a workload without an autoscaler, `minReplicas` of a \
        HorizontalPodAutoscaler, `minReplicaCount` of a ScaledObject, and the `scale` subresource, so that \
        `kubectl scale` doesn't go round it. A workload at 0 is switched off and passes. A declared singleton \
        passes: the rule `singleton` holds it at 1.\n\nAn HPA that KEDA makes is judged once, at its \
        ScaledObject, where `idleReplicaCount` and the annotation `autoscaling.keda.sh/paused-replicas` count too. \
        Replicas below the floor of an active autoscaler only warn: it scales back up.\n\nReplicas that the author left unset are filled up to the \
        minimum. On an update they keep the count that runs: taking `replicas` out of a manifest resets it \
        to 1 in the API, a classic outage. Clients that leave no trace of what the author sent (helm 3, \
        `kubectl create`) are judged by the 1 that the API filled in; see `unknownIntent`.",
    bad: include_str!("min_replicas/bad.yaml"),
    good: include_str!("min_replicas/good.yaml"),
    parameters: &[
        Parameter { name: "minimum", default: "2", summary: "The fewest replicas." },
        Parameter {
            name: "allowScaleToZero",
            default: "false",
            summary: "Whether a ScaledObject may have `minReplicaCount: 0`.",
        },
        Parameter {
            name: "unknownIntent",
            default: "Deny",
            summary: "`Deny` or `Warn` when a Deployment is created with 1 replica and nothing shows whether its author asked for that.",
        },
    ],
    action: Action::Deny,
    fix: Fix::Always,
    references: &[
        "https://kubernetes.io/docs/concepts/workloads/pods/disruptions/",
        "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/",
    ],
};

/// The parameters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Parameters {
    minimum: i64,
    allow_scale_to_zero: bool,
    unknown_intent: UnknownIntent,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum UnknownIntent {
    Deny,
    Warn,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { minimum: 2, allow_scale_to_zero: false, unknown_intent: UnknownIntent::Deny }
    }
}

impl Rule for MinReplicas {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        let parameters: Parameters = strict::from_value(parameters)?;
        // `spec.replicas` is an int32; what is filled in has to fit.
        if !(1..=i64::from(i32::MAX)).contains(&parameters.minimum) {
            let problem = format!("expected a whole number from 1 to {}", i32::MAX);
            return Err(StrictError::other("/minimum", problem));
        }
        Ok(Box::new(parameters))
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        if let Some(workload) = context.workload() {
            findings.extend(self.judge_workload(context, workload));
        } else if let Some(autoscaler) = context.autoscaler() {
            self.judge_autoscaler(context, autoscaler, findings);
        }
    }
}

impl Parameters {
    fn judge_workload(&self, context: &Context<'_>, workload: &Workload) -> Option<Finding> {
        if context.singleton(workload.kind, &workload.name).is_some() {
            return None;
        }
        let range = context.availability(workload);
        if let Some(left) = self.left_behind(context, workload) {
            return Some(left);
        }
        if let Some(autoscaler) = &range.autoscaler {
            return below_autoscaler(context, workload, autoscaler, range.floor);
        }
        if range.is_inactive() {
            return self.stopped_below_minimum(context);
        }
        if range.floor >= self.minimum {
            return taken_out(context, workload);
        }
        let intent = replicas_intent(context);
        let mut finding = context.finding(NAME, "spec.replicas");
        finding.severity = self.minimum.saturating_sub(range.floor);
        finding.observed = range.floor.to_string();
        finding.required = self.minimum.to_string();
        finding.says = format!("has {}", replicas(range.floor));
        finding.needs = self.minimum.to_string();
        finding.remedy = format!("Set spec.replicas: {}", self.minimum);
        match intent {
            Intent::Unset => {
                let keep = context.previous_replicas.unwrap_or(0).max(self.minimum);
                finding.fix.push(Edit::SetInteger("/spec/replicas".to_owned(), keep));
            }
            Intent::Unknown if context.old.is_none() && range.floor == 1 => {
                finding.ceiling = match self.unknown_intent {
                    UnknownIntent::Deny => Action::Deny,
                    UnknownIntent::Warn => Action::Warn,
                };
            }
            Intent::Set | Intent::Unknown => {}
        }
        Some(finding)
    }

    /// An autoscaler that was right for a singleton is judged where the workload ceases to be one:
    /// nobody need ever touch the autoscaler again.
    fn left_behind(&self, context: &Context<'_>, workload: &Workload) -> Option<Finding> {
        let Body::Workload(_) = &context.object.body else { return None };
        context.was_annotated()?;
        let autoscalers = context.autoscalers_of(workload.kind, &workload.name);
        // A pause at 0 switches the workload off, which is fine.
        let lowest = |a: &Autoscaler| match a.pause {
            Some(Pause::At(count)) if count > 0 => a.minimum.min(count),
            _ => a.minimum,
        };
        let is_fine = |a: &Autoscaler| {
            lowest(a) >= self.minimum
                || (lowest(a) == 0 && a.kind == Kind::ScaledObject && self.allow_scale_to_zero)
        };
        let autoscaler = autoscalers.iter().find(|a| !is_fine(a))?;
        let lowest = lowest(autoscaler);
        let name = format!("{} {}", autoscaler.kind, autoscaler.name);
        let mut finding = context.finding(NAME, "metadata.annotations[plimsoll.dev/singleton]");
        finding.place = "no longer a singleton".to_owned();
        finding.severity = self.minimum - lowest;
        finding.observed = lowest.to_string();
        finding.required = self.minimum.to_string();
        finding.says =
            format!("is no singleton any more, and {name} lets it go down to {}", replicas(lowest));
        finding.needs = self.minimum.to_string();
        finding.remedy = format!("Raise the minimum of {name} to {} first", self.minimum);
        Some(finding)
    }

    /// Switching off is allowed, but what ran at 1 can only come back at the minimum.
    fn stopped_below_minimum(&self, context: &Context<'_>) -> Option<Finding> {
        let before = context.previous_replicas.filter(|&before| before > 0 && before < self.minimum)?;
        let mut finding = context.finding(NAME, "spec.replicas");
        finding.place = "stopped".to_owned();
        finding.ceiling = Action::Warn;
        finding.observed = "0".to_owned();
        finding.required = self.minimum.to_string();
        finding.says = format!("stops and can't start again with {}", replicas(before));
        finding.needs = self.minimum.to_string();
        finding.remedy = format!("Start it with {}", replicas(self.minimum));
        Some(finding)
    }

    /// An autoscaler may set several counts: its minimum, what it leaves when idle, what it was paused at.
    fn judge_autoscaler(&self, context: &Context<'_>, autoscaler: &Autoscaler, findings: &mut Vec<Finding>) {
        let target = &autoscaler.target;
        let kind = Kind::from_group_kind(&target.group, &target.kind);
        if kind.is_some_and(|kind| context.singleton(kind, &target.name).is_some()) {
            return;
        }
        let Body::Autoscaler(spec) = &context.object.body else { return };
        let (minimum, zero_is_fine) = (self.minimum, spec.is_scaled() && self.allow_scale_to_zero);
        let is_fine = |count: i64| count >= minimum || (count == 0 && zero_is_fine);
        let down = |count| format!("lets {} {} go down to {}", target.kind, target.name, replicas(count));
        let mut add = |path: &str, count: i64, says: String, remedy: String| {
            let mut finding = context.finding(NAME, path);
            // Another target is another promise.
            finding.place = format!("{path} for {} {}", target.kind, target.name);
            finding.severity = minimum.saturating_sub(count);
            finding.observed = count.to_string();
            finding.required = minimum.to_string();
            finding.says = says;
            finding.needs = minimum.to_string();
            finding.remedy = remedy;
            findings.push(finding);
        };
        if !is_fine(spec.minimum()) {
            let (path, maximum_path) = (spec.minimum_path(), spec.maximum_path());
            let remedy = if autoscaler.maximum < minimum {
                format!("Set {path}: {minimum} and {maximum_path}: {minimum} or more")
            } else {
                format!("Set {path}: {minimum}")
            };
            add(path, spec.minimum(), down(spec.minimum()), remedy);
        }
        if let Some(idle) = spec.idle().filter(|&idle| !is_fine(idle)) {
            let path = "spec.idleReplicaCount";
            let says = format!("{} while no trigger is active", down(idle));
            add(path, idle, says, format!("Leave {path} out"));
        }
        // A pause at 0 switches the workload off, as `spec.replicas: 0` does.
        if let Some(Pause::At(count)) = autoscaler.pause.filter(|&pause| pause != Pause::At(0))
            && count < minimum
        {
            let path = "metadata.annotations[autoscaling.keda.sh/paused-replicas]";
            let says = format!("pauses {} {} at {}", target.kind, target.name, replicas(count));
            add(path, count, says, format!("Pause it at {minimum}, or at 0 to switch it off"));
        }
    }
}

/// Taking `replicas` out of a manifest resets it to 1 in the API, which may be enough for the minimum
/// and yet not what anybody asked for.
fn taken_out(context: &Context<'_>, workload: &Workload) -> Option<Finding> {
    let before = context.previous_replicas.filter(|&before| before > workload.replicas)?;
    if replicas_intent(context) != Intent::Unset {
        return None;
    }
    let mut finding = context.finding(NAME, "spec.replicas");
    finding.place = "taken-out".to_owned();
    finding.ceiling = Action::Warn;
    finding.severity = before.saturating_sub(workload.replicas);
    finding.observed = workload.replicas.to_string();
    finding.required = before.to_string();
    finding.says = format!("drops from {before} to {}, since spec.replicas was left out", workload.replicas);
    finding.needs = format!("the {before} that run");
    finding.remedy = format!("Set spec.replicas: {before}");
    finding.fix.push(Edit::SetInteger("/spec/replicas".to_owned(), before));
    Some(finding)
}

/// Replicas under an active autoscaler are its business; setting fewer than its floor only makes it
/// scale back up. Replicas left unset would drop what runs to 1, so they keep the old count.
fn below_autoscaler(
    context: &Context<'_>,
    workload: &Workload,
    autoscaler: &Autoscaler,
    floor: i64,
) -> Option<Finding> {
    let keep = context.previous_replicas.unwrap_or(0).max(floor);
    let unset = replicas_intent(context) == Intent::Unset;
    let lost = if unset { keep } else { floor };
    if workload.replicas >= lost || (!unset && context.old.is_none()) {
        return None;
    }
    let mut finding = context.finding(NAME, "spec.replicas");
    finding.place = "below-autoscaler".to_owned();
    finding.ceiling = Action::Warn;
    finding.severity = lost.saturating_sub(workload.replicas);
    finding.observed = workload.replicas.to_string();
    finding.required = lost.to_string();
    finding.says = format!(
        "sets {} while {} {} keeps at least {}",
        replicas(workload.replicas),
        autoscaler.kind,
        autoscaler.name,
        floor
    );
    finding.needs = lost.to_string();
    finding.remedy = match context.object.body {
        Body::Scale(_) => format!("Change the range of {} {} instead", autoscaler.kind, autoscaler.name),
        _ => "Leave spec.replicas out and let the autoscaler set it".to_owned(),
    };
    if unset {
        finding.fix.push(Edit::SetInteger("/spec/replicas".to_owned(), keep));
    }
    Some(finding)
}

fn replicas_intent(context: &Context<'_>) -> Intent {
    match &context.object.body {
        Body::Workload(spec) => context.intent(&["spec", "replicas"], spec.replicas.is_some()),
        _ => Intent::Set,
    }
}

fn replicas(count: i64) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
}
