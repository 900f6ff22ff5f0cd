//! How many pods run, by every road: manifests, `scale`, autoscalers, KEDA, budgets.

use std::thread;
use std::time::Duration;

use plimsoll::availability::Disruption;
use plimsoll::facts::Fact;
use plimsoll::object::{Kind, Object};
use serde_json::{Value, json};

use super::controlplane::{Run, manifests};
use super::{SOON, Stage, deployment, stage};
use crate::controlplane::wait_until;

/// The HPA controller looks at each HPA every 15 seconds.
const AUTOSCALED: Duration = Duration::from_secs(60);

/// A disruption budget's fields, how many pods it selects in all, and by which selector.
type Budget = (Value, i64, Value);

pub(crate) fn apply(stage: &Stage, namespace: &str, documents: &[Value]) -> Run {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
    stage.plane.kubectl_stdin("alice", &["apply", "-n", namespace, "-f", "-"], &list.to_string())
}

pub(crate) fn workload(name: &str, replicas: Option<i64>) -> Value {
    serde_json::from_str(&deployment(name, replicas, "nginx:1")).unwrap()
}

pub(crate) fn autoscaler(name: &str, min: i64, max: i64) -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": min,
            "maxReplicas": max,
        },
    })
}

pub(crate) fn budget(name: &str, terms: &Value, selector: &Value) -> Value {
    let mut spec = terms.clone();
    spec["selector"] = selector.clone();
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec})
}

pub(crate) fn waive(mut object: Value, rule: &str) -> Value {
    let end = jiff::Timestamp::now().checked_add(jiff::Span::new().hours(24 * 30)).unwrap();
    let waiver = format!("{{owner: a@example.com, reason: internal tool only, expires: {end}}}");
    object["metadata"]["annotations"][format!("waiver.plimsoll.dev/{rule}")] = waiver.into();
    object
}

fn replicas(stage: &Stage, namespace: &str, name: &str) -> Value {
    stage.get(namespace, "deployment", name)["spec"]["replicas"].clone()
}

/// Every budget over Deployments of 1, 2, 3 and 5 pods, and over several of them at once.
fn budgets(sizes: &[i64]) -> Vec<Budget> {
    let mut budgets = Vec::new();
    for &size in sizes {
        let selector = json!({"matchLabels": {"app": format!("of-{size}")}});
        for count in [json!(0), json!(1), json!(2), json!("0%"), json!("34%"), json!("50%"), json!("100%")] {
            budgets.push((json!({"minAvailable": count}), size, selector.clone()));
            budgets.push((json!({"maxUnavailable": count}), size, selector.clone()));
        }
        budgets.push((json!({}), size, selector));
    }
    let all = sizes.iter().sum();
    let two = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["of-2", "of-3"]}]});
    let others = json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["of-1"]}]});
    for count in [json!(3), json!("30%"), json!("90%")] {
        budgets.push((json!({"minAvailable": count}), all, json!({})));
        budgets.push((json!({"maxUnavailable": count}), 5, two.clone()));
        budgets.push((json!({"minAvailable": count}), all - 1, others.clone()));
        budgets.push((json!({"maxUnavailable": count}), 0, Value::Null));
    }
    budgets
}

