//! What a request is about: the object itself or, for the scale subresource, the workload behind it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Request;
use crate::facts::{Fact, NamespaceFacts, Reference, RolloutStrategy, Workload, annotations};
use crate::object::{Body, Kind, Labels, is_same_json};
use crate::policy::Match;
use crate::verdict::Subject;

/// The object before and after the request, as facts.
pub(super) struct Subjects {
    /// What findings are about.
    pub(super) subject: Subject,
    /// Labels that policies select by.
    pub(super) labels: Labels,
    /// The labels before the request; those of a new object are its own.
    pub(super) labels_before: Labels,
    /// Annotations that Plimsoll reads, of the object or of the workload that is scaled.
    pub(super) annotations: Labels,
    /// The same before.
    pub(super) old_annotations: Labels,
    /// The fact that the object would become.
    pub(super) new: Option<Fact>,
    /// The fact that it was.
    pub(super) old: Option<Fact>,
    /// How many replicas it had before.
    pub(super) previous_replicas: Option<i64>,
    /// When the workload behind a scale request was created.
    pub(super) created: Option<Timestamp>,
    /// Whether the request leaves the spec as it is, and every annotation that Plimsoll reads.
    pub(super) is_metadata_only: bool,
    /// Whether it is a scale request, which carries none of the workload's metadata.
    pub(super) is_scale: bool,
    /// Whether a controller that is judged itself made the object.
    pub(super) belongs_to_another: bool,
    /// Where the object is judged instead, if its author can't know.
    pub(super) judged_at: Option<String>,
    /// What has to be read before this is certain.
    pub(super) missing: BTreeSet<Reference>,
    /// The objects that it took to tell.
    pub(super) looked_at: BTreeSet<Reference>,
}

impl Subjects {
    pub(super) fn of(request: &Request<'_>, facts: &NamespaceFacts) -> Self {
        match &request.object.body {
            Body::Scale(scale) => Self::of_scale(request, scale.replicas, facts),
            _ => Self::of_object(request, facts),
        }
    }

    /// Whether a policy's objectSelector selects the object. As in the apiserver, the labels before
    /// count as well as those after, so a change can't slip out with its own label. A Namespace is in
    /// a policy by its labels as a namespace alone.
    pub(super) fn is_selected(&self, matching: &Match) -> bool {
        self.subject.kind == Kind::Namespace
            || matching.object(&self.labels)
            || matching.object(&self.labels_before)
    }

    fn of_object(request: &Request<'_>, facts: &NamespaceFacts) -> Self {
        let (object, old) = (&request.object, request.old.as_ref());
        let new_annotations = annotations(object);
        let old_annotations = old.map(annotations).unwrap_or_default();
        // How many pods a ReplicaSet runs is its controller's business, which is judged for it.
        let is_managed = request.kind == Kind::ReplicaSet && object.metadata.controller().is_some();
        let project = |object| if is_managed { None } else { Fact::project(object) };
        let old_fact = old.and_then(project);
        let previous_replicas = match &old_fact {
            Some(Fact::Workload(workload)) => Some(workload.replicas),
            _ => None,
        };
        let (mut missing, mut looked_at) = (BTreeSet::new(), BTreeSet::new());
        let mut look = |reference: Reference, is_there: bool| {
            if !is_there {
                missing.insert(reference.clone());
            }
            looked_at.insert(reference);
        };
        let judged_at = scaled_object(request, facts, &mut look);
        let same_spec = old.is_some_and(|old| is_same_json(old.spec_text(), object.spec_text()));
        Self {
            subject: subject(request, object.display_name()),
            labels: object.metadata.labels.iter().collect(),
            labels_before: old.unwrap_or(object).metadata.labels.iter().collect(),
            // A namespace's labels are what policies go by.
            is_metadata_only: same_spec
                && new_annotations == old_annotations
                && request.kind != Kind::Namespace,
            annotations: new_annotations,
            old_annotations,
            new: project(object),
            old: old_fact,
            previous_replicas,
            created: None,
            is_scale: false,
            belongs_to_another: judged_at.is_some(),
            judged_at,
            missing,
            looked_at,
        }
    }

