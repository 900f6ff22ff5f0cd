//! Workload specs: what runs pods.

use serde::Deserialize;

use super::{Count, LabelSelector, PodTemplate, Text, few, nullable};

/// The spec of a Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController or Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload<'a> {
    /// How many pods; `None` where the author (offline) or the kind (DaemonSet, Job) gives none.
    #[serde(default)]
    pub replicas: Option<i64>,
    /// Which pods belong to it.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
    /// The pods.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub template: PodTemplate<'a>,
    /// A Deployment's strategy.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub strategy: Strategy<'a>,
    /// A StatefulSet's strategy.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub update_strategy: UpdateStrategy<'a>,
    /// How many seconds a Job may take, all its pods and their retries together.
    #[serde(default)]
    pub active_deadline_seconds: Option<i64>,
}

/// A StatefulSet's `updateStrategy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy<'a> {
    /// `RollingUpdate` or `OnDelete`.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// The bounds of a rolling update.
    pub rolling_update: Option<OrderedUpdate>,
}

/// The bounds of a StatefulSet's rolling update.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrderedUpdate {
    /// The lowest ordinal that is updated.
    #[serde(default, deserialize_with = "nullable")]
    pub partition: i64,
    /// How many pods may be unavailable; the apiserver drops it unless its feature gate
    /// `MaxUnavailableStatefulSet` is on.
    pub max_unavailable: Option<Count>,
}

/// A Deployment's `strategy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy<'a> {
    /// `RollingUpdate` or `Recreate`.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// The bounds of a rolling update.
    pub rolling_update: Option<RollingUpdate>,
}

/// The bounds of a rolling update.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    /// How many pods over the count may run.
    pub max_surge: Option<Count>,
    /// How many pods under the count may be unavailable.
    pub max_unavailable: Option<Count>,
}

/// The spec of a CronJob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CronJob<'a> {
    /// When it runs.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub schedule: Text<'a>,
    /// The zone that the schedule is meant in.
    #[serde(borrow)]
    pub time_zone: Option<Text<'a>>,
    /// Whether it is paused.
    #[serde(default, deserialize_with = "nullable")]
    pub suspend: bool,
    /// `Allow`, `Forbid` or `Replace`; `None` only where no apiserver has filled in `Allow`.
    #[serde(borrow)]
    pub concurrency_policy: Option<Text<'a>>,
    /// The Job that it creates.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub job_template: JobTemplate<'a>,
}

/// A CronJob's `jobTemplate`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct JobTemplate<'a> {
    /// The Job's spec.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub spec: Workload<'a>,
}

/// The spec of an `autoscaling/v1` Scale. Zero is serialised as an absent field
/// (`API/autoscaling/v1/types.go`: `json:"replicas,omitempty"`).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Scale {
    /// How many pods are wanted.
    #[serde(default, deserialize_with = "nullable")]
    pub replicas: i64,
}

/// The spec of a PersistentVolumeClaim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim<'a> {
    /// `ReadWriteOnce` and friends.
    #[serde(borrow, default, deserialize_with = "few")]
    pub access_modes: Vec<Text<'a>>,
}