#[test]
fn budgets_allow_what_the_disruption_controller_says() {
    let stage = stage();
    let namespace = stage.plane.namespace("budgets", &[]);
    let sizes = [1, 2, 3, 5];
    let workloads: Vec<_> = sizes.iter().map(|size| workload(&format!("of-{size}"), Some(*size))).collect();
    apply(stage, &namespace, &workloads).expect_ok("not production");
    let budgets = budgets(&sizes);
    assert!(budgets.len() >= 30, "{} combinations", budgets.len());
    let pods = || {
        let list = stage.plane.kubectl("admin", &["get", "pods", "-n", &namespace, "-o", "json"]).json();
        list["items"].as_array().unwrap().clone()
    };
    let expected: i64 = sizes.iter().sum();
    wait_until("all pods", SOON, || pods().len() as i64 == expected);
    let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    thread::scope(|scope| {
        for pod in pods() {
            let namespace = &namespace;
            scope.spawn(move || {
                let name = pod["metadata"]["name"].as_str().unwrap();
                let args = ["patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge"];
                let run = stage.plane.kubectl("admin", &[&args[..], &["-p", ready]].concat());
                run.expect_ok("a pod that is ready by its status");
            });
        }
    });

    // Budgets come last: a pod that changes wakes up only one of those that select it.
    let named = budgets.iter().enumerate();
    let objects: Vec<_> =
        named.map(|(number, (terms, _, selector))| budget(&format!("b-{number}"), terms, selector)).collect();
    apply(stage, &namespace, &objects).expect_ok("not production");

    let differences = || {
        let list = stage.plane.kubectl("admin", &["get", "pdb", "-n", &namespace, "-o", "json"]).json();
        let of = |name: &str| {
            let items = list["items"].as_array().unwrap();
            items.iter().find(|item| item["metadata"]["name"] == name).unwrap().clone()
        };
        let differ = |(number, (terms, pods, selector)): (usize, &Budget)| {
            let stored = of(&format!("b-{number}"));
            let text = stored.to_string();
            let object = Object::read(Kind::PodDisruptionBudget, &text).unwrap();
            let Some(Fact::Budget(budget)) = Fact::project(&object) else { panic!("a budget: {text}") };
            let ours = Disruption::of(&budget, *pods);
            let status = &stored["status"];
            let theirs = [&status["disruptionsAllowed"], &status["desiredHealthy"], &status["expectedPods"]];
            let is_same = theirs == [ours.allowed, ours.desired, ours.expected].map(Value::from).each_ref();
            (!is_same).then(|| format!("{terms} over {pods} pods by {selector}: {ours:?} but {status}"))
        };
        budgets.iter().enumerate().filter_map(differ).collect::<Vec<_>>()
    };
    let mut left = differences();
    let began = std::time::Instant::now();
    while !left.is_empty() && began.elapsed() < SOON {
        thread::sleep(Duration::from_millis(200));
        left = differences();
    }
    assert!(left.is_empty(), "{}", left.join("\n"));
}

