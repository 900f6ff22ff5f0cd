//! What a verdict rests on is confirmed with the cluster before it is given.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "review/waivers.rs"]
mod waivers;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use plimsoll::admission::UserInfo;
use plimsoll::audit::{AuditLog, Settings};
use plimsoll::engine::Permission;
use plimsoll::facts::{Fact, Facts, NamespaceFacts, Owner, Reference};
use plimsoll::metrics::Metrics;
use plimsoll::object::{Kind, Object};
use plimsoll::policy::reload::Policies;
use plimsoll::review::{AuditFailure, Live, LiveError, Phase, Review, Reviewer};
use serde_json::{Value, json};
use tokio::time::Instant;

/// A cluster as it really is; `None` doesn't answer.
struct Cluster {
    truth: Option<NamespaceFacts>,
    asked: Mutex<Vec<BTreeSet<Reference>>>,
}

impl Live for Cluster {
    fn read<'a>(
        &'a self,
        _: &'a str,
        references: &'a BTreeSet<Reference>,
        _: &'a NamespaceFacts,
        _: Duration,
    ) -> BoxFuture<'a, Result<NamespaceFacts, LiveError>> {
        self.asked.lock().unwrap().push(references.clone());
        let truth = self.truth.clone().ok_or_else(|| LiveError("no answer".to_owned()));
        Box::pin(async move { truth })
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

fn facts(labels: bool, objects: &[(Kind, Value)]) -> NamespaceFacts {
    let mut facts = NamespaceFacts::default();
    if labels {
        facts.labels = Some([("environment".to_owned(), "production".to_owned())].into());
    }
    for (kind, object) in objects {
        facts.insert(Fact::project(&Object::read(*kind, &object.to_string()).unwrap()).unwrap());
    }
    facts
}

/// The status and body of the answer to one review, and what was asked of the cluster.
fn answer(cached: NamespaceFacts, truth: Option<NamespaceFacts>, request: &Value) -> (u16, Value, usize) {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        Settings { file: Some(folder.path().join("audit")), copy_to_stdout: false, ..Settings::default() };
    let facts = Facts::default();
    facts.update("shop", |namespace| *namespace = cached);
    let cluster = Arc::new(Cluster { truth, asked: Mutex::default() });
    let reviewer = Arc::new(Reviewer {
        policies: Policies::load(Vec::new()).unwrap(),
        facts: Arc::new(facts),
        live: Some(Arc::clone(&cluster) as Arc<dyn Live>),
        audit: AuditLog::open(settings).unwrap(),
        audit_failure: AuditFailure::Allow,
        instance: "test".to_owned(),
        witness: None,
        metrics: Arc::new(Metrics::new("test")),
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deadline = Duration::from_secs(30);
    let answer = runtime.block_on(async {
        reviewer.review(Phase::Validate, review.to_string().into(), Instant::now() + deadline).await
    });
    let asked = cluster.asked.lock().unwrap().len();
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap(), asked)
}

fn request(resource: &str, operation: &str, object: &Value) -> Value {
    let group = match resource {
        "horizontalpodautoscalers" => "autoscaling",
        "jobs" => "batch",
        _ => "apps",
    };
    json!({"uid": "u", "operation": operation, "namespace": "shop", "name": object["metadata"]["name"],
        "resource": {"group": group, "version": "v1", "resource": resource}, "object": object})
}

fn deployment(replicas: i64) -> Value {
    let container = json!({"name": "web", "image": "nginx:1",
        "securityContext": {"readOnlyRootFilesystem": true}, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [container], "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}]}}}})
}

fn autoscaler() -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2, "maxReplicas": 5}})
}

#[test]
fn an_autoscaler_that_the_cache_lacks_saves_its_target() {
    let create = request("deployments", "CREATE", &deployment(1));
    let truth = facts(true, &[(Kind::HorizontalPodAutoscaler, autoscaler())]);
    let (_, body, asked) = answer(facts(true, &[]), Some(truth), &create);
    assert_eq!((&body["response"]["allowed"], asked), (&json!(true), 1), "{body}");
    let (_, body, _) = answer(facts(true, &[]), Some(facts(true, &[])), &create);
    assert_eq!(body["response"]["allowed"], json!(false), "{body}");
}

