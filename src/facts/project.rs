//! From an object to the fact that is kept of it.

use super::{Autoscaler, Budget, Carrier, Claim, Fact, MadeFrom, Pause, RolloutStrategy, Workload};
use crate::object::{
    self, Body, ContainerKind, Count, Kind, Labels, Object, PodSpec, Resource, RollingUpdate, Text,
};
use crate::rules::SINGLETON_ANNOTATION;
use crate::waiver::PREFIX;

const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// Lets a ScaledObject take over an HPA that is there already.
const TRANSFER: &str = "scaledobject.keda.sh/transfer-hpa-ownership";

/// Prefixes of the annotations that are kept.
const ANNOTATIONS: &[&str] = &["plimsoll.dev/", "waiver.plimsoll.dev/", "autoscaling.keda.sh/"];

impl Fact {
    /// What is kept of an object; `None` for kinds that no verdict about another object rests on.
    pub fn project(object: &Object<'_>) -> Option<Self> {
        let name = object.metadata.name.as_deref().unwrap_or_default().to_owned();
        let annotations = annotations(object);
        Some(match &object.body {
            Body::Workload(spec) if object.kind.scales() => Self::Workload(Workload::project(object, spec)),
            Body::Autoscaler(spec) => Self::Autoscaler(Autoscaler::project(object, spec)),
            Body::Budget(spec) => Self::Budget(Budget {
                name,
                selector: spec.selector.clone(),
                min_available: spec.min_available,
                max_unavailable: spec.max_unavailable,
                annotations,
            }),
            Body::Claim(spec) => Self::Claim(Claim {
                name,
                access_modes: spec.access_modes.iter().map(ToString::to_string).collect(),
            }),
            Body::Namespace => Self::Namespace(object.metadata.labels.iter().collect()),
            Body::CronJob(_) | Body::Pod(_) | Body::Scale(_) | Body::Workload(_) => return None,
        })
    }
}

impl Carrier {
    /// What is kept of an object that carries waivers; `None` for those that carry none.
    pub fn project(object: &Object<'_>) -> Option<Self> {
        let carries = |key: &str| key.starts_with(PREFIX) || key == SINGLETON_ANNOTATION;
        if !object.metadata.annotations.keys().any(|key| carries(key)) {
            return None;
        }
        Some(Self {
            name: object.display_name(),
            uid: object.metadata.uid.as_deref().unwrap_or_default().to_owned(),
            labels: object.metadata.labels.iter().collect(),
            annotations: annotations(object),
        })
    }
}

impl Workload {
    /// What is kept of a workload.
    pub fn project(object: &Object<'_>, spec: &object::Workload<'_>) -> Self {
        let text = |text: &Option<Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
        let labels: Labels = object.metadata.labels.iter().collect();
        let pod_labels = spec.template.metadata.labels.iter().collect();
        Self {
            kind: object.kind,
            name: object.display_name(),
            uid: text(&object.metadata.uid),
            resource_version: text(&object.metadata.resource_version),
            created: object.metadata.created(),
            // pkg/apis/apps/v1/defaults.go: 1 for Deployments, StatefulSets and ReplicaSets.
            replicas: spec.replicas.unwrap_or(1),
            annotations: annotations(object),
            // They are often the same, and then they share their memory.
            pod_labels: if pod_labels == labels { labels.clone() } else { pod_labels },
            labels,
            strategy: strategy(object.kind, spec),
            is_managed: object.metadata.controller().is_some(),
            claims: claims(&spec.template.spec),
            is_spread: spec.template.spec.is_spread(),
            without_requests: without_requests(&spec.template.spec),
        }
    }
}

