//! What the rest of the cluster looks like, as far as a verdict can rest on it.
//!
//! Projected to what rules read, so that a large cluster fits in little memory. Everything that two
//! objects can disagree about lies in one namespace, so facts are kept and handed out by namespace:
//! a request takes a reference-counted snapshot of its own and never waits for a watch.

mod project;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use crate::object::{
    Count, Kind, LabelSelector, OrderedUpdate, Resource, ResourceMetric, RollingUpdate, ScaleTarget,
};

pub(crate) use project::{annotations, owned};

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
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that Plimsoll reads.
    pub annotations: BTreeMap<String, String>,
    /// Labels of its pods.
    pub pod_labels: BTreeMap<String, String>,
    /// How a rollout replaces its pods.
    pub strategy: RolloutStrategy,
    /// Whether it names a controller: a Deployment's ReplicaSet.
    pub is_managed: bool,
    /// Claims that its pods mount.
    pub claims: Vec<String>,
    /// Whether its author said how the pods are to keep apart.
    pub is_spread: bool,
    /// Containers, by a resource that they don't ask for.
    pub without_requests: Vec<(Resource, String)>,
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
    pub utilization: Vec<ResourceMetric>,
    /// Those of its annotations that Plimsoll reads.
    pub annotations: BTreeMap<String, String>,
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
    pub annotations: BTreeMap<String, String>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// `ReadWriteOnce` and friends.
    pub access_modes: Vec<String>,
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
    /// Its uid.
    pub uid: String,
    /// Its labels, which policies select by.
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that Plimsoll reads.
    pub annotations: BTreeMap<String, String>,
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
    Namespace(BTreeMap<String, String>),
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

/// The facts of one namespace.
#[derive(Clone, Debug, Default)]
pub struct NamespaceFacts {
    /// The namespace's labels; `None` if nobody knows them.
    pub labels: Option<BTreeMap<String, String>>,
    workloads: BTreeMap<(Kind, String), Arc<Workload>>,
    autoscalers: BTreeMap<(Kind, String), Arc<Autoscaler>>,
    budgets: BTreeMap<String, Arc<Budget>>,
    claims: BTreeMap<String, Arc<Claim>>,
    owners: BTreeMap<(Kind, String), Arc<Owner>>,
    carriers: BTreeMap<(Kind, String), Arc<Carrier>>,
}

impl NamespaceFacts {
    /// The workload of a kind and name.
    pub fn workload(&self, kind: Kind, name: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(&(kind, name.to_owned()))
    }

    /// Every workload.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// Every autoscaler.
    pub fn autoscalers(&self) -> impl Iterator<Item = &Arc<Autoscaler>> {
        self.autoscalers.values()
    }

    /// The autoscaler of a kind and name.
    pub fn autoscaler(&self, kind: Kind, name: &str) -> Option<&Arc<Autoscaler>> {
        self.autoscalers.get(&(kind, name.to_owned()))
    }