#[test]
fn a_denial_that_could_not_be_confirmed_is_one_and_says_so() {
    let (_, body, _) = answer(facts(true, &[]), None, &request("deployments", "CREATE", &deployment(1)));
    let message = body["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("could not be confirmed"), "{message}");
}

#[test]
fn what_rests_on_nothing_else_is_answered_from_the_cache() {
    let (_, body, asked) = answer(facts(true, &[]), None, &request("deployments", "CREATE", &deployment(2)));
    assert_eq!((&body["response"]["allowed"], asked), (&json!(true), 0), "{body}");
}

#[test]
fn a_namespace_that_the_cache_lacks_is_read_or_the_failure_policy_decides() {
    let create = request("deployments", "CREATE", &deployment(1));
    let (status, body, asked) = answer(facts(false, &[]), Some(facts(true, &[])), &create);
    assert_eq!((status, &body["response"]["allowed"], asked), (200, &json!(false), 2), "{body}");
    let (status, _, _) = answer(facts(false, &[]), None, &create);
    assert_eq!(status, 503, "nobody knows whether a policy applies");
}

#[test]
fn a_scale_goes_by_the_workload_as_it_is_now() {
    let mut waived = deployment(2);
    let end = jiff::Timestamp::now().checked_add(jiff::Span::new().hours(48)).unwrap();
    waived["metadata"]["resourceVersion"] = json!("8");
    waived["metadata"]["annotations"] = json!({"waiver.plimsoll.dev/min-replicas":
        format!("{{owner: a@example.com, reason: internal tool only, expires: {end}}}")});
    let scale = |replicas: i64| {
        json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": "8"},
        "spec": {"replicas": replicas}})
    };
    let mut request = request("deployments", "UPDATE", &scale(1));
    request["subResource"] = json!("scale");
    request["oldObject"] = scale(2);
    let cached = facts(true, &[(Kind::Deployment, deployment(2))]);
    let (_, body, _) = answer(cached.clone(), Some(facts(true, &[(Kind::Deployment, waived)])), &request);
    assert_eq!(body["response"]["allowed"], json!(true), "the waiver is newer than the cache: {body}");
    let (_, body, _) = answer(cached, Some(facts(true, &[(Kind::Deployment, deployment(2))])), &request);
    assert_eq!(body["response"]["allowed"], json!(false), "{body}");
}

#[test]
fn a_partner_that_nobody_could_look_up_is_no_reason_to_allow() {
    let scale = |replicas: i64| json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": replicas}});
    let mut up = request("deployments", "UPDATE", &scale(3));
    up["subResource"] = json!("scale");
    up["oldObject"] = scale(2);
    let (_, body, _) = answer(facts(true, &[]), None, &up);
    let message = body["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("depends on Deployment web, which could not be confirmed"), "{message}");
    let (_, body, _) = answer(facts(true, &[]), Some(facts(true, &[(Kind::Deployment, deployment(2))])), &up);
    assert_eq!(body["response"]["allowed"], json!(true), "{body}");
}

#[test]
fn a_finalizer_comes_off_what_cannot_be_read() {
    let mut unreadable = deployment(2);
    unreadable["spec"]["replicas"] = json!("two");
    let mut update = request("deployments", "UPDATE", &unreadable);
    unreadable["metadata"]["finalizers"] = json!(["example.com/hold"]);
    update["oldObject"] = unreadable;
    let (_, body, _) = answer(facts(true, &[]), None, &update);
    assert_eq!(body["response"]["allowed"], json!(true), "{body}");
}

#[test]
fn what_cannot_be_read_is_denied_where_a_policy_applies_and_only_there() {
    let mut unreadable = deployment(2);
    unreadable["spec"]["replicas"] = json!("two");
    let create = request("deployments", "CREATE", &unreadable);
    let (_, body, _) = answer(facts(true, &[]), None, &create);
    let message = body["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("spec.replicas"), "{message}");
    let mut elsewhere = facts(false, &[]);
    elsewhere.labels = Some([].into());
    let (_, body, _) = answer(elsewhere, None, &create);
    assert_eq!(body["response"]["allowed"], json!(true), "{body}");
}

#[test]
fn an_owner_is_read_only_if_it_could_excuse_something() {
    let job = |container: Value| {
        let owner = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "u", "controller": true}]);
        json!({"metadata": {"name": "by-hand", "namespace": "shop", "ownerReferences": owner},
            "spec": {"template": {"spec": {"containers": [container]}}}})
    };
    let template = |container: Value| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let owner = |uid: &str, container: Value| {
        let mut facts = facts(true, &[]);
        let text =
            json!({"metadata": {"name": "tick", "uid": uid}, "spec": {"jobTemplate": template(container)}});
        let (name, uid) = ("tick".to_owned(), uid.to_owned());
        facts.insert(Fact::Owner(Owner { kind: Kind::CronJob, name, uid, text: text.to_string() }));
        facts
    };
    let fine = deployment(2)["spec"]["template"]["spec"].clone();
    let (bad, cached) = (json!({"name": "web", "image": "nginx:1"}), facts(true, &[]));
    let create = request("jobs", "CREATE", &job(bad.clone()));
    let (_, body, asked) = answer(cached.clone(), Some(owner("u", bad.clone())), &create);
    assert_eq!(
        (&body["response"]["allowed"], asked),
        (&json!(true), 1),
        "what it asks for is its own: {body}"
    );
    assert!(body["response"]["warnings"].is_null(), "{body}");
    for truth in [
        Some(facts(true, &[])),
        Some(owner("other", bad.clone())),
        Some(owner("u", fine["containers"][0].clone())),
        None,
    ] {
        let (_, body, _) = answer(cached.clone(), truth, &create);
        assert_eq!(body["response"]["allowed"], json!(false), "{body}");
    }
    let mut create = request("jobs", "CREATE", &job(fine["containers"][0].clone()));
    create["object"]["spec"]["template"]["spec"] = fine;
    let (_, body, asked) = answer(cached, None, &create);
    assert_eq!((&body["response"]["allowed"], asked), (&json!(true), 0), "nothing to excuse: {body}");
}