impl Autoscaler {
    /// What is kept of an autoscaler.
    pub fn project(object: &Object<'_>, spec: &object::Autoscaler<'_>) -> Self {
        let text = |text: &Option<Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
        let is_keda = object.kind == Kind::ScaledObject;
        let minimum = spec.minimum();
        let owner = object.metadata.controller().filter(|owner| {
            !is_keda && &*owner.kind == "ScaledObject" && owner.api_version.starts_with("keda.sh/")
        });
        let takes_over = object.metadata.annotations.get(TRANSFER).is_some_and(|value| &**value == "true");
        Self {
            kind: object.kind,
            name: text(&object.metadata.name),
            uid: text(&object.metadata.uid),
            made_from: owner
                .map(|owner| MadeFrom { name: owner.name.to_string(), uid: owner.uid.to_string() }),
            target: spec.target(),
            minimum: spec.idle().map_or(minimum, |idle| idle.min(minimum)),
            // KEDA's `GetHPAMinReplicas`: from 0 to 1 and back is its own doing, the rest its HPA's.
            active_minimum: if is_keda { minimum.max(1) } else { minimum },
            maximum: spec.maximum(),
            pause: if is_keda { pause(object) } else { None },
            takes_over: spec.horizontal_name().filter(|_| takes_over).map(str::to_owned),
            utilization: spec.utilization().into(),
            annotations: annotations(object),
        }
    }
}

/// As KEDA reads its annotations (`apis/keda/v1alpha1/scaledobject_types.go`): a count that is no
/// number stops it with an error, and a truth value that is none counts as true.
fn pause(object: &Object<'_>) -> Option<Pause> {
    let annotations = &object.metadata.annotations;
    if let Some(count) = annotations.get(PAUSED_REPLICAS) {
        return Some(count.parse().map_or(Pause::AsIs, |count: i32| Pause::At(count.into())));
    }
    let paused = annotations.get(PAUSED)?;
    (!matches!(paused.as_str(), "0" | "f" | "F" | "false" | "False" | "FALSE")).then_some(Pause::AsIs)
}

fn claims(pod: &PodSpec<'_>) -> Box<[String]> {
    let claims = pod.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.map(|claim| claim.claim_name.to_string()).collect()
}

/// The containers without a request, as the HPA controller looks for them: sidecars count, other init
/// containers don't, and what the pod as a whole asks for is enough
/// (`pkg/controller/podautoscaler/replica_calculator.go`, `calculateRequests`).
fn without_requests(pod: &PodSpec<'_>) -> Box<[(Resource, String)]> {
    let lacks = |resource: Resource| {
        let running = pod.containers().filter(|(kind, _, c)| *kind == ContainerKind::App || c.is_sidecar());
        let lacking = running.filter(move |(_, _, c)| !c.resources.requests(resource.as_str()));
        lacking.map(move |(_, _, container)| (resource, container.name.to_string()))
    };
    Resource::ALL.into_iter().filter(|r| !pod.resources.requests(r.as_str())).flat_map(lacks).collect()
}

/// The strategy with the API's defaults (`SetDefaults_Deployment`): a rolling update by 25 %.
fn strategy(kind: Kind, spec: &object::Workload<'_>) -> RolloutStrategy {
    match kind {
        Kind::Deployment => {}
        Kind::StatefulSet if spec.update_strategy.kind.as_deref() != Some("OnDelete") => {
            return RolloutStrategy::Ordered(spec.update_strategy.rolling_update.unwrap_or_default());
        }
        _ => return RolloutStrategy::OnDelete,
    }
    let spec = &spec.strategy;
    if spec.kind.as_deref() == Some("Recreate") {
        return RolloutStrategy::Recreate;
    }
    let RollingUpdate { max_surge, max_unavailable } = spec.rolling_update.unwrap_or_default();
    RolloutStrategy::Rolling(RollingUpdate {
        max_surge: max_surge.or(Some(Count::Percent(25))),
        max_unavailable: max_unavailable.or(Some(Count::Percent(25))),
    })
}

/// The annotations that Plimsoll reads.
pub(crate) fn annotations(object: &Object<'_>) -> Labels {
    let read = |key: &str| ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix));
    object.metadata.annotations.iter().filter(|(key, _)| read(key)).collect()
}
