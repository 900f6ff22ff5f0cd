//! A reviewer between a cache and a cluster that may know better.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use plimsoll::admission::UserInfo;
use plimsoll::audit::{AuditLog, Settings};
use plimsoll::cluster::WATCHED;
use plimsoll::engine::Permission;
use plimsoll::facts::{Fact, Facts, NamespaceFacts, Owner, Reference};
use plimsoll::metrics::Metrics;
use plimsoll::object::{Kind, Object};
use plimsoll::policy::reload::Policies;
use plimsoll::review::{self, AuditFailure, Live, LiveError, Phase, Reading, Review, Reviewer};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// What there is, the Namespace `shop` included if it is known.
pub(crate) type World = Vec<(Kind, Value)>;

/// The namespace as a policy by label governs it.
pub(crate) fn production() -> (Kind, Value) {
    (Kind::Namespace, json!({"metadata": {"name": "shop", "labels": {"environment": "production"}}}))
}

fn fact(kind: Kind, object: &Value) -> Fact {
    Fact::project(&Object::read(kind, &object.to_string()).unwrap()).unwrap()
}

pub(crate) fn facts(world: &World) -> NamespaceFacts {
    let mut facts = NamespaceFacts::default();
    world.iter().for_each(|(kind, object)| facts.insert(fact(*kind, object)));
    facts
}

/// An object as a whole, to see what it makes.
fn owner(kind: Kind, object: &Value) -> Fact {
    let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Fact::Owner(Owner { kind, name: of("name"), uid: of("uid"), text: object.to_string() })
}

/// A cluster as it really is; `None` doesn't answer. It tells what it is asked for and nothing else.
#[derive(Default)]
struct Cluster {
    truth: Mutex<Option<World>>,
    asked: Mutex<Vec<BTreeSet<Reference>>>,
}

impl Live for Cluster {
    fn read<'a>(
        &'a self,
        _: &'a str,
        references: &'a BTreeSet<Reference>,
        facts: &'a NamespaceFacts,
        _: Duration,
    ) -> BoxFuture<'a, Reading> {
        self.asked.lock().unwrap().push(references.clone());
        let mut reading = Reading { facts: facts.clone(), failed: BTreeMap::new() };
        let truth = self.truth.lock().unwrap().clone();
        for reference in references {
            let Some(truth) = &truth else {
                reading.failed.insert(reference.clone(), LiveError("no answer".to_owned()));
                continue;
            };
            let is_meant = |(kind, object): &&(Kind, Value)| match reference {
                Reference::Object(of, name) | Reference::Owner(of, name) => {
                    of == kind && object["metadata"]["name"] == name.as_str()
                }
                Reference::All(of) => of == kind,
            };
            let whole = matches!(reference, Reference::Owner(..));
            let read = |(kind, object): &(Kind, Value)| {
                if whole { owner(*kind, object) } else { fact(*kind, object) }
            };
            let found = truth.iter().filter(is_meant).map(read);
            reading.facts.replace(reference, found);
        }
        Box::pin(async move { reading })
    }

    fn may_waive<'a>(
        &'a self,
        _: &'a UserInfo<'a>,
        _: &'a str,
        _: &'static str,
    ) -> BoxFuture<'a, Permission> {
        Box::pin(async { panic!("no policy here asks who may waive") })
    }
}

/// An answer, and how often the cluster was asked for it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) asked: usize,
}

impl Answer {
    pub(crate) fn allowed(&self) -> bool {
        self.body["response"]["allowed"].as_bool().unwrap()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["response"]["status"]["message"].as_str().unwrap_or_default()
    }
}

/// A reviewer whose cache and cluster can be set for each question.
pub(crate) struct Stage {
    reviewer: Arc<Reviewer>,
    facts: Arc<Facts>,
    cluster: Arc<Cluster>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// With the shipped policies, or with one of one's own.
    pub(crate) fn new(policy: Option<&Value>) -> Self {
        let cluster = Arc::new(Cluster::default());
        let live = Arc::clone(&cluster) as Arc<dyn Live>;
        Self { cluster, ..Self::with(policy, live, &Arc::new(Metrics::new("test"))) }
    }

    /// With a way of one's own to the cluster.
    pub(crate) fn with(policy: Option<&Value>, live: Arc<dyn Live>, metrics: &Arc<Metrics>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        if let Some(policy) = policy {
            paths.push(folder.path().join("policy.yaml"));
            std::fs::write(&paths[0], policy.to_string()).unwrap();
        }
        let file = Some(folder.path().join("audit"));
        let settings = Settings { file, copy_to_stdout: false, ..Settings::default() };
        let facts = Arc::new(Facts::default());
        let reviewer = Arc::new(Reviewer {
            policies: Policies::load(paths).unwrap(),
            facts: Arc::clone(&facts),
            live: Some(live),
            audit: AuditLog::open(settings).unwrap(),
            audit_failure: AuditFailure::Allow,
            instance: "test".to_owned(),
            witness: None,
            metrics: Arc::clone(metrics),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { reviewer, facts, cluster: Arc::default(), runtime, _folder: folder }
    }

    /// Whether the watches run, so that the cache is milliseconds behind at most.
    pub(crate) fn watched(&self, is_current: bool) {
        WATCHED.iter().for_each(|kind| self.facts.set_current(*kind, is_current));
    }

    /// Fills the cache.
    pub(crate) fn know(&self, cached: &World) {
        self.facts.update("shop", |namespace| *namespace = facts(cached));
    }

    /// Sends one review.
    pub(crate) fn send(&self, request: &Value) -> BoxFuture<'static, review::Answer> {
        let review =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let deadline = Instant::now() + Duration::from_secs(30);
        Arc::clone(&self.reviewer).review(Phase::Validate, review.to_string().into(), deadline)
    }

    /// The answer to one review, given what is cached and what is so.
    pub(crate) fn ask(&self, cached: &World, truth: Option<&World>, request: &Value) -> Answer {
        self.know(cached);
        *self.cluster.truth.lock().unwrap() = truth.cloned();
        self.cluster.asked.lock().unwrap().clear();
        let answer = self.runtime.block_on(self.send(request));
        Answer {
            status: answer.status.as_u16(),
            body: serde_json::from_slice(&answer.body).unwrap(),
            asked: self.cluster.asked.lock().unwrap().len(),
        }
    }
}

/// A review of one object, new or in place of an old one.
pub(crate) fn request(kind: Kind, sub_resource: &str, object: &Value, old: Option<&Value>) -> Value {
    let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
    json!({"uid": "u", "operation": operation, "namespace": "shop", "name": object["metadata"]["name"],
        "resource": {"group": kind.group(), "version": kind.version(), "resource": kind.plural()},
        "subResource": sub_resource, "object": object, "oldObject": old})
}
