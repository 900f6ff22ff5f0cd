//! The engine alone: from an object's text to its verdict, without TLS, HTTP or records.
//!
//! `cargo bench --bench engine`; add `-- NAME` for one of the groups.

// Clippy's leave for tests doesn't reach benchmarks; one that can't go on is to fail loudly.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use plimsoll::admission::{self, Sent};
use plimsoll::engine::{self, Operation};
use plimsoll::facts::{Fact, Facts};
use plimsoll::object::{Kind, Object};
use plimsoll::policy::{self, Policy};
use serde_json::{Value, json};

const CREATE: &[u8] = include_bytes!("reviews/create.json");
const DENIED: &[u8] = include_bytes!("reviews/create-denied.json");
const PLAIN: &[u8] = include_bytes!("reviews/create-plain.json");
const UPDATE: &[u8] = include_bytes!("reviews/update.json");
const SCALE: &[u8] = include_bytes!("reviews/scale.json");

/// Reads a review and has something done with it.
fn with<T>(body: &[u8], use_it: impl FnOnce(&engine::Request<'_>) -> T) -> T {
    let mut review = admission::Request::read(body).unwrap();
    let objects = (review.object.take(), review.old_object.take());
    use_it(&request(&review, objects))
}

fn request<'a>(
    review: &'a admission::Request<'a>,
    (object, old): (Option<Sent<'a>>, Option<Sent<'a>>),
) -> engine::Request<'a> {
    let kind = Kind::from_group_resource(&review.resource.group, &review.resource.resource).unwrap();
    let is_scale = &*review.sub_resource == "scale";
    let read = |sent: Sent<'a>| {
        let envelope = sent.unwrap();
        let body = if is_scale { envelope.scale() } else { envelope.body(kind) };
        Object::new(kind, envelope, body.unwrap())
    };
    engine::Request {
        operation: if &*review.operation == "UPDATE" { Operation::Update } else { Operation::Create },
        kind,
        namespace: &review.namespace,
        user: &review.user_info.username,
        groups: review.user_info.groups.iter().map(|group| &**group).collect(),
        manager: review.options.field_manager.as_deref(),
        manifest: false,
        object: read(object.unwrap()),
        old: old.map(read),
    }
}

fn insert(facts: &Facts, kind: Kind, namespace: &str, object: &Value) {
    let text = object.to_string();
    let fact = Fact::project(&Object::read(kind, &text).unwrap()).unwrap();
    facts.update(namespace, |facts| facts.insert(fact));
}

fn deployment(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "x"}]},
            },
        },
    })
}

/// The namespace of the reviews with so many other workloads beside the one under review, each with a budget.
fn facts(others: usize, namespaces: usize) -> Facts {
    let facts = Facts::default();
    let labels = json!({"environment": "production"});
    insert(&facts, Kind::Namespace, "shop", &json!({"metadata": {"name": "shop", "labels": labels}}));
    let selector = json!({"matchLabels": {"app.kubernetes.io/name": "checkout"}});
    let budget =
        json!({"metadata": {"name": "checkout"}, "spec": {"maxUnavailable": 1, "selector": selector}});
    insert(&facts, Kind::PodDisruptionBudget, "shop", &budget);
    let update: Value = serde_json::from_slice(UPDATE).unwrap();
    insert(&facts, Kind::Deployment, "shop", &update["request"]["oldObject"]);
    for index in 0..others {
        let namespace = if namespaces == 0 { "shop".to_owned() } else { format!("n{}", index % namespaces) };
        let name = format!("other-{index}");
        insert(&facts, Kind::Deployment, &namespace, &deployment(&name));
        let selector = json!({"matchLabels": {"app": name}});
        let budget = json!({"metadata": {"name": name}, "spec": {"maxUnavailable": 1, "selector": selector}});
        insert(&facts, Kind::PodDisruptionBudget, &namespace, &budget);
    }
    facts
}

