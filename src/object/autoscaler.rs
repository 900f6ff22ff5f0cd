//! What sets a workload's replicas over time: HorizontalPodAutoscalers and KEDA ScaledObjects.

use serde::Deserialize;

use super::{Text, nullable};

/// The spec of an autoscaler.
#[derive(Debug)]
pub enum Autoscaler<'a> {
    /// `autoscaling/v2`; v1 arrives converted.
    Horizontal(Horizontal<'a>),
    /// `keda.sh/v1alpha1`.
    Scaled(Scaled<'a>),
}

/// The spec of a HorizontalPodAutoscaler.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Horizontal<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    scale_target_ref: TargetReference<'a>,
    min_replicas: Option<i64>,
    #[serde(default, deserialize_with = "nullable")]
    max_replicas: i64,
}

/// The spec of a ScaledObject.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaled<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    scale_target_ref: TargetReference<'a>,
    min_replica_count: Option<i64>,
    max_replica_count: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
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
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
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
        ScaleTarget { group: group.to_owned(), kind: kind.to_owned(), name: reference.name.to_string() }
    }

    /// The fewest replicas it settles at: an HPA's default is 1 (`apis/autoscaling/v2/defaults.go`), a ScaledObject's 0.
    pub fn minimum(&self) -> i64 {
        match self {
            Self::Horizontal(spec) => spec.min_replicas.unwrap_or(1),
            Self::Scaled(spec) => spec.min_replica_count.unwrap_or(0),
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
