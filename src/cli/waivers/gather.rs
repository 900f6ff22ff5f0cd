//! The objects that carry waivers, and which waivers any finding asks for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::cli::judged::JUDGED;
use crate::cluster::identify;
use crate::engine::waivers::{Holder, Listed, Register};
use crate::engine::{self, Request};
use crate::facts::{Carrier, NamespaceFacts};
use crate::manifest::Document;
use crate::object::{Kind, Labels, Object, ReadError};
use crate::offline::{self, Manifest};
use crate::policy::Policy;
use crate::verdict::Subject;

/// Whether an object can carry waivers: Namespaces can, and what is judged.
fn can_carry(kind: Kind) -> bool {
    kind == Kind::Namespace || JUDGED.contains(&kind)
}

/// What is kept of the objects, and what they are judged by.
pub(super) struct Gathered<'p> {
    policies: &'p [Policy],
    now: Timestamp,
    carriers: Vec<(Subject, Carrier)>,
    namespaces: BTreeMap<String, Labels>,
    needed: HashSet<(Subject, &'static str)>,
    pub(super) unreadable: Vec<String>,
}

impl<'p> Gathered<'p> {
    pub(super) fn new(policies: &'p [Policy], now: Timestamp) -> Self {
        Self {
            policies,
            now,
            carriers: Vec::new(),
            namespaces: BTreeMap::new(),
            needed: HashSet::new(),
            unreadable: Vec::new(),
        }
    }

    /// Takes in manifests, each with the others as the cluster.
    pub(super) fn take_manifests(&mut self, documents: Vec<Document>) {
        let manifests: Vec<Manifest> =
            documents.into_iter().filter_map(|document| Manifest::of(document, "default")).collect();
        let facts = offline::facts(manifests.iter().map(|manifest| (manifest, manifest.text())));
        let facts: HashMap<_, _> = facts.into_iter().map(|(name, facts)| (name, Arc::new(facts))).collect();
        for manifest in manifests.iter().filter(|manifest| can_carry(manifest.kind)) {
            let facts = |name: &str| facts.get(name).cloned().unwrap_or_default();
            self.take(manifest.kind, manifest.text(), Some(&manifest.namespace), &facts);
        }
    }

    /// Takes in one object: its waivers, and those that it needs. A manifest comes with its namespace.
    pub(super) fn take(
        &mut self,
        kind: Kind,
        text: &str,
        namespace: Option<&str>,
        facts: &dyn Fn(&str) -> Arc<NamespaceFacts>,
    ) {
        if let Err(error) = self.try_take(kind, text, namespace, facts) {
            self.unreadable.push(format!("{kind} {} can't be read: {error}", identify(text)));
        }
    }

    fn try_take(
        &mut self,
        kind: Kind,
        text: &str,
        namespace: Option<&str>,
        facts: &dyn Fn(&str) -> Arc<NamespaceFacts>,
    ) -> Result<(), ReadError> {
        let object = Object::read(kind, text)?;
        let name = object.display_name();
        let written = object.metadata.namespace.as_deref().unwrap_or_default();
        let manifest = namespace.is_some();
        let namespace = match (kind, namespace) {
            (Kind::Namespace, _) => name.clone(),
            (_, namespace) => namespace.unwrap_or(written).to_owned(),
        };
        if kind == Kind::Namespace {
            self.namespaces.insert(name.clone(), object.metadata.labels.iter().collect());
        }
        if let Some(carrier) = Carrier::project(&object) {
            let of = if kind == Kind::Namespace { String::new() } else { namespace.clone() };
            self.carriers.push((Subject { kind, namespace: of, name }, carrier));
        }
        let request = Request { manifest, ..Request::create(kind, &namespace, object) };
        let judged = engine::judge(&request, self.policies, &facts(&namespace), self.now);
        self.needed.extend(judged.waivers);
        Ok(())
    }

    /// The waivers, by their end.
    pub(super) fn list(&self) -> Vec<Listed> {
        let Self { policies, now, namespaces, needed, .. } = self;
        let register = Register { policies, namespaces, needed: Some(needed), now: *now };
        register.list(self.carriers.iter().map(|(subject, carrier)| Holder {
            subject: subject.clone(),
            labels: &carrier.labels,
            annotations: &carrier.annotations,
        }))
    }
}
