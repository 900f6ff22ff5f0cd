//! Containers say when they are ready.

use serde::Deserialize;
use serde_json::Value;

use super::{Check, Context, Fix, Meta, Rule, configure};
use crate::manifest::strict::StrictError;
use crate::object::{ContainerKind, Kind};
use crate::verdict::{Action, Finding};

pub(super) struct Probes;

const NAME: &str = "probes";

const META: Meta = Meta {
    name: NAME,
    since: "0.1.0",
    summary: "A container with ports has a readiness probe.",
    rationale: "Without a readiness probe a pod counts as ready as soon as its process runs. A rolling update then takes \
        the old pods away before the new ones can answer, requests fail with each release, and a version that never \
        starts to listen replaces one that works.\n\nJudged on containers that list ports, sidecars (init containers with \
        `restartPolicy: Always`) included, as their readiness counts for the pod's. Other init containers can't have \
        probes, and nobody waits for the pods of a Job to be ready.",
    bad: include_str!("probes/bad.yaml"),
    good: include_str!("probes/good.yaml"),
    parameters: &[],
    action: Action::Warn,
    fix: Fix::Never,
    references: &["https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/"],
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {}

impl Rule for Probes {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn configure(&self, parameters: &Value) -> Result<Box<dyn Check>, StrictError> {
        configure::<Parameters>(parameters)
    }
}

impl Check for Parameters {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        if matches!(context.object.kind, Kind::CronJob | Kind::Job) {
            return;
        }
        let Some(pods) = context.pods() else { return };
        for place in pods.containers() {
            let container = place.container;
            let has_probes = place.kind == ContainerKind::App || container.is_sidecar();
            if !has_probes || !container.has_ports() || container.has_readiness_probe() {
                continue;
            }
            let mut finding = context.container_finding(NAME, &place, "readinessProbe");
            finding.observed = "unset".to_owned();
            finding.required = "a readiness probe".to_owned();
            finding.says = format!("takes container {} for ready as soon as it runs", container.name);
            finding.needs = "a readiness probe for a container with ports".to_owned();
            finding.remedy = "Set readinessProbe".to_owned();
            findings.push(finding);
        }
    }
}
