//! What a rule sees: the object as it would be stored, and the facts around it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::availability::Availability;
use crate::facts::{Autoscaler, Budget, Claim, Fact, NamespaceFacts, Pause, Reference, Workload};
use crate::object::{
    Body, Container, ContainerKind, Intent, Kind, LabelSelector, Labels, Object, PodSpec, is_same_json,
};
use crate::verdict::{Action, Finding, Subject};

/// The annotation by which a team declares its own singleton.
pub const SINGLETON_ANNOTATION: &str = "plimsoll.dev/singleton";

/// Whether the annotation's value declares one: it is `true` or the reason.
pub fn declares_singleton(value: &str) -> bool {
    !matches!(value.trim(), "false" | "")
}

/// A workload that must never run twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Singleton {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The singletons of all policies that apply to the object.
#[derive(Clone, Debug, Default)]
pub struct Singletons<'c> {
    /// Those that policies declare.
    pub declared: Vec<&'c Singleton>,
    /// Whether the annotation counts.
    pub by_annotation: bool,
}

/// The pods that an object makes, and where it says what they are like.
pub struct Pods<'c> {
    /// What they are like.
    pub spec: &'c PodSpec<'c>,
    /// The field, as people write it: `spec.template.spec`.
    pub path: String,
    /// The same as a JSON pointer.
    pub pointer: String,
}

/// A container of a pod, and where it is.
pub struct Place<'c> {
    /// The container.
    pub container: &'c Container<'c>,
    /// Its list.
    pub kind: ContainerKind,
    /// The field, as people write it: `spec.template.spec.containers[app]`.
    pub path: String,
    /// The same as a JSON pointer.
    pub pointer: String,
}

impl<'c> Pods<'c> {
    /// Every container with its place, init containers first.
    pub fn containers(&self) -> impl Iterator<Item = Place<'c>> {
        self.spec.containers().map(|(kind, index, container)| Place {
            container,
            kind,
            path: format!("{}.{}[{}]", self.path, kind.field(), container.name),
            pointer: format!("{}/{}/{index}", self.pointer, kind.field()),
        })
    }
}

/// One object to judge, and what surrounds it.
pub struct Context<'c> {
    /// The object as it would be stored. In a scale request this is the Scale.
    pub object: &'c Object<'c>,
    /// What findings are about: the object, or the workload that is scaled.
    pub subject: Subject,
    /// The fact that the object would become, or the scaled workload as it would be.
    pub own: Option<Fact>,
    /// How many replicas the workload had before, in an UPDATE.
    pub previous_replicas: Option<i64>,
    /// The object before, in an UPDATE.
    pub old: Option<&'c Object<'c>>,
    /// The field manager of the request; `None` for a manifest, in which what is absent is unset.
    pub manager: Option<&'c str>,
    /// Whether the object is a manifest, so that no API default has covered up what is unset.
    pub manifest: bool,
    /// Whether the object is judged where it lies, by a scan, and not on its way there.
    pub is_stored: bool,
    /// Whether the object is what the request replaces.
    pub is_past: bool,
    /// Whether the namespace that the object is was in the policy at hand and no longer would be.
    pub leaves_policy: bool,
    /// Singletons.
    pub singletons: &'c Singletons<'c>,
    facts: &'c NamespaceFacts,
    /// What rules have asked of the facts.
    consulted: RefCell<BTreeSet<Reference>>,
    /// Which partners that the object names or selects are not there.
    missing: RefCell<BTreeSet<Reference>>,
    /// What selectors select: rules ask for the same again, and each time it is a look at every workload.
    selections: RefCell<Vec<(LabelSelector, Vec<Arc<Workload>>)>>,
}

impl<'c> Context<'c> {
    /// A context without a past.
    pub fn new(
        object: &'c Object<'c>,
        subject: Subject,
        own: Option<Fact>,
        singletons: &'c Singletons<'c>,
        facts: &'c NamespaceFacts,
    ) -> Self {
        Self {
            object,
            subject,
            own,
            previous_replicas: None,
            old: None,
            manager: None,
            manifest: false,
            is_stored: false,
            is_past: false,
            leaves_policy: false,
            singletons,
            facts,
            consulted: RefCell::default(),
            missing: RefCell::default(),
            selections: RefCell::default(),
        }
    }