    /// Every budget.
    pub fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.budgets.values()
    }

    /// The claim of a name.
    pub fn claim(&self, name: &str) -> Option<&Arc<Claim>> {
        self.claims.get(name)
    }

    /// The object of a kind and name as a whole, if it was read.
    pub fn owner(&self, kind: Kind, name: &str) -> Option<&Arc<Owner>> {
        self.owners.get(&(kind, name.to_owned()))
    }

    /// What carries waivers, the namespace itself included.
    pub fn carriers(&self) -> impl Iterator<Item = (Kind, &str, &Arc<Carrier>)> {
        self.carriers.iter().map(|((kind, name), carrier)| (*kind, name.as_str(), carrier))
    }

    /// The uid of an object, as far as anything is kept of it.
    pub fn uid(&self, kind: Kind, name: &str) -> Option<&str> {
        let key = (kind, name.to_owned());
        let uid = match (self.carriers.get(&key), self.workloads.get(&key), self.autoscalers.get(&key)) {
            (Some(carrier), ..) => &carrier.uid,
            (_, Some(workload), _) => &workload.uid,
            (_, _, Some(autoscaler)) => &autoscaler.uid,
            _ => return None,
        };
        Some(uid).filter(|uid| !uid.is_empty()).map(String::as_str)
    }

    /// Whether an object carries waivers.
    pub fn carries(&self, kind: Kind, name: &str) -> bool {
        self.carriers.contains_key(&(kind, name.to_owned()))
    }

    /// Notes that an object carries waivers, or that it doesn't (any more).
    pub fn carry(&mut self, kind: Kind, name: &str, carrier: Option<Carrier>) {
        let key = (kind, name.to_owned());
        match carrier {
            Some(carrier) => drop(self.carriers.insert(key, Arc::new(carrier))),
            None => drop(self.carriers.remove(&key)),
        }
    }

    /// Puts a fact in, in place of an older one about the same object.
    pub fn insert(&mut self, fact: Fact) {
        match fact {
            Fact::Workload(w) => drop(self.workloads.insert((w.kind, w.name.clone()), Arc::new(w))),
            Fact::Autoscaler(a) => drop(self.autoscalers.insert((a.kind, a.name.clone()), Arc::new(a))),
            Fact::Budget(b) => drop(self.budgets.insert(b.name.clone(), Arc::new(b))),
            Fact::Claim(c) => drop(self.claims.insert(c.name.clone(), Arc::new(c))),
            Fact::Owner(o) => drop(self.owners.insert((o.kind, o.name.clone()), Arc::new(o))),
            Fact::Namespace(labels) => self.labels = Some(labels),
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        self.carriers.remove(&(kind, name.to_owned()));
        match kind {
            Kind::PodDisruptionBudget => drop(self.budgets.remove(name)),
            Kind::PersistentVolumeClaim => drop(self.claims.remove(name)),
            Kind::HorizontalPodAutoscaler | Kind::ScaledObject => {
                drop(self.autoscalers.remove(&(kind, name.to_owned())));
            }
            Kind::Namespace => {
                self.labels = None;
                self.carriers.retain(|(kind, _), _| *kind != Kind::Namespace);
            }
            kind => drop(self.workloads.remove(&(kind, name.to_owned()))),
        }
    }

    /// Puts in what was found of a reference, in place of all that was known of it.
    pub fn replace(&mut self, reference: &Reference, found: impl IntoIterator<Item = Fact>) {
        match reference {
            Reference::Object(kind, name) => self.remove(*kind, name),
            Reference::All(kind) => self.clear(*kind),
            // Nobody watches these, so there is nothing old to forget.
            Reference::Owner(..) => {}
        }
        found.into_iter().for_each(|fact| self.insert(fact));
    }

    /// Forgets every object of a kind.
    pub fn clear(&mut self, kind: Kind) {
        for name in self.names(kind) {
            self.remove(kind, &name);
        }
    }

    /// Whether nothing at all is known.
    pub fn is_empty(&self) -> bool {
        self.labels.is_none()
            && self.workloads.is_empty()
            && self.autoscalers.is_empty()
            && self.budgets.is_empty()
            && self.claims.is_empty()
            && self.carriers.is_empty()
    }

    /// Names of the objects of a kind; a namespace's own labels have none.
    pub fn names(&self, kind: Kind) -> BTreeSet<String> {
        let of_kind = |key: &(Kind, String)| (key.0 == kind).then(|| key.1.clone());
        match kind {
            Kind::PodDisruptionBudget => self.budgets.keys().cloned().collect(),
            Kind::PersistentVolumeClaim => self.claims.keys().cloned().collect(),
            Kind::HorizontalPodAutoscaler | Kind::ScaledObject => {
                self.autoscalers.keys().filter_map(of_kind).collect()
            }
            Kind::CronJob | Kind::DaemonSet => self.carriers.keys().filter_map(of_kind).collect(),
            _ => self.workloads.keys().filter_map(of_kind).collect(),
        }
    }
}

/// The facts of all namespaces, shared between the watches that fill them and the requests that read them.
#[derive(Debug, Default)]
pub struct Facts {
    namespaces: RwLock<HashMap<String, Arc<NamespaceFacts>>>,
    /// Kinds whose changes nobody hears of.
    outdated: RwLock<BTreeSet<Kind>>,
}

impl Facts {
    /// A snapshot of one namespace; empty if nothing is known of it.
    pub fn namespace(&self, name: &str) -> Arc<NamespaceFacts> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.get(name).cloned().unwrap_or_default()
    }

    /// Snapshots of all namespaces.
    pub fn namespaces(&self) -> Vec<(String, Arc<NamespaceFacts>)> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.iter().map(|(name, facts)| (name.clone(), Arc::clone(facts))).collect()
    }

    /// Whether changes of a kind are heard of, so that what is known of it is milliseconds old at most.
    pub fn is_current(&self, kind: Kind) -> bool {
        !self.outdated.read().unwrap_or_else(PoisonError::into_inner).contains(&kind)
    }

    /// Notes whether changes of a kind are heard of.
    pub fn set_current(&self, kind: Kind, is_current: bool) {
        // Heard of far more often than lost, so the common case only reads.
        if self.is_current(kind) == is_current {
            return;
        }
        let mut outdated = self.outdated.write().unwrap_or_else(PoisonError::into_inner);
        if is_current {
            outdated.remove(&kind)
        } else {
            outdated.insert(kind)
        };
    }

    /// Changes the facts of one namespace. Readers that hold a snapshot keep the old ones.
    pub fn update(&self, namespace: &str, change: impl FnOnce(&mut NamespaceFacts)) {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        let facts = namespaces.entry(namespace.to_owned()).or_default();
        change(Arc::make_mut(facts));
        if facts.is_empty() {
            namespaces.remove(namespace);
        }
    }

    /// Forgets every object of a kind that is not listed: what a watch does after it had to list again.
    pub fn retain(&self, kind: Kind, keep: &BTreeSet<(String, String)>) {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        for (namespace, facts) in namespaces.iter_mut() {
            let gone: Vec<String> = if kind == Kind::Namespace {
                let known = facts.labels.is_some() && !keep.contains(&(String::new(), namespace.clone()));
                known.then(String::new).into_iter().collect()
            } else {
                let names = facts.names(kind).into_iter();
                names.filter(|name| !keep.contains(&(namespace.clone(), name.clone()))).collect()
            };
            for name in gone {
                Arc::make_mut(facts).remove(kind, &name);
            }
        }
    }

    /// How many objects of a kind are known.
    pub fn count(&self, kind: Kind) -> usize {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces
            .values()
            .map(|facts| match kind {
                Kind::Namespace => usize::from(facts.labels.is_some()),
                kind => facts.names(kind).len(),
            })
            .sum()
    }
}
