//! From an object to the fact that is kept of it.

use std::collections::BTreeMap;

use super::{Autoscaler, Budget, Claim, Fact, RolloutStrategy, Workload};
use crate::object::{self, Body, Count, Kind, Object, RollingUpdate, Text};

/// Prefixes of the annotations that are kept.
const ANNOTATIONS: &[&str] = &["plimsoll.dev/", "waiver.plimsoll.dev/", "autoscaling.keda.sh/"];

impl Fact {
    /// What is kept of an object; `None` for kinds that no verdict about another object rests on.
    pub fn project(object: &Object<'_>) -> Option<Self> {
        let name = object.metadata.name.as_deref().unwrap_or_default().to_owned();
        let annotations = annotations(object);
        Some(match &object.body {
            Body::Workload(spec) if object.kind.scales() => Self::Workload(Workload::project(object, spec)),
            Body::Autoscaler(spec) => Self::Autoscaler(Autoscaler {
                kind: object.kind,
                name,
                target: spec.target(),
                minimum: spec.minimum(),
                maximum: spec.maximum(),
                annotations,
            }),
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
            Body::Namespace => Self::Namespace(owned(&object.metadata.labels)),
            Body::CronJob(_) | Body::Scale(_) | Body::Workload(_) => return None,
        })
    }
}

impl Workload {
    /// What is kept of a workload.
    pub fn project(object: &Object<'_>, spec: &object::Workload<'_>) -> Self {
        let text = |text: &Option<Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
        Self {
            kind: object.kind,
            name: object.display_name(),
            uid: text(&object.metadata.uid),
            resource_version: text(&object.metadata.resource_version),
            created: object.metadata.created(),
            // pkg/apis/apps/v1/defaults.go: 1 for Deployments, StatefulSets and ReplicaSets.
            replicas: spec.replicas.unwrap_or(1),
            labels: owned(&object.metadata.labels),
            annotations: annotations(object),
            pod_labels: owned(&spec.template.metadata.labels),
            strategy: strategy(object.kind, &spec.strategy),
        }
    }
}

/// The strategy with the API's defaults (`SetDefaults_Deployment`): a rolling update by 25 %.
fn strategy(kind: Kind, spec: &object::Strategy<'_>) -> RolloutStrategy {
    if kind != Kind::Deployment {
        return RolloutStrategy::Ordered;
    }
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
pub(crate) fn annotations(object: &Object<'_>) -> BTreeMap<String, String> {
    let read = |key: &str| ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix));
    let annotations = object.metadata.annotations.iter().filter(|(key, _)| read(key));
    annotations.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub(crate) fn owned(map: &BTreeMap<Text<'_>, Text<'_>>) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}