    /// The pods that the object makes, or the one that it is.
    pub fn pods(&self) -> Option<Pods<'c>> {
        let (spec, path) = self.object.pod_spec()?;
        Some(Pods { spec, path: path.to_owned(), pointer: format!("/{}", path.replace('.', "/")) })
    }

    /// The workload that the object is, or that a scale request changes, as it would be.
    pub fn workload(&self) -> Option<&Workload> {
        match &self.own {
            Some(Fact::Workload(workload)) => Some(workload),
            _ => None,
        }
    }

    /// The autoscaler that the object is.
    pub fn autoscaler(&self) -> Option<&Autoscaler> {
        match &self.own {
            Some(Fact::Autoscaler(autoscaler)) => Some(autoscaler),
            _ => None,
        }
    }

    /// The budget that the object is.
    pub fn budget(&self) -> Option<&Budget> {
        match &self.own {
            Some(Fact::Budget(budget)) => Some(budget),
            _ => None,
        }
    }

    /// Whether the author sent the field.
    pub fn intent(&self, path: &[&str], is_set: bool) -> Intent {
        match (self.manifest, is_set) {
            (true, true) => Intent::Set,
            (true, false) => Intent::Unset,
            (false, _) => Intent::of(self.object, self.old, self.manager, path),
        }
    }

    /// The autoscalers that scale a workload, this object included.
    pub fn autoscalers_of(&self, kind: Kind, name: &str) -> Vec<Arc<Autoscaler>> {
        self.consult(Reference::All(Kind::HorizontalPodAutoscaler));
        self.consult(Reference::All(Kind::ScaledObject));
        let own = self.autoscaler();
        let others = self.facts.autoscalers_over(name);
        let others = others.filter(|a| own.is_none_or(|o| (o.kind, &o.name) != (a.kind, &a.name)));
        others
            .filter(|a| !self.is_made_by_keda(a))
            .cloned()
            .chain(own.cloned().map(Arc::new))
            .filter(|a| a.target.is(kind, name))
            .collect()
    }

    /// Whether an HPA was made by KEDA from a ScaledObject that is there, or is made over into its
    /// own by this very ScaledObject. It is the same autoscaler, then: KEDA keeps it as the
    /// ScaledObject says.
    fn is_made_by_keda(&self, horizontal: &Autoscaler) -> bool {
        let own = self.autoscaler().filter(|own| own.kind == Kind::ScaledObject);
        if own.is_some_and(|own| own.takes_over.as_ref() == Some(&horizontal.name)) {
            return horizontal.kind == Kind::HorizontalPodAutoscaler;
        }
        let Some(made_from) = &horizontal.made_from else { return false };
        let is_it = |scaled: &Autoscaler| {
            !made_from.uid.is_empty() && (&scaled.name, &scaled.uid) == (&made_from.name, &made_from.uid)
        };
        own.is_some_and(is_it)
            || self.facts.autoscaler(Kind::ScaledObject, &made_from.name).is_some_and(|a| is_it(a))
    }

    /// How many pods of a workload run.
    pub fn availability(&self, workload: &Workload) -> Availability {
        let autoscalers = self.autoscalers_of(workload.kind, &workload.name);
        // Pausing KEDA at a count makes it set that count, once; somebody may have scaled it since.
        let own = self.autoscaler().filter(|own| own.scales(workload) && !self.is_past);
        let pause = own.and_then(|own| own.pause);
        match pause {
            Some(Pause::At(replicas)) => {
                Availability::of(&Workload { replicas, ..workload.clone() }, &autoscalers)
            }
            _ => Availability::of(workload, &autoscalers),
        }
    }

    /// The autoscaler that may set the most replicas of a workload, even if it lets it be for now: it
    /// goes on as soon as somebody starts what is switched off, or lifts the pause.
    pub fn boldest_of(&self, workload: &Workload) -> Option<Arc<Autoscaler>> {
        self.autoscalers_of(workload.kind, &workload.name).into_iter().max_by_key(|a| a.most())
    }

    /// The workload whose count the request is about: the object, or what it scales.
    pub fn scaled(&self) -> Option<Arc<Workload>> {
        match &self.own {
            Some(Fact::Workload(workload)) => Some(Arc::new(workload.clone())),
            Some(Fact::Autoscaler(autoscaler)) => self.target(autoscaler),
            _ => None,
        }
    }

    /// The field of the object that sets the floor of what it scales.
    pub fn floor_path(&self) -> &'static str {
        match &self.object.body {
            Body::Autoscaler(spec) => spec.minimum_path(),
            _ => "spec.replicas",
        }
    }

    /// The workload that keeps 2 pods or more by what this request is about: the workload itself, its
    /// scale, or an autoscaler that raises what the workload alone wouldn't have.
    pub fn replicated(&self) -> Option<Arc<Workload>> {
        let workload = self.scaled()?;
        let by_itself = self.autoscaler().is_some() && workload.replicas >= 2;
        (!by_itself && self.availability(&workload).floor >= 2).then_some(workload)
    }

    /// The other autoscalers of an autoscaler's target.
    pub fn rivals_of(&self, autoscaler: &Autoscaler) -> Vec<Arc<Autoscaler>> {
        self.consult(Reference::All(Kind::HorizontalPodAutoscaler));
        self.consult(Reference::All(Kind::ScaledObject));
        let others = self.facts.autoscalers_over(&autoscaler.target.name);
        let others = others.filter(|a| a.target == autoscaler.target);
        let others = others.filter(|a| (a.kind, &a.name) != (autoscaler.kind, &autoscaler.name));
        others.filter(|a| !self.is_made_by_keda(a)).cloned().collect()
    }

    /// Names of the claims that a workload's pods mount and that take one writer. A volume that can
    /// be mounted by many as well takes more.
    pub fn single_writer_claims(&self, workload: &Workload) -> BTreeSet<String> {
        let takes_one = |claim: &Claim| {
            let has = |mode: &str| claim.access_modes.iter().any(|m| m == mode);
            (has("ReadWriteOnce") || has("ReadWriteOncePod")) && !has("ReadWriteMany") && !has("ReadOnlyMany")
        };
        let claims = workload.claims.iter();
        claims.filter(|name| self.claim(name).is_some_and(|claim| takes_one(&claim))).cloned().collect()
    }

    /// The claim of a name; `None` if it isn't there (yet).
    pub fn claim(&self, name: &str) -> Option<Arc<Claim>> {
        let reference = Reference::Object(Kind::PersistentVolumeClaim, name.to_owned());
        let found = self.facts.claim(name).cloned();
        if found.is_none() {
            self.missing.borrow_mut().insert(reference.clone());
        }
        self.consult(reference);
        found
    }

    /// Whether the request comes with a pod template of its own: the object is new, or its template
    /// changes. Any other fix of the template would start a rollout that nobody asked for.
    pub fn brings_template(&self) -> bool {
        let Some(old) = self.old else { return true };
        match (old.template_text(), self.object.template_text()) {
            (Some(before), Some(now)) => !is_same_json(before, now),
            (before, now) => before != now,
        }
    }

    /// The workload that an autoscaler scales; `None` if it isn't there (yet).
    pub fn target(&self, autoscaler: &Autoscaler) -> Option<Arc<Workload>> {
        let kind = Kind::from_group_kind(&autoscaler.target.group, &autoscaler.target.kind)?;
        // Nobody may read other kinds. A ReplicaSet isn't watched, so it is read live each time.
        if !kind.scales() {
            return None;
        }
        let reference = Reference::Object(kind, autoscaler.target.name.clone());
        let found = self.facts.workload(kind, &autoscaler.target.name).cloned();
        if found.is_none() {
            self.missing.borrow_mut().insert(reference.clone());
        }
        self.consult(reference);
        found
    }

    /// The workloads whose pods a selector selects, this object included.
    pub fn selected(&self, selector: Option<&LabelSelector>) -> Vec<Arc<Workload>> {
        let kinds = [Kind::Deployment, Kind::StatefulSet].map(Reference::All);
        kinds.iter().for_each(|kind| self.consult(kind.clone()));
        let Some(selector) = selector else { return Vec::new() };
        let known = self.selections.borrow().iter().find(|(known, _)| known == selector).cloned();
        let (_, selected) = known.unwrap_or_else(|| {
            let selection = (selector.clone(), self.select(selector));
            self.selections.borrow_mut().push(selection.clone());
            selection
        });
        if selected.is_empty() {
            self.missing.borrow_mut().extend(kinds);
        }
        selected
    }

    fn select(&self, selector: &LabelSelector) -> Vec<Arc<Workload>> {
        let own = self.workload();
        // A Deployment's ReplicaSet counts through its Deployment.
        let others = self.facts.workloads().filter(|w| w.kind != Kind::ReplicaSet || !w.is_managed);
        let others = others.filter(|w| selector.matches(&w.pod_labels));
        let others = others.filter(|w| own.is_none_or(|o| (o.kind, &o.name) != (w.kind, &w.name)));
        let own = own.filter(|own| selector.matches(&own.pod_labels));
        others.cloned().chain(own.cloned().map(Arc::new)).collect()
    }

    /// The budgets that select pods with these labels, this object included.
    pub fn budgets_of(&self, pod_labels: &Labels) -> Vec<Arc<Budget>> {
        self.consult(Reference::All(Kind::PodDisruptionBudget));
        let own = self.budget();
        let others = self.facts.budgets_over(pod_labels).into_iter();
        let others = others.filter(|b| own.is_none_or(|o| o.name != b.name)).cloned();
        others.chain(own.filter(|own| own.selects(pod_labels)).cloned().map(Arc::new)).collect()
    }

    /// Why a workload is a singleton, if it is one. Policies declare by name, so that this holds
    /// before the workload is there.
    pub fn singleton(&self, kind: Kind, name: &str) -> Option<String> {
        let namespace = &self.subject.namespace;
        let by_policy = self.singletons.declared.iter().find(|singleton| {
            (singleton.kind, &singleton.namespace, singleton.name.as_str()) == (kind, namespace, name)
        });
        if let Some(singleton) = by_policy {
            return Some(singleton.reason.clone());
        }
        let workload = match self.workload() {
            Some(own) if (own.kind, own.name.as_str()) == (kind, name) => Some(own),
            _ => {
                self.consult(Reference::Object(kind, name.to_owned()));
                self.facts.workload(kind, name).map(AsRef::as_ref)
            }
        };
        self.annotated(workload?.annotations.get(SINGLETON_ANNOTATION)?)
    }

    /// Why the object's annotation made it a singleton before this request, if it did.
    pub fn was_annotated(&self) -> Option<String> {
        self.annotated(self.old?.metadata.annotations.get(SINGLETON_ANNOTATION)?)
    }

    fn annotated(&self, value: &str) -> Option<String> {
        match value.trim() {
            value if !self.singletons.by_annotation || !declares_singleton(value) => None,
            "true" => Some("it is annotated as a singleton".to_owned()),
            reason => Some(reason.to_owned()),
        }
    }

    /// The workloads that the object acts on, whose waivers count for it too.
    pub fn acts_on(&self) -> Vec<Arc<Workload>> {
        match &self.own {
            Some(Fact::Workload(workload)) => vec![Arc::new(workload.clone())],
            Some(Fact::Autoscaler(autoscaler)) => self.target(autoscaler).into_iter().collect(),
            Some(Fact::Budget(budget)) => self.selected(budget.selector.as_ref()),
            _ => Vec::new(),
        }
    }

    /// A finding at a field of the subject, to be filled in.
    pub fn finding(&self, rule: &'static str, path: impl Into<String>) -> Finding {
        let path = path.into();
        Finding {
            rule,
            subject: self.subject.clone(),
            place: path.clone(),
            path,
            severity: 1,
            observed: String::new(),
            required: String::new(),
            says: String::new(),
            needs: String::new(),
            remedy: String::new(),
            ceiling: Action::Deny,
            fix: Vec::new(),
            container: None,
        }
    }

    /// A finding at a field of a container, to be filled in.
    pub fn container_finding(&self, rule: &'static str, place: &Place<'_>, field: &str) -> Finding {
        let mut finding = self.finding(rule, format!("{}.{field}", place.path));
        finding.place = format!("container {}", place.container.name);
        finding.container = Some(place.container.name.to_string());
        finding
    }

    /// Takes what rules have asked of the facts since the last call.
    pub fn take_consulted(&self) -> BTreeSet<Reference> {
        self.consulted.take()
    }

    /// Takes the partners that were named or selected and not found since the last call.
    pub fn take_missing(&self) -> BTreeSet<Reference> {
        self.missing.take()
    }

    fn consult(&self, reference: Reference) {
        self.consulted.borrow_mut().insert(reference);
    }
}
