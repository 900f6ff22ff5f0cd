//! The objects that carry waivers, and which waivers any finding asks for.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::identify;
use crate::engine::waivers::{Holder, Listed, Register};
use crate::engine::{self, Operation, Request};
use crate::facts::{Fact, Facts, NamespaceFacts, annotations, owned};
use crate::manifest::Document;
use crate::object::{Kind, Object, ReadError};
use crate::policy::Policy;
use crate::verdict::Subject;

/// The kinds that can carry waivers: Namespaces, and what is judged.
pub(super) const HOLDERS: [Kind; 8] = [
    Kind::Namespace,
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::CronJob,
    Kind::HorizontalPodAutoscaler,
    Kind::PodDisruptionBudget,
    Kind::ScaledObject,
];

/// What is kept of the objects.
#[derive(Default)]
pub(super) struct Gathered {
    carriers: Vec<Carrier>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    needed: HashSet<(Subject, &'static str)>,
    pub(super) unreadable: Vec<String>,
}

/// An object with an annotation that is Plimsoll's.
struct Carrier {
    subject: Subject,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Gathered {
    /// The waivers of manifests, with the other manifests as the cluster.
    pub(super) fn from_documents(documents: &[Document], policies: &[Policy], now: Timestamp) -> Self {
        let facts = Facts::default();
        let mut objects = Vec::new();
        for document in documents {
            let text = |value: &Value, field: &str| {
                value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let api_version = text(&document.value, "apiVersion");
            let group = api_version.split_once('/').map_or("", |(group, _)| group);
            let Some(kind) = Kind::from_group_kind(group, &text(&document.value, "kind")) else { continue };
            let metadata = document.value.get("metadata").unwrap_or(&Value::Null);
            let namespace = match (kind, text(metadata, "namespace")) {
                (Kind::Namespace, _) => text(metadata, "name"),
                (_, namespace) if namespace.is_empty() => "default".to_owned(),
                (_, namespace) => namespace,
            };
            let json = document.value.to_string();
            if let Some(fact) = Object::read(kind, &json).ok().and_then(|object| Fact::project(&object)) {
                facts.update(&namespace, |facts| facts.insert(fact));
            }
            objects.push((kind, namespace, json));
        }
        let mut gathered = Self::default();
        for (kind, namespace, json) in objects.iter().filter(|(kind, ..)| HOLDERS.contains(kind)) {
            gathered.take(*kind, json, Some(namespace), policies, &|name| facts.namespace(name), now);
        }
        gathered
    }

    /// Takes in one object: its waivers, and those that it needs.
    pub(super) fn take(
        &mut self,
        kind: Kind,
        text: &str,
        namespace: Option<&str>,
        policies: &[Policy],
        facts: &dyn Fn(&str) -> Arc<NamespaceFacts>,
        now: Timestamp,
    ) {
        if let Err(error) = self.try_take(kind, text, namespace, policies, facts, now) {
            self.unreadable.push(format!("{kind} {} can't be read: {error}", identify(text)));
        }
    }

    fn try_take(
        &mut self,
        kind: Kind,
        text: &str,
        namespace: Option<&str>,
        policies: &[Policy],
        facts: &dyn Fn(&str) -> Arc<NamespaceFacts>,
        now: Timestamp,
    ) -> Result<(), ReadError> {
        let object = Object::read(kind, text)?;
        let name = object.display_name();
        let written = object.metadata.namespace.as_deref().unwrap_or_default();
        let namespace = match kind {
            Kind::Namespace => name.clone(),
            _ => namespace.unwrap_or(written).to_owned(),
        };
        let labels = owned(&object.metadata.labels);
        let annotations = annotations(&object);
        if kind == Kind::Namespace {
            self.namespaces.insert(name.clone(), labels.clone());
        }
        if !annotations.is_empty() {
            let of = if kind == Kind::Namespace { String::new() } else { namespace.clone() };
            let subject = Subject { kind, namespace: of, name };
            self.carriers.push(Carrier { subject, labels, annotations });
        }
        let request = Request {
            operation: Operation::Create,
            kind,
            namespace: &namespace,
            user: "",
            groups: Vec::new(),
            manager: None,
            manifest: false,
            object,
            old: None,
        };
        self.needed.extend(engine::judge(&request, policies, &facts(&namespace), now).waivers);
        Ok(())
    }

    /// The waivers, by their end.
    pub(super) fn list(&self, policies: &[Policy], now: Timestamp) -> Vec<Listed> {
        let register = Register { policies, namespaces: &self.namespaces, needed: Some(&self.needed), now };
        register.list(self.carriers.iter().map(|carrier| Holder {
            subject: carrier.subject.clone(),
            labels: &carrier.labels,
            annotations: &carrier.annotations,
        }))
    }
}
