//! A volume with one writer gets no second one.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::availability::Rollout;
use crate::facts::Workload;
use crate::manifest::strict::StrictError;
use crate::object::{Body, Kind};
use crate::verdict::{Action, Finding};

pub(super) struct SingleWriterVolume;

const NAME: &str = "single-writer-volume";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A Deployment that mounts a ReadWriteOnce claim has one pod at a time.",
    rationale: "Pods of a Deployment share its claims. A second pod for a `ReadWriteOnce` or `ReadWriteOncePod` claim \
        either waits for ever for a volume that another node holds, which blocks the rollout that wanted it, or lands on \
        the same node and opens the same files: two databases over one directory. So such a Deployment has at most 1 \
        replica, whether by hand, by `scale` or by an autoscaler, and a rollout without a surge: `Recreate`, or \
        `maxSurge: 0`. What needs a volume for each pod is a StatefulSet with `volumeClaimTemplates`.\n\nClaims are \
        read by name; one that isn't there yet is not judged.",
    bad: include_str!("single_writer_volume/bad.yaml"),
    good: include_str!("single_writer_volume/good.yaml"),
    parameters: &[],
    action: Action::Deny,
    fix: Fix::Never,
    references: &["https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {}

impl Rule for SingleWriterVolume {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(workload) = context.scaled().filter(|workload| workload.kind == Kind::Deployment) else {
            return;
        };
        for claim in context.single_writer_claims(&workload) {
            findings.extend(too_many(context, &workload, &claim));
            findings.extend(overlap(context, &workload, &claim));
        }
    }
}

/// What the request sets, and what an autoscaler may make of it: a place each, so that a count is new
/// where only the autoscaler was there before. A scale changes no autoscaler.
fn too_many(context: &Context<'_>, workload: &Workload, claim: &str) -> Vec<Finding> {
    let add = |path: &str, place: &str, count: i64, says: String, remedy: String| {
        let mut finding = context.finding(NAME, path);
        finding.place = format!("{place} on claim {claim}");
        finding.severity = count;
        finding.observed = count.to_string();
        finding.required = "1".to_owned();
        finding.says = says;
        finding.needs = format!("1 at most, since claim {claim} is {}", access(context, claim));
        finding.remedy = remedy;
        finding
    };
    let mut findings = Vec::new();
    if let (Body::Autoscaler(spec), Some(autoscaler)) = (&context.object.body, context.autoscaler()) {
        let (path, most) = (spec.maximum_path(), autoscaler.most());
        if most > 1 {
            let says = format!("can scale {} {} to {most}", workload.kind, workload.name);
            findings.push(add(path, "pods", most, says, format!("Delete it or set {path}: 1")));
        }
        return findings;
    }
    if workload.replicas > 1 {
        let says = format!("has {} replicas", workload.replicas);
        let remedy = "Keep spec.replicas at 1; pods with a volume each make a StatefulSet".to_owned();
        findings.push(add("spec.replicas", "pods", workload.replicas, says, remedy));
    }
    if let (Some(boldest), Body::Workload(_)) = (context.boldest_of(workload), &context.object.body)
        && boldest.most() > 1
    {
        let (most, boldest) = (boldest.most(), format!("{} {}", boldest.kind, boldest.name));
        let says = format!("may be scaled up to {most} by {boldest}");
        findings.push(add("spec.replicas", "autoscaler", most, says, format!("Delete {boldest}")));
    }
    findings
}

/// A surge would have two pods on the claim during every rollout. A scale changes no strategy, so
/// what is switched off is held to it too.
fn overlap(context: &Context<'_>, workload: &Workload, claim: &str) -> Option<Finding> {
    let Body::Workload(_) = context.object.body else { return None };
    let peak = Rollout::of(workload.strategy, 1).peak;
    if peak <= 1 {
        return None;
    }
    let mut finding = context.finding(NAME, "spec.strategy");
    finding.place = format!("rollout on claim {claim}");
    finding.severity = peak;
    finding.observed = format!("{peak} pods at once");
    finding.required = "no surge".to_owned();
    finding.says = "starts the new pod before the old one has ended".to_owned();
    finding.needs = format!("no surge, since claim {claim} is {}", access(context, claim));
    finding.remedy = "Set spec.strategy: {type: Recreate}".to_owned();
    Some(finding)
}

fn access(context: &Context<'_>, claim: &str) -> String {
    context.claim(claim).map_or_else(String::new, |claim| claim.access_modes.join(", "))
}