/// Reads a review and judges it (or fills it in), as each request has to.
fn decide(body: &[u8], is_mutation: bool, policies: &[Policy], facts: &Facts, now: Timestamp) -> usize {
    with(body, |request| {
        let facts = facts.namespace(request.namespace);
        let outcome = if is_mutation {
            engine::fill_in(request, policies, &facts, now)
        } else {
            engine::judge(request, policies, &facts, now)
        };
        outcome.verdict.findings.len() + outcome.verdict.patch.len()
    })
}

fn typical(c: &mut Criterion) {
    let policies = policy::load::embedded().unwrap();
    let facts = facts(100, 10);
    let now = Timestamp::now();
    let mut group = c.benchmark_group("typical");
    let cases = [
        ("create", CREATE, false),
        ("create denied", DENIED, false),
        ("update", UPDATE, false),
        ("scale", SCALE, false),
        ("create, nothing to fill in", CREATE, true),
        ("create, filled in", PLAIN, true),
    ];
    for (name, body, is_mutation) in cases {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{name}: read"), |b| {
            b.iter(|| with(black_box(body), |request| black_box(request.kind)));
        });
        group.bench_function(format!("{name}: read and decide"), |b| {
            b.iter(|| decide(black_box(body), is_mutation, &policies, &facts, now));
        });
        with(body, |request| {
            let namespace = facts.namespace(request.namespace);
            group.bench_function(format!("{name}: decide"), |b| {
                b.iter(|| {
                    let outcome = if is_mutation {
                        engine::fill_in(black_box(request), &policies, &namespace, now)
                    } else {
                        engine::judge(black_box(request), &policies, &namespace, now)
                    };
                    black_box(outcome.verdict.findings.len())
                });
            });
        });
    }
    group.finish();
}

fn containers(c: &mut Criterion) {
    let policies = policy::load::embedded().unwrap();
    let facts = facts(0, 0);
    let now = Timestamp::now();
    let mut group = c.benchmark_group("containers");
    for count in [1, 10, 100] {
        let mut review: Value = serde_json::from_slice(CREATE).unwrap();
        let containers = &mut review["request"]["object"]["spec"]["template"]["spec"]["containers"];
        let one = containers[0].clone();
        *containers = (0..count)
            .map(|index| {
                let mut container = one.clone();
                container["name"] = format!("container-{index}").into();
                container
            })
            .collect();
        let body = serde_json::to_vec(&review).unwrap();
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(BenchmarkId::from_parameter(count), &body, |b, body| {
            b.iter(|| decide(black_box(body), false, &policies, &facts, now));
        });
    }
    group.finish();
}

fn cluster(c: &mut Criterion) {
    let policies = policy::load::embedded().unwrap();
    let now = Timestamp::now();
    let mut group = c.benchmark_group("cluster");
    for (name, others, namespaces) in [
        ("1,000 elsewhere", 1000, 50),
        ("100,000 elsewhere", 100_000, 500),
        ("1,000 in its namespace", 1000, 0),
    ] {
        let facts = facts(others, namespaces);
        group.bench_function(name, |b| b.iter(|| decide(black_box(CREATE), false, &policies, &facts, now)));
    }
    let everything = json!({"metadata": {"name": "all"}, "spec": {"maxUnavailable": 1, "selector": {}}});
    for (others, is_over_all) in [("10,000 in its namespace", false), ("10,000 under one more budget", true)]
    {
        let facts = facts(10_000, 0);
        if is_over_all {
            insert(&facts, Kind::PodDisruptionBudget, "shop", &everything);
        }
        for (name, body) in [("create", CREATE), ("update", UPDATE), ("scale", SCALE)] {
            let name = format!("{name}, {others}");
            group.bench_function(name, |b| b.iter(|| decide(black_box(body), false, &policies, &facts, now)));
        }
    }
    // What a watch's change costs while a request holds a snapshot, which it mustn't see.
    let facts = facts(10_000, 0);
    let change = json!({"metadata": {"name": "other-5000"}, "spec": {"replicas": 4}});
    group.bench_function("a change beside a snapshot, 10,000 in its namespace", |b| {
        b.iter(|| {
            let snapshot = facts.namespace("shop");
            insert(&facts, Kind::Deployment, "shop", black_box(&change));
            snapshot
        });
    });
    group.finish();
}

criterion_group!(benches, typical, containers, cluster);
criterion_main!(benches);
