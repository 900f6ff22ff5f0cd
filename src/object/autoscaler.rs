//! What sets a workload's replicas over time: HorizontalPodAutoscalers and KEDA ScaledObjects.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Kind, Text, few, nullable};

/// The spec of an autoscaler.
#[derive(Clone, Debug)]
pub enum Autoscaler<'a> {
    /// `autoscaling/v2`; v1 arrives converted.
    Horizontal(Horizontal<'a>),
    /// `keda.sh/v1alpha1`.
    Scaled(Scaled<'a>),
}

/// The spec of a HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Horizontal<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    scale_target_ref: TargetReference<'a>,
    min_replicas: Option<i64>,
    #[serde(default, deserialize_with = "nullable")]
    max_replicas: i64,
    #[serde(borrow, default, deserialize_with = "few")]
    metrics: Vec<Metric<'a>>,
}

/// The spec of a ScaledObject.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaled<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    scale_target_ref: TargetReference<'a>,
    min_replica_count: Option<i64>,
    max_replica_count: Option<i64>,
    idle_replica_count: Option<i64>,
    #[serde(borrow, default, deserialize_with = "few")]
    triggers: Vec<Trigger<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    advanced: Advanced<'a>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metric<'a> {
    #[serde(borrow)]
    resource: Option<MetricSource<'a>>,
    #[serde(borrow)]
    container_resource: Option<MetricSource<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct MetricSource<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow)]
    container: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    target: MetricTarget<'a>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct MetricTarget<'a> {
    #[serde(borrow, rename = "type", default, deserialize_with = "nullable")]
    kind: Text<'a>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trigger<'a> {
    #[serde(borrow, rename = "type", default, deserialize_with = "nullable")]
    kind: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    metric_type: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    metadata: TriggerMetadata<'a>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TriggerMetadata<'a> {
    #[serde(borrow)]
    container_name: Option<Text<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Advanced<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    horizontal_pod_autoscaler_config: HorizontalConfig<'a>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct HorizontalConfig<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// A resource that pods ask for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    /// The name as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.as_str() == name)
    }
}

/// A metric that is a percentage of what the pods, or one of their containers, ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResourceMetric {
    /// Of which resource.
    pub resource: Resource,
    /// Of which container; `None` for all of them.
    pub container: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetReference<'a> {
    #[serde(borrow)]
    api_version: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
}

/// What an autoscaler scales. The version is left out: the HPA controller resolves targets by group,
/// kind and name (`pkg/controller/podautoscaler/horizontal.go`, `scaleForResourceMappings`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScaleTarget {
    /// The API group.
    pub group: Cow<'static, str>,
    /// The kind.
    pub kind: Cow<'static, str>,
    /// The name.
    pub name: String,
}

impl ScaleTarget {
    /// Whether it is the object of a kind and name.
    pub fn is(&self, kind: Kind, name: &str) -> bool {
        (&*self.group, &*self.kind, self.name.as_str()) == (kind.group(), kind.as_str(), name)
    }
}

impl Autoscaler<'_> {
    /// What it scales.
    pub fn target(&self) -> ScaleTarget {
        let (reference, default_kind) = match self {
            Self::Horizontal(spec) => (&spec.scale_target_ref, ""),
            // KEDA's default (apis/keda/v1alpha1/scaledobject_types.go): a Deployment in apps/v1.
            Self::Scaled(spec) => (&spec.scale_target_ref, "Deployment"),
        };
        let kind = reference.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or(default_kind);
        let group = match reference.api_version.as_deref().filter(|version| !version.is_empty()) {
            Some(version) => version.split_once('/').map_or("", |(group, _)| group),
            None if matches!(self, Self::Scaled(_)) => "apps",
            None => "",
        };
        let (group, kind) = match Kind::from_group_kind(group, kind) {
            Some(known) => (known.group().into(), known.as_str().into()),
            None => (group.to_owned().into(), kind.to_owned().into()),
        };
        ScaleTarget { group, kind, name: reference.name.to_string() }
    }

    /// The fewest replicas while it scales: an HPA's default is 1 (`apis/autoscaling/v2/defaults.go`), a ScaledObject's 0.
    pub fn minimum(&self) -> i64 {
        match self {
            Self::Horizontal(spec) => spec.min_replicas.unwrap_or(1),
            Self::Scaled(spec) => spec.min_replica_count.unwrap_or(0),
        }
    }

    /// Whether it is a ScaledObject.
    pub fn is_scaled(&self) -> bool {
        matches!(self, Self::Scaled(_))
    }

    /// How many replicas a ScaledObject without active triggers leaves, where that isn't its minimum.
    pub fn idle(&self) -> Option<i64> {
        match self {
            Self::Horizontal(_) => None,
            Self::Scaled(spec) => spec.idle_replica_count,
        }
    }

    /// The name of the HPA that a ScaledObject asks KEDA to use.
    pub fn horizontal_name(&self) -> Option<&str> {
        match self {
            Self::Horizontal(_) => None,
            Self::Scaled(spec) => spec.advanced.horizontal_pod_autoscaler_config.name.as_deref(),
        }
    }

    /// The metrics that are percentages of requests. An HPA without metrics gets 80 % of the CPU
    /// (`pkg/apis/autoscaling/v2/defaults.go`); KEDA's cpu and memory triggers are such metrics unless
    /// they say `AverageValue` (`pkg/scalers/cpu_memory_scaler.go`).
    pub fn utilization(&self) -> Vec<ResourceMetric> {
        let metric = |name: &str, container: &Option<Text<'_>>| {
            let container = container.as_ref().filter(|name| !name.is_empty()).map(ToString::to_string);
            Resource::of(name).map(|resource| ResourceMetric { resource, container })
        };
        match self {
            Self::Horizontal(spec) if spec.metrics.is_empty() => metric("cpu", &None).into_iter().collect(),
            Self::Horizontal(spec) => {
                let sources =
                    spec.metrics.iter().flat_map(|m| m.resource.iter().chain(&m.container_resource));
                let of_requests = sources.filter(|source| &*source.target.kind == "Utilization");
                of_requests.filter_map(|source| metric(&source.name, &source.container)).collect()
            }
            Self::Scaled(spec) => {
                let of_requests = spec.triggers.iter().filter(|t| &*t.metric_type != "AverageValue");
                of_requests.filter_map(|t| metric(&t.kind, &t.metadata.container_name)).collect()
            }
        }
    }

    /// The most replicas it asks for; a ScaledObject's default is 100.
    pub fn maximum(&self) -> i64 {
        match self {
            Self::Horizontal(spec) => spec.max_replicas,
            Self::Scaled(spec) => spec.max_replica_count.unwrap_or(100),
        }
    }

    /// The field that holds the minimum.
    pub fn minimum_path(&self) -> &'static str {
        match self {
            Self::Horizontal(_) => "spec.minReplicas",
            Self::Scaled(_) => "spec.minReplicaCount",
        }
    }

    /// The field that holds the maximum.
    pub fn maximum_path(&self) -> &'static str {
        match self {
            Self::Horizontal(_) => "spec.maxReplicas",
            Self::Scaled(_) => "spec.maxReplicaCount",
        }
    }
}
