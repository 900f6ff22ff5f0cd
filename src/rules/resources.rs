//! Containers say what they need, and how much memory at most.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::verdict::{Action, Finding};

pub(super) struct Resources;

const NAME: &str = "resources";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "Every container requests CPU and memory and has a memory limit.",
    rationale: "Without requests the scheduler packs pods onto a node until it starves them, an autoscaler has nothing to \
        divide by, and the pods are the first to be evicted. Without a memory limit one leak takes the node's other pods \
        down with it. A CPU limit isn't asked for: it throttles more often than it protects.\n\nA limit without a request \
        counts as one, since it becomes the request of each pod. What the pod asks for all its containers together \
        (`spec.resources`, Kubernetes 1.34) counts for each of them. Zero is nothing. A LimitRange, which fills in \
        resources when pods are made, isn't in the request and doesn't count.",
    bad: include_str!("resources/bad.yaml"),
    good: include_str!("resources/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::Never,
    references: &["https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {}

impl Rule for Resources {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(pods) = context.pods() else { return };
        let pod = &pods.spec.resources;
        for place in pods.containers() {
            let own = &place.container.resources;
            // The weights order what is missing: nothing makes up for a memory limit.
            let wanted = [
                (1, "CPU request", "requests.cpu", own.requests("cpu") || pod.requests("cpu")),
                (2, "memory request", "requests.memory", own.requests("memory") || pod.requests("memory")),
                (4, "memory limit", "limits.memory", own.limits("memory") || pod.limits("memory")),
            ];
            let missing: Vec<_> = wanted.into_iter().filter(|(.., is_there)| !is_there).collect();
            if missing.is_empty() {
                continue;
            }
            let mut finding = context.container_finding(NAME, &place, "resources");
            let words = missing.iter().map(|(_, words, ..)| (*words).to_owned());
            finding.observed = format!("no {}", enumerate(words.collect(), "or"));
            finding.severity = missing.iter().map(|(weight, ..)| weight).sum();
            finding.required = "requests for CPU and memory, and a memory limit".to_owned();
            finding.says = format!("gives container {} {}", place.container.name, finding.observed);
            finding.needs = finding.required.clone();
            let fields = missing.iter().map(|(_, _, field, _)| (*field).to_owned());
            finding.remedy = format!("Set its resources: {}", enumerate(fields.collect(), "and"));
            findings.push(finding);
        }
    }
}

fn enumerate(mut words: Vec<String>, conjunction: &str) -> String {
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} {conjunction} {last}", words.join(", ")),
        last => last.unwrap_or_default(),
    }
}