/// What `scale` and its kin may do with a Deployment at 3, with and without a waiver.
fn scale_by_every_road(stage: &Stage, namespace: &str, name: &str, waived: bool) {
    let kubectl = |args: &[&str]| stage.plane.kubectl("alice", &[args, &["-n", namespace]].concat());
    let deployment = format!("deployment/{name}");
    let to_one = |run: Run, how: &str| match waived {
        true => {
            assert!(run.stderr.contains("waived by a@example.com"), "{how}: {run}");
            run.expect_ok("the waiver of the Deployment counts");
        }
        false => {
            let message = run.expect_refused(how);
            assert!(message.contains("has 1 replica, "), "{how}: {message}");
            assert!(message.contains("waiver.plimsoll.dev/min-replicas"), "{how}: {message}");
        }
    };
    let scale = |count: &str| kubectl(&["scale", &deployment, &format!("--replicas={count}")]);
    let patch = |count: &str| {
        let spec = format!(r#"{{"spec":{{"replicas":{count}}}}}"#);
        kubectl(&["patch", &deployment, "--subresource=scale", "--type=merge", "-p", &spec])
    };
    let put = |count: i64| {
        let mut object = stage.get(namespace, "deployment", name);
        object["spec"]["replicas"] = count.into();
        // Controllers write its status meanwhile; without a version the PUT is unconditional.
        object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        stage.plane.kubectl_stdin("alice", &["replace", "-n", namespace, "-f", "-"], &object.to_string())
    };
    scale("5").expect_ok("up");
    scale("2").expect_ok("down to the minimum");
    to_one(scale("1"), "scale down");
    scale("3").expect_ok("up again");
    to_one(kubectl(&["scale", &deployment, "--current-replicas=3", "--replicas=1"]), "a PUT of scale");
    scale("3").expect_ok("up again");
    to_one(patch("1"), "a patch of scale");
    patch("4").expect_ok("a patch up");
    to_one(put(1), "a PUT of the whole object");
    put(4).expect_ok("a PUT up");
    let run = scale("0");
    assert!(!run.stderr.contains("Warning"), "switching off is no finding: {run}");
    run.expect_ok("to zero");
    assert_eq!(replicas(stage, namespace, name), 0);
    to_one(scale("1"), "from zero to one");
    scale("0").expect_ok("to zero");
    scale("2").expect_ok("from zero to two");

    let autoscale = |min: &str| kubectl(&["autoscale", &deployment, min, "--max=5"]);
    let run = autoscale("--min=1");
    if waived {
        assert!(run.stderr.contains("waived by a@example.com"), "autoscale: {run}");
        run.expect_ok("the waiver of the Deployment counts for its autoscaler");
        kubectl(&["delete", "hpa", name]).expect_ok("deleting");
    } else {
        // kubectl tries autoscaling/v1 next and tells of that failure instead of ours.
        run.expect_refused("autoscale from 1");
    }
    autoscale("--min=2").expect_ok("autoscale from 2");
    let run = scale("1");
    assert!(run.stderr.contains("keeps at least 2"), "{run}");
    run.expect_ok("an autoscaler scales back up");
}

#[test]
fn scale_and_its_kin() {
    let stage = stage();
    let namespace = stage.production("scale");
    let documents = [workload("strict", Some(3)), waive(workload("waived", Some(3)), "min-replicas")];
    apply(stage, &namespace, &documents).expect_ok("three replicas");
    thread::scope(|scope| {
        scope.spawn(|| scale_by_every_road(stage, &namespace, "strict", false));
        scope.spawn(|| scale_by_every_road(stage, &namespace, "waived", true));
    });
}

#[test]
fn whoever_takes_the_room_from_a_budget_is_refused() {
    let stage = stage();
    let namespace = stage.production("room");
    let selector = json!({"matchLabels": {"app": "web"}});
    let two_stay = json!({"minAvailable": 2});
    apply(stage, &namespace, &[workload("web", Some(3)), budget("web", &two_stay, &selector)])
        .expect_ok("one may go");
    let scale = ["scale", "deployment", "web", "--replicas=2", "-n", &namespace];
    let message = stage.plane.kubectl("alice", &scale).expect_refused("none may go of two");
    assert!(
        message.contains("disruption-budget: Deployment") && message.contains("Keep 3 replicas"),
        "{message}"
    );
    let message = apply(stage, &namespace, &[autoscaler("web", 2, 5)]).expect_refused("a floor of two");
    assert!(message.contains("Set spec.minReplicas: 3"), "{message}");
    let message = apply(stage, &namespace, &[budget("web", &json!({"minAvailable": "90%"}), &selector)])
        .expect_refused("90 % of three are three");
    assert!(message.contains("allows no disruption of 3 pods with minAvailable 90%"), "{message}");
    let message = apply(stage, &namespace, &[budget("too", &json!({"maxUnavailable": 1}), &selector)])
        .expect_refused("a second budget over the same pods");
    assert!(message.contains("under the budgets"), "{message}");
    let nobody = json!({"matchLabels": {"app": "not-there"}});
    let message = apply(stage, &namespace, &[budget("never", &json!({"maxUnavailable": 0}), &nobody)])
        .expect_refused("it blocks whatever it selects");
    assert!(message.contains("never allows a disruption"), "{message}");
}

#[test]
fn an_autoscaler_and_its_workload_in_either_order() {
    let stage = stage();
    let namespace = stage.production("autoscaled");
    let files = [
        [workload("first", None), autoscaler("first", 3, 5)],
        [autoscaler("second", 3, 5), workload("second", None)],
        // One explicit replica under an autoscaler that keeps two is the autoscaler's business.
        [autoscaler("explicit", 2, 5), workload("explicit", Some(1))],
        // What the HPA controller does within its range is never refused, waived floors included.
        [waive(autoscaler("waived", 1, 1), "min-replicas"), workload("waived", Some(3))],
    ];
    for file in &files {
        apply(stage, &namespace, file).expect_ok("the autoscaler sets the floor");
    }
    let reaches = |name: &str, count: i64| {
        wait_until(&format!("{name} at {count}"), AUTOSCALED, || replicas(stage, &namespace, name) == count);
    };
    for (name, count) in [("first", 3), ("second", 3), ("explicit", 2), ("waived", 1)] {
        reaches(name, count);
    }
    // Without metrics the controller still moves what lies outside of its range: up, and down again.
    let patch = |name: &str, spec: Value| {
        let (hpa, spec) = (format!("hpa/{name}"), json!({"spec": spec}).to_string());
        let args = ["patch", &hpa, "--type=merge", "-n", &namespace, "-p", &spec];
        stage.plane.kubectl("alice", &args).expect_ok("a range that keeps the minimum");
    };
    for (name, minimum, maximum) in [("first", 5, 6), ("first", 2, 4), ("explicit", 6, 9), ("explicit", 2, 2)]
    {
        patch(name, json!({"minReplicas": minimum, "maxReplicas": maximum}));
        let count = if minimum > 4 { minimum } else { maximum };
        reaches(name, count);
    }
    let list = stage.plane.kubectl("admin", &["get", "events", "-n", &namespace, "-o", "json"]).json();
    let events = list["items"].as_array().unwrap();
    let of = |reason: &str| events.iter().filter(|event| event["reason"] == reason).count();
    assert!(of("SuccessfulRescale") >= 4, "{events:#?}");
    assert_eq!(of("FailedRescale"), 0, "{events:#?}");
}

#[test]
fn an_autoscaler_over_a_singleton_is_refused_and_told() {
    let stage = stage();
    // As it is when Plimsoll comes: the autoscaler is there already, and a policy is to govern it now.
    let namespace = stage.plane.namespace("singleton", &[]);
    let mut worker = workload("worker", Some(1));
    worker["metadata"]["annotations"] = json!({"plimsoll.dev/singleton": "it elects no leader"});
    worker["spec"]["strategy"] = json!({"type": "Recreate"});
    apply(stage, &namespace, &[worker.clone(), autoscaler("worker", 2, 3)]).expect_ok("not production yet");
    let label = ["label", "namespace", &namespace, "environment=production"];
    stage.plane.kubectl("admin", &label).expect_ok("a label");
    stage.wait_until_governed(&namespace);
    let events = ["get", "events", "-n", &namespace, "-o", "json"];
    wait_until("the HPA controller to be refused", AUTOSCALED, || {
        let list = stage.plane.kubectl("admin", &events).json();
        let events = list["items"].as_array().unwrap().clone();
        events.iter().any(|event| {
            event["reason"] == "FailedRescale"
                && event["message"]
                    .as_str()
                    .unwrap_or_default()
                    .contains("has 2 replicas, production needs 1 at most")
        })
    });
    assert_eq!(replicas(stage, &namespace, "worker"), 1);
    worker["metadata"]["name"] = "other".into();
    apply(stage, &namespace, &[worker]).expect_ok("a singleton");
    let message = apply(stage, &namespace, &[autoscaler("other", 1, 3)]).expect_refused("over a singleton");
    assert!(message.contains("can scale Deployment other to 3"), "{message}");
    let annotation = ["annotate", "deployment", "other", "plimsoll.dev/singleton-", "-n", &namespace];
    let message = stage.plane.kubectl("alice", &annotation).expect_refused("one replica is no longer enough");
    assert!(message.contains("min-replicas: Deployment"), "{message}");
}

#[test]
fn keda_may_come_later() {
    // The stage starts Plimsoll before there is anything of KEDA's.
    let stage = stage();
    let namespace = stage.production("keda-later");
    let scaled = |minimum: i64| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"name": "web"}, "minReplicaCount": minimum, "maxReplicaCount": 5,
                "triggers": [{"type": "cron", "metadata": {}}],
            },
        })
    };
    apply(stage, &namespace, &[scaled(2)]).expect_ok("a ScaledObject");
    let known = || {
        let metrics = stage.plimsoll.get("/metrics").unwrap_or_default();
        let line = metrics.lines().find(|l| l.starts_with(r#"plimsoll_cache_objects{kind="ScaledObject"}"#));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    wait_until("the watch of ScaledObjects to deliver", SOON, || known() > 0);
    apply(stage, &namespace, &[workload("web", Some(1))]).expect_ok("the ScaledObject sets the floor");
    let scale = |count: &str| {
        let replicas = format!("--replicas={count}");
        stage.plane.kubectl("alice", &["scale", "deployment", "web", &replicas, "-n", &namespace])
    };
    scale("3").expect_ok("within the range");
    let run = scale("1");
    assert!(run.stderr.contains("ScaledObject web keeps at least 2"), "{run}");
    run.expect_ok("KEDA scales back up");
    let message = apply(
        stage,
        &namespace,
        &[budget("web", &json!({"minAvailable": 2}), &json!({"matchLabels": {"app": "web"}}))],
    )
    .expect_refused("at its minimum none may go");
    assert!(message.contains("allows no disruption of 2 pods"), "{message}");
}

/// The HPA that KEDA makes of a ScaledObject.
fn made_by_keda(scaled: &Value, uid: &Value) -> Value {
    let name = scaled["metadata"]["name"].as_str().unwrap();
    let spec = &scaled["spec"];
    let target = spec["scaleTargetRef"]["name"].as_str().unwrap();
    let mut object = autoscaler(target, spec["minReplicaCount"].as_i64().unwrap(), 0);
    object["spec"]["maxReplicas"] = spec["maxReplicaCount"].clone();
    object["metadata"] = json!({"name": format!("keda-hpa-{name}"), "ownerReferences": [{
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": name, "uid": uid, "controller": true,
    }]});
    object
}

#[test]
fn the_autoscalers_of_imp_are_judged_at_their_scaled_objects() {
    let stage = stage();
    let namespace = stage.production("keda");
    let here = |place: &str| {
        let mut all: Vec<Value> =
            manifests("imp", place).into_iter().map(|manifest| manifest.value).collect();
        all.iter_mut().for_each(|value| value["metadata"]["namespace"] = namespace.clone().into());
        all
    };
    let documented = here("documented/scaledobjects");
    assert_eq!(documented.len(), 6);
    for scaled in &documented {
        let message = apply(stage, &namespace, std::slice::from_ref(scaled)).expect_refused("a minimum of 1");
        assert!(message.contains("min-replicas: ScaledObject"), "{message}");
    }
    apply(stage, &namespace, &here("fixed/keda-consumers")).expect_ok("two of them with a waiver");
    for scaled in here("fixed/scaledobjects") {
        let name = scaled["metadata"]["name"].as_str().unwrap().to_owned();
        apply(stage, &namespace, std::slice::from_ref(&scaled)).expect_ok("as fixed");
        let uid = stage.get(&namespace, "scaledobject", &name)["metadata"]["uid"].clone();
        let horizontal = made_by_keda(&scaled, &uid);
        let run = apply(stage, &namespace, std::slice::from_ref(&horizontal));
        assert!(run.stderr.contains(&format!("judged at ScaledObject {name}")), "{run}");
        assert!(!run.stderr.contains("min-replicas"), "{name} is judged once: {run}");
        run.expect_ok("KEDA's own, whatever waiver its ScaledObject has");
        // Anybody can write an owner reference, and anybody can edit what KEDA made.
        if scaled["spec"]["minReplicaCount"] == 1 {
            continue;
        }
        let mut astray = horizontal;
        astray["spec"]["minReplicas"] = 1.into();
        astray["spec"]["maxReplicas"] = 7.into();
        let message = apply(stage, &namespace, &[astray]).expect_refused("not the ScaledObject's range");
        assert!(message.contains("lets Deployment"), "{message}");
    }
    let scaled = json!({"metadata": {"name": "made-up"}, "spec": {"scaleTargetRef": {"name": "made-up"},
        "minReplicaCount": 1, "maxReplicaCount": 3}});
    let stranger = made_by_keda(&scaled, &"00000000-0000-0000-0000-000000000000".into());
    apply(stage, &namespace, &[stranger]).expect_refused("there is no such ScaledObject");
}