    /// A scale request carries neither labels nor annotations; the workload comes from the facts, and
    /// its version tells whether they are current.
    fn of_scale(request: &Request<'_>, replicas: i64, facts: &NamespaceFacts) -> Self {
        let name = request.object.display_name();
        let known = facts.workload(request.kind, &name);
        let version = request.object.metadata.resource_version.as_deref().unwrap_or_default();
        let is_current = known.is_some_and(|workload| is_as_new(&workload.resource_version, version));
        let workload = known.map_or_else(|| unknown(request.kind, &name), |workload| (**workload).clone());
        let before = match request.old.as_ref().map(|old| &old.body) {
            Some(Body::Scale(scale)) => Some(scale.replicas),
            _ => None,
        };
        let reference = Reference::Object(request.kind, name.clone());
        Self {
            subject: subject(request, name),
            labels: workload.labels.clone(),
            labels_before: workload.labels.clone(),
            annotations: workload.annotations.clone(),
            old_annotations: workload.annotations.clone(),
            created: workload.created,
            old: before.map(|replicas| Fact::Workload(Workload { replicas, ..workload.clone() })),
            new: Some(Fact::Workload(Workload { replicas, ..workload })),
            previous_replicas: before,
            is_metadata_only: before == Some(replicas),
            is_scale: true,
            belongs_to_another: known.is_some_and(|workload| workload.is_managed),
            judged_at: None,
            // The version proves what the cache has, or that it is behind.
            missing: if is_current { BTreeSet::new() } else { BTreeSet::from([reference]) },
            looked_at: BTreeSet::new(),
        }
    }
}

/// The ScaledObject that KEDA made an HPA from, in words. The owner reference alone proves nothing: the
/// ScaledObject has to be there with that uid, and target and range have to be what KEDA makes of it
/// (`controllers/keda/hpa.go`, `newHPAForScaledObject`).
fn scaled_object(
    request: &Request<'_>,
    facts: &NamespaceFacts,
    look: &mut impl FnMut(Reference, bool),
) -> Option<String> {
    let Some(Fact::Autoscaler(horizontal)) = Fact::project(&request.object) else { return None };
    let made_from = horizontal.made_from.as_ref()?;
    let known = facts.autoscaler(Kind::ScaledObject, &made_from.name);
    let is_its_own = known.is_some_and(|scaled| {
        !scaled.uid.is_empty()
            && scaled.uid == made_from.uid
            && scaled.target == horizontal.target
            && (scaled.active_minimum, scaled.maximum) == (horizontal.minimum, horizontal.maximum)
    });
    look(Reference::Object(Kind::ScaledObject, made_from.name.clone()), is_its_own);
    is_its_own.then(|| format!("{} {}", Kind::ScaledObject, made_from.name))
}

pub(super) fn subject(request: &Request<'_>, name: String) -> Subject {
    let namespace = if request.kind == Kind::Namespace { "" } else { request.namespace };
    Subject { kind: request.kind, namespace: namespace.to_owned(), name }
}

/// Whether a version is that of the other or later. Versions of one resource compare as numbers
/// (KEP-5504); what isn't one is only known to be equal.
fn is_as_new(version: &str, other: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    version == other || number(version).zip(number(other)).is_some_and(|(version, other)| version > other)
}

/// A workload of which nothing but the name is known.
fn unknown(kind: Kind, name: &str) -> Workload {
    Workload {
        kind,
        name: name.to_owned(),
        uid: String::new(),
        resource_version: String::new(),
        created: None,
        replicas: 0,
        labels: Labels::default(),
        annotations: Labels::default(),
        pod_labels: Labels::default(),
        strategy: RolloutStrategy::OnDelete,
        is_managed: false,
        claims: Box::default(),
        is_spread: true,
        without_requests: Box::default(),
    }
}
