//! The facts of all namespaces, which watches fill and requests read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::NamespaceFacts;
use crate::object::Kind;

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

    /// Forgets every object of a kind that is not among those listed, by namespace: what a watch does
    /// after it had to list again. A namespace itself is listed under its own name.
    pub fn retain(&self, kind: Kind, listed: &BTreeMap<String, BTreeSet<String>>) {
        for (namespace, facts) in self.namespaces() {
            let listed = listed.get(&namespace);
            if kind == Kind::Namespace && listed.is_none() {
                self.update(&namespace, |facts| facts.clear(kind));
                continue;
            }
            let is_listed = |name: &&str| listed.is_some_and(|names| names.contains(*name));
            let gone: Vec<_> = facts.names(kind).into_iter().filter(|name| !is_listed(name)).collect();
            if !gone.is_empty() {
                self.update(&namespace, |facts| gone.iter().for_each(|name| facts.remove(kind, name)));
            }
        }
    }

    /// How many objects of a kind are known.
    pub fn count(&self, kind: Kind) -> usize {
        let count = |facts: &NamespaceFacts| match kind {
            Kind::Namespace => usize::from(facts.labels.is_some()),
            kind => facts.names(kind).len(),
        };
        self.namespaces().iter().map(|(_, facts)| count(facts)).sum()
    }
}
