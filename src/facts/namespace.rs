//! The facts of one namespace, and how they are found.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::table::{Row, Tables};
use super::{Autoscaler, Budget, Carrier, Claim, Fact, Owner, Reference, Workload};
use crate::object::{Kind, Labels};

/// The facts of one namespace. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct NamespaceFacts {
    /// The namespace's labels; `None` if nobody knows them.
    pub labels: Option<Labels>,
    workloads: Tables<Workload>,
    autoscalers: Tables<Autoscaler>,
    budgets: Tables<Budget>,
    claims: Tables<Claim>,
    owners: Tables<Owner>,
    carriers: Tables<Carrier>,
}

impl NamespaceFacts {
    /// The workload of a kind and name.
    pub fn workload(&self, kind: Kind, name: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(kind, name)
    }

    /// Every workload.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.iter().map(|(_, workload)| workload)
    }

    /// The autoscaler of a kind and name.
    pub fn autoscaler(&self, kind: Kind, name: &str) -> Option<&Arc<Autoscaler>> {
        self.autoscalers.get(kind, name)
    }

    /// The autoscalers whose target has this name, of whatever kind it is.
    pub fn autoscalers_over(&self, name: &str) -> impl Iterator<Item = &Arc<Autoscaler>> {
        self.autoscalers.filed_under(name)
    }

    /// The budgets that select pods with these labels, in the order of their names.
    pub fn budgets_over(&self, pod_labels: &Labels) -> Vec<&Arc<Budget>> {
        let clues: BTreeSet<&str> = pod_labels.values().chain([NO_LABEL]).collect();
        let filed = clues.into_iter().flat_map(|clue| self.budgets.filed_under(clue));
        let mut over: Vec<_> = filed.filter(|budget| budget.selects(pod_labels)).collect();
        over.sort_unstable_by_key(|budget| &budget.name);
        over
    }

    /// The claim of a name.
    pub fn claim(&self, name: &str) -> Option<&Arc<Claim>> {
        self.claims.get(Kind::PersistentVolumeClaim, name)
    }

    /// The object of a kind and name as a whole, if it was read.
    pub fn owner(&self, kind: Kind, name: &str) -> Option<&Arc<Owner>> {
        self.owners.get(kind, name)
    }

    /// What carries waivers, the namespace itself included.
    pub fn carriers(&self) -> impl Iterator<Item = (Kind, &Arc<Carrier>)> {
        self.carriers.iter()
    }

    /// The uid of an object, as far as anything is kept of it.
    pub fn uid(&self, kind: Kind, name: &str) -> Option<&str> {
        let carrier = self.carriers.get(kind, name).map(|carrier| &carrier.uid);
        let workload = || self.workloads.get(kind, name).map(|workload| &workload.uid);
        let autoscaler = || self.autoscalers.get(kind, name).map(|autoscaler| &autoscaler.uid);
        let uid = carrier.or_else(workload).or_else(autoscaler)?;
        Some(uid.as_str()).filter(|uid| !uid.is_empty())
    }

    /// Whether anything of an object is kept.
    pub fn knows(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Namespace => self.labels.is_some(),
            kind => {
                self.workloads.get(kind, name).is_some()
                    || self.autoscalers.get(kind, name).is_some()
                    || self.budgets.get(kind, name).is_some()
                    || self.claims.get(kind, name).is_some()
                    || self.carriers.get(kind, name).is_some()
            }
        }
    }

    /// Notes that an object carries waivers, or that it doesn't (any more).
    pub fn carry(&mut self, kind: Kind, name: &str, carrier: Option<Carrier>) {
        match carrier {
            Some(carrier) => self.carriers.insert(kind, carrier),
            None => self.carriers.remove(kind, name),
        }
    }

    /// Puts a fact in, in place of an older one about the same object.
    pub fn insert(&mut self, fact: Fact) {
        match fact {
            Fact::Workload(workload) => self.workloads.insert(workload.kind, workload),
            Fact::Autoscaler(autoscaler) => self.autoscalers.insert(autoscaler.kind, autoscaler),
            Fact::Budget(budget) => self.budgets.insert(Kind::PodDisruptionBudget, budget),
            Fact::Claim(claim) => self.claims.insert(Kind::PersistentVolumeClaim, claim),
            Fact::Owner(owner) => self.owners.insert(owner.kind, owner),
            Fact::Namespace(labels) => self.labels = Some(labels),
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        if kind == Kind::Namespace {
            return self.clear(kind);
        }
        self.workloads.remove(kind, name);
        self.autoscalers.remove(kind, name);
        self.budgets.remove(kind, name);
        self.claims.remove(kind, name);
        self.carriers.remove(kind, name);
    }

    /// Forgets every object of a kind.
    pub fn clear(&mut self, kind: Kind) {
        if kind == Kind::Namespace {
            self.labels = None;
        }
        self.workloads.clear(kind);
        self.autoscalers.clear(kind);
        self.budgets.clear(kind);
        self.claims.clear(kind);
        self.carriers.clear(kind);
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

    /// Whether nothing at all is known.
    pub fn is_empty(&self) -> bool {
        self.labels.is_none()
            && self.workloads.is_empty()
            && self.autoscalers.is_empty()
            && self.budgets.is_empty()
            && self.claims.is_empty()
            && self.carriers.is_empty()
    }

    /// Names of the objects of a kind of which anything is kept; a namespace's own labels have none.
    pub fn names(&self, kind: Kind) -> BTreeSet<&str> {
        let workloads = self.workloads.names(kind).chain(self.autoscalers.names(kind));
        let others = self.budgets.names(kind).chain(self.claims.names(kind));
        workloads.chain(others).chain(self.carriers.names(kind)).collect()
    }
}

impl Row for Workload {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Row for Autoscaler {
    fn name(&self) -> &str {
        &self.name
    }

    fn clues(&self) -> Vec<&str> {
        vec![&self.target.name]
    }
}

/// Under this are the budgets that ask for no label with a certain value.
const NO_LABEL: &str = "";

impl Row for Budget {
    fn name(&self) -> &str {
        &self.name
    }

    /// The values of the labels that it asks for: the pods that it selects have them all.
    fn clues(&self) -> Vec<&str> {
        let labels = self.selector.iter().flat_map(|selector| selector.match_labels.values());
        let values: BTreeSet<&str> = labels.collect();
        if values.is_empty() { vec![NO_LABEL] } else { values.into_iter().collect() }
    }
}

impl Row for Claim {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Row for Owner {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Row for Carrier {
    fn name(&self) -> &str {
        &self.name
    }
}
