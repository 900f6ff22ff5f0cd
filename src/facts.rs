//! What the rest of the cluster looks like, as far as a verdict can rest on it.
//!
//! Projected to what rules read, so that a large cluster fits in little memory. Everything that two
//! objects can disagree about lies in one namespace, so facts are kept and handed out by namespace:
//! a request takes a snapshot of its own and never waits for a watch.

mod namespace;
mod project;
mod store;
mod table;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use crate::object::{
    Count, Kind, LabelSelector, Labels, OrderedUpdate, Resource, ResourceMetric, RollingUpdate, ScaleTarget,
};

pub use namespace::NamespaceFacts;
pub(crate) use project::annotations;
pub use store::Facts;

/// A workload that can be scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Deployment, StatefulSet or ReplicaSet.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid, empty if it comes from a manifest.
    pub uid: String,
    /// Its version, empty if it comes from a manifest.
    pub resource_version: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// `spec.replicas`, the API's default applied.
    pub replicas: i64,
    /// Its labels, which policies select by.
    pub labels: Labels,
    /// Those of its annotations that Plimsoll reads.
    pub annotations: Labels,
    /// Labels of its pods.
    pub pod_labels: Labels,
    /// How a rollout replaces its pods.
    pub strategy: RolloutStrategy,
    /// Whether it names a controller: a Deployment's ReplicaSet.
    pub is_managed: bool,
    /// Claims that its pods mount.
    pub claims: Box<[String]>,
    /// Whether its author said how the pods are to keep apart.
    pub is_spread: bool,
    /// Containers, by a resource that they don't ask for.
    pub without_requests: Box<[(Resource, String)]>,
}

/// How a rollout replaces pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RolloutStrategy {
    /// From the last pod to the first, never more than the count: a StatefulSet.
    Ordered(OrderedUpdate),
    /// No pod ends by itself: a StatefulSet with `OnDelete`, a ReplicaSet.
    OnDelete,
    /// All old pods end before the first new one starts.
    Recreate,
    /// A Deployment's rolling update, the API's defaults applied.
    Rolling(RollingUpdate),
}

impl RolloutStrategy {
    /// What a Deployment gets that names no strategy (`SetDefaults_Deployment`): a rolling update by 25 %.
    pub const DEFAULT: Self = Self::Rolling(RollingUpdate {
        max_surge: Some(Count::Percent(25)),
        max_unavailable: Some(Count::Percent(25)),
    });
}

/// An autoscaler.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaler {
    /// HorizontalPodAutoscaler or ScaledObject.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid, empty if it comes from a manifest.
    pub uid: String,
    /// The ScaledObject that an HPA says it was made from. Anybody can write that.
    pub made_from: Option<MadeFrom>,
    /// What it scales.
    pub target: ScaleTarget,
    /// The fewest replicas it settles at.
    pub minimum: i64,
    /// The fewest replicas while it scales: a ScaledObject without active triggers may have fewer.
    pub active_minimum: i64,
    /// The most it asks for.
    pub maximum: i64,
    /// Whether KEDA was told to let the workload be.
    pub pause: Option<Pause>,
    /// The HPA that a ScaledObject takes over instead of making its own.
    pub takes_over: Option<String>,
    /// Metrics that are percentages of what the pods ask for.
    pub utilization: Box<[ResourceMetric]>,
    /// Those of its annotations that Plimsoll reads.
    pub annotations: Labels,
}

impl Autoscaler {
    /// The most replicas that it ever sets, paused or not.
    pub fn most(&self) -> i64 {
        match self.pause {
            Some(Pause::At(count)) => count.max(self.maximum),
            _ => self.maximum,
        }
    }

    /// Whether it scales the workload.
    pub fn scales(&self, workload: &Workload) -> bool {
        self.target.is(workload.kind, &workload.name)
    }
}

/// The ScaledObject that an HPA was made from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MadeFrom {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What KEDA was told to do instead of scaling.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pause {
    /// Leave the replicas as they are.
    AsIs,
    /// Set so many replicas once, then leave them.
    At(i64),
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Its name.
    pub name: String,
    /// Which pods; `None` selects nothing.
    pub selector: Option<LabelSelector>,
    /// How many must stay.
    pub min_available: Option<Count>,
    /// How many may go.
    pub max_unavailable: Option<Count>,
    /// Those of its annotations that Plimsoll reads.
    pub annotations: Labels,
}

impl Budget {
    /// Whether it selects pods with these labels.
    pub fn selects(&self, pod_labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(pod_labels))
    }
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// `ReadWriteOnce` and friends.
    pub access_modes: Box<[String]>,
}

/// An object that makes others, as it is. It is not watched, but read when something is judged that
/// names it as its controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its JSON text.
    pub text: String,
}

/// An object that carries waivers or declares itself a singleton, of whatever kind. No verdict about
/// another object rests on it; it is kept to be counted and told of before it ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Carrier {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its labels, which policies select by.
    pub labels: Labels,
    /// Those of its annotations that Plimsoll reads.
    pub annotations: Labels,
}

/// One fact of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A workload.
    Workload(Workload),
    /// An autoscaler.
    Autoscaler(Autoscaler),
    /// A budget.
    Budget(Budget),
    /// A claim.
    Claim(Claim),
    /// An object that makes others.
    Owner(Owner),
    /// A namespace's labels.
    Namespace(Labels),
}

/// Something that a verdict rests on, present or absent: what a live read has to confirm.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reference {
    /// One object of a namespace.
    Object(Kind, String),
    /// Every object of a kind in the namespace.
    All(Kind),
    /// One object of a namespace as a whole, to see what it makes.
    Owner(Kind, String),
}

impl Reference {
    /// The kind that it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Object(kind, _) | Self::All(kind) | Self::Owner(kind, _) => *kind,
        }
    }

    /// Whether it is among the references, or a list of all objects of its kind is, which brings it along.
    /// A list brings no object as a whole.
    pub fn is_covered(&self, by: &BTreeSet<Self>) -> bool {
        let is_owner = matches!(self, Self::Owner(..));
        by.contains(self) || (!is_owner && by.contains(&Self::All(self.kind())))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(kind, name) | Self::Owner(kind, name) => write!(f, "{kind} {name}"),
            Self::All(kind) => write!(f, "the {kind}s there"),
        }
    }
}
