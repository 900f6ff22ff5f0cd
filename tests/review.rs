//! What a verdict rests on is confirmed with the cluster before it is given.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "review/waivers.rs"]
mod waivers;

#[path = "review/confirm.rs"]
mod confirm;
#[path = "generate/steps.rs"]
mod generate;
#[path = "review/storm.rs"]
mod storm;
#[path = "review/support.rs"]
mod support;

use plimsoll::object::Kind;
use serde_json::{Value, json};

use support::{Answer, Stage, World, production, request};

/// The answer of the shipped policies.
fn answer(cached: &World, truth: Option<&World>, request: &Value) -> Answer {
    Stage::new(None).ask(cached, truth, request)
}

fn create(object: &Value) -> Value {
    request(Kind::Deployment, "", object, None)
}

fn scale(from: &Value, to: &Value) -> Value {
    request(Kind::Deployment, "scale", to, Some(from))
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
    let (create, cached) = (create(&deployment(1)), vec![production()]);
    let truth = vec![production(), (Kind::HorizontalPodAutoscaler, autoscaler())];
    let answered = answer(&cached, Some(&truth), &create);
    assert_eq!((answered.allowed(), answered.asked), (true, 1), "{}", answered.body);
    let answered = answer(&cached, Some(&cached), &create);
    assert!(!answered.allowed(), "{}", answered.body);
}

#[test]
fn a_denial_that_could_not_be_confirmed_is_one_and_says_so() {
    let answered = answer(&vec![production()], None, &create(&deployment(1)));
    assert!(answered.message().contains("could not be confirmed"), "{}", answered.body);
}

#[test]
fn what_rests_on_nothing_else_is_answered_from_the_cache() {
    let answered = answer(&vec![production()], None, &create(&deployment(2)));
    assert_eq!((answered.allowed(), answered.asked), (true, 0), "{}", answered.body);
}

#[test]
fn a_namespace_that_the_cache_lacks_is_read_or_the_failure_policy_decides() {
    let create = create(&deployment(1));
    let answered = answer(&vec![], Some(&vec![production()]), &create);
    assert_eq!((answered.status, answered.allowed(), answered.asked), (200, false, 2), "{}", answered.body);
    assert_eq!(answer(&vec![], None, &create).status, 503, "nobody knows whether a policy applies");
}

#[test]
fn a_scale_goes_by_the_workload_as_it_is_now() {
    let mut waived = deployment(2);
    let end = jiff::Timestamp::now().checked_add(jiff::Span::new().hours(48)).unwrap();
    waived["metadata"]["resourceVersion"] = json!("8");
    waived["metadata"]["annotations"] = json!({"waiver.plimsoll.dev/min-replicas":
        format!("{{owner: a@example.com, reason: internal tool only, expires: {end}}}")});
    let to = |replicas: i64| {
        json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": "8"},
        "spec": {"replicas": replicas}})
    };
    let down = scale(&to(2), &to(1));
    let cached = vec![production(), (Kind::Deployment, deployment(2))];
    let answered = answer(&cached, Some(&vec![production(), (Kind::Deployment, waived)]), &down);
    assert!(answered.allowed(), "the waiver is newer than the cache: {}", answered.body);
    let answered = answer(&cached, Some(&cached), &down);
    assert!(!answered.allowed(), "{}", answered.body);
}

#[test]
fn a_scale_of_what_the_cache_knows_better_than_the_request_takes_no_read() {
    let mut newer = deployment(4);
    newer["metadata"]["resourceVersion"] = json!("10");
    let to = |replicas: i64| json!({"metadata": {"name": "web", "resourceVersion": "9"}, "spec": {"replicas": replicas}});
    let cached = vec![production(), (Kind::Deployment, newer)];
    let answered = answer(&cached, None, &scale(&to(2), &to(3)));
    assert_eq!((answered.allowed(), answered.asked), (true, 0), "{}", answered.body);
}

#[test]
fn a_partner_that_nobody_could_look_up_is_no_reason_to_allow() {
    let to = |replicas: i64| json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": replicas}});
    let up = scale(&to(2), &to(3));
    let cached = vec![production()];
    let answered = answer(&cached, None, &up);
    let message = answered.message();
    assert!(message.contains("depends on Deployment web, which could not be confirmed"), "{message}");
    let answered = answer(&cached, Some(&vec![production(), (Kind::Deployment, deployment(2))]), &up);
    assert!(answered.allowed(), "{}", answered.body);
}

#[test]
fn a_finalizer_comes_off_what_cannot_be_read() {
    let mut unreadable = deployment(2);
    unreadable["spec"]["replicas"] = json!("two");
    let mut old = unreadable.clone();
    old["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let update = request(Kind::Deployment, "", &unreadable, Some(&old));
    let answered = answer(&vec![production()], None, &update);
    assert!(answered.allowed(), "{}", answered.body);
}

#[test]
fn what_cannot_be_read_is_denied_where_a_policy_applies_and_only_there() {
    let mut unreadable = deployment(2);
    unreadable["spec"]["replicas"] = json!("two");
    let create = create(&unreadable);
    let answered = answer(&vec![production()], None, &create);
    assert!(answered.message().contains("spec.replicas"), "{}", answered.body);
    let elsewhere = vec![(Kind::Namespace, json!({"metadata": {"name": "shop"}}))];
    let answered = answer(&elsewhere, None, &create);
    assert!(answered.allowed(), "{}", answered.body);
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
        let cron =
            json!({"metadata": {"name": "tick", "uid": uid}, "spec": {"jobTemplate": template(container)}});
        vec![production(), (Kind::CronJob, cron)]
    };
    let create = |job: &Value| request(Kind::Job, "", job, None);
    let fine = deployment(2)["spec"]["template"]["spec"].clone();
    let (bad, cached) = (json!({"name": "web", "image": "nginx:1"}), vec![production()]);
    let by_hand = create(&job(bad.clone()));
    let answered = answer(&cached, Some(&owner("u", bad.clone())), &by_hand);
    assert_eq!((answered.allowed(), answered.asked), (true, 1), "it asks for that: {}", answered.body);
    assert!(answered.body["response"]["warnings"].is_null(), "{}", answered.body);
    for truth in [
        Some(vec![production()]),
        Some(owner("other", bad.clone())),
        Some(owner("u", fine["containers"][0].clone())),
        None,
    ] {
        let answered = answer(&cached, truth.as_ref(), &by_hand);
        assert!(!answered.allowed(), "{}", answered.body);
    }
    let mut by_hand = job(fine["containers"][0].clone());
    by_hand["spec"]["template"]["spec"] = fine;
    let answered = answer(&cached, None, &create(&by_hand));
    assert_eq!((answered.allowed(), answered.asked), (true, 0), "nothing to excuse: {}", answered.body);
}
