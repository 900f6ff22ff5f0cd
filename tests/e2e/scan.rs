//! `plimsoll scan` sees in a running cluster what the webhook and `check` see.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll::manifest;
use serde_json::{Value, json};

use super::controlplane::{ControlPlane, Run, SYSTEMS, manifests, wait_until};
use super::{SOON, Stage, deployment, stage};

/// The rule that no other door has.
const SCAN_ONLY: &str = "inactive-workload";

const KINDS: &str = "deployments,statefulsets,cronjobs,hpa,pdb,scaledobjects,pvc";

/// Runs Plimsoll as a user: its exit code and what it wrote.
pub(crate) fn run_plimsoll(plane: &ControlPlane, user: &str, args: &[&str]) -> (i32, Run) {
    // A shell tells the exit code behind whatever was written.
    let mut shell = Command::new("sh");
    plane.point_here(&mut shell, user);
    shell.args(["-c", "\"$@\"; echo \"exit $?\" >&2", "sh", env!("CARGO_BIN_EXE_plimsoll")]).args(args);
    let mut run = Run::of(shell, "");
    let (said, code) = run.stderr.trim_end().rsplit_once("exit ").expect("it ended");
    let code = code.parse().expect("a number");
    run.stderr = said.to_owned();
    (code, run)
}

fn plimsoll(stage: &Stage, user: &str, args: &[&str]) -> (i32, Run) {
    run_plimsoll(stage.plane, user, args)
}

pub(crate) fn scan(stage: &Stage, namespace: &str, args: &[&str]) -> (i32, Value) {
    let all = [&["scan", "-n", namespace, "--output", "json"], args].concat();
    let (code, run) = plimsoll(stage, "admin", &all);
    let report = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"));
    (code, report)
}

/// How a finding stands, as text says it.
fn word(finding: &Value) -> &str {
    let state = finding["state"].as_str().unwrap();
    if state == "New" { finding["action"].as_str().unwrap() } else { state }
}

/// `rule Kind/name`
pub(crate) fn about(finding: &Value) -> String {
    let (rule, of) = (finding["rule"].as_str().unwrap(), &finding["resource"]);
    format!("{rule} {}/{}", of["kind"].as_str().unwrap(), of["name"].as_str().unwrap())
}

/// `state rule Kind/name` of each finding.
fn findings(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().expect("findings").iter();
    findings.map(|finding| format!("{} {}", word(finding), about(finding))).collect()
}

/// A namespace that becomes production with everything already in it.
fn governed_late(stage: &Stage, prefix: &str, objects: &[Value]) -> String {
    let namespace = stage.plane.namespace(prefix, &[]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    stage
        .plane
        .kubectl_stdin("admin", &["apply", "-n", &namespace, "-f", "-"], &list.to_string())
        .expect_ok("not production yet");
    let label = ["label", "namespace", &namespace, "environment=production"];
    stage.plane.kubectl("admin", &label).expect_ok("a label");
    namespace
}

fn object(name: &str, replicas: i64) -> Value {
    serde_json::from_str(&deployment(name, Some(replicas), "nginx:1")).unwrap()
}

fn write(stage: &Stage, name: &str, text: &str) -> PathBuf {
    let path = stage.plane.dir().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn what_was_there_first_is_found() {
    let stage = stage();
    let autoscaler = |name: &str| {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2, "maxReplicas": 4}})
    };
    let mut ended = object("ended", 1);
    let waiver = "{owner: a@example.com, reason: internal tool only, expires: 2020-01-01}";
    ended["metadata"]["annotations"] = json!({"waiver.plimsoll.dev/min-replicas": waiver});
    let objects =
        [object("alone", 1), object("web", 3), autoscaler("one"), autoscaler("two"), ended, object("off", 0)];
    let namespace = governed_late(stage, "scanned", &objects);

    let (code, report) = scan(stage, &namespace, &[]);
    assert_eq!(code, 1, "{report:#}");
    let found = findings(&report);
    for expected in [
        "Existing min-replicas Deployment/alone",
        "Existing autoscaler-range HorizontalPodAutoscaler/one",
        "Existing autoscaler-range HorizontalPodAutoscaler/two",
        "Existing read-only-root-filesystem Deployment/off",
        "Deny min-replicas Deployment/ended",
    ] {
        assert!(found.contains(expected), "{expected}: {found:#?}");
    }
    assert!(!found.iter().any(|finding| finding.contains("min-replicas Deployment/off")), "{found:#?}");
    assert_eq!((&report["summary"]["objects"], &report["summary"]["denied"]), (&6.into(), &1.into()));
    assert!(found.contains("Audit inactive-workload Deployment/off"), "{found:#?}");

    // What scan says of the next change is what becomes of it.
    stage.wait_until_governed(&namespace);
    let image = |name: &str| {
        let of = format!("deployment/{name}");
        stage.plane.kubectl("alice", &["set", "image", &of, "app=nginx:2", "-n", &namespace])
    };
    let run = image("alone");
    assert!(run.stderr.contains("Warning: min-replicas"), "{run}");
    run.expect_ok("what was so before warns");
    let message = image("ended").expect_refused("its waiver ended years ago");
    let told = report["findings"].as_array().unwrap().iter().find(|f| word(f) == "Deny").unwrap();
    assert!(message.contains(told["message"].as_str().unwrap()), "{message}\n{told:#}");

    let (_, page) = plimsoll(stage, "alice", &["scan", "-n", &namespace, "--output", "html"]);
    assert!(page.stdout.contains("Next change refused"), "{page}");
    assert!(!page.stdout.contains("<script") && !page.stdout.contains("src="), "{page}");

    // Text says the same, and the weaker policy has nothing to fail on.
    let (_, run) = plimsoll(stage, "alice", &["scan", "-n", &namespace]);
    assert!(run.stdout.contains("1 would have its next change denied"), "{run}");
    let weak = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "draft"}, "spec": {"match": {"namespaces": [namespace]}, "action": "Warn",
        "rules": {"min-replicas": {"minimum": 4}}}});
    let weak = write(stage, "weak.yaml", &weak.to_string());
    let weak = weak.to_str().unwrap();
    assert_eq!(scan(stage, &namespace, &["--policies", weak]).0, 0);
    assert_eq!(scan(stage, &namespace, &["--policies", weak, "--fail-on", "Warn"]).0, 1);
    let (code, diff) = scan(stage, &namespace, &["--policies", weak, "--diff"]);
    assert_eq!(code, 0, "nothing that denies is new: {diff:#}");
    let line = |change: &Value| {
        let (before, after) =
            (change["before"].as_str().unwrap_or("-"), change["after"].as_str().unwrap_or("-"));
        format!("{before} {after} {}", about(&change["finding"]))
    };
    let changes: BTreeSet<String> = diff["changes"].as_array().unwrap().iter().map(line).collect();
    for expected in [
        "Existing Warn min-replicas Deployment/alone",
        "- Warn min-replicas HorizontalPodAutoscaler/one",
        "Existing - autoscaler-range HorizontalPodAutoscaler/two",
    ] {
        assert!(changes.contains(expected), "{expected}: {changes:#?}");
    }
}

#[test]
fn what_nothing_made_is_judged_and_what_was_made_is_not() {
    let stage = stage();
    let with = |kind: &str, name: &str, spec: Value| {
        let group = if kind == "Job" { "batch/" } else { "apps/" };
        let version = if matches!(kind, "Pod" | "ReplicationController") {
            "v1".to_owned()
        } else {
            format!("{group}v1")
        };
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
    };
    let pod = || json!({"containers": [{"name": "app", "image": "nginx:1"}], "restartPolicy": "Never"});
    let labels = json!({"app": "bare"});
    let always =
        json!({"containers": [{"name": "app", "image": "nginx:1", "resources": {"requests": {"cpu": "1"}}}]});
    let template = json!({"metadata": {"labels": labels}, "spec": always});
    let replicas = |selector: Value| json!({"replicas": 3, "selector": selector, "template": template});
    let objects = [
        object("web", 2),
        with("ReplicaSet", "bare", replicas(json!({"matchLabels": labels}))),
        with("ReplicationController", "bare", replicas(labels.clone())),
        with("Job", "bare", json!({"template": {"spec": pod()}})),
        with("Pod", "bare", pod()),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
            "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": pod()}}}}}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "bare"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "bare"},
                "minReplicas": 3, "maxReplicas": 6}}),
    ];
    let namespace = governed_late(stage, "made", &objects);
    stage.wait_for_replica_set(&namespace);
    let run = ["create", "job", "by-hand", "--from=cronjob/nightly", "-n", &namespace];
    stage.plane.kubectl("admin", &run).expect_ok("the CronJob was there first");
    wait_until("a Pod of each", SOON, || {
        let list = stage.plane.kubectl("admin", &["get", "pods", "-n", &namespace, "-o", "name"]);
        ["pod/web-", "pod/bare-", "pod/by-hand-"].iter().all(|start| list.stdout.contains(start))
    });

    let broken = |args: &[&str]| {
        let (_, report) = scan(stage, &namespace, args);
        let rule = "read-only-root-filesystem ";
        let found = findings(&report).iter().filter_map(|f| Some(f.split_once(rule)?.1.to_owned())).collect();
        (found, report)
    };
    let (found, report): (BTreeSet<String>, _) = broken(&[]);
    let bare = ["Job/bare", "ReplicaSet/bare", "ReplicationController/bare"];
    let expected = |more: &[&str]| {
        let all = ["CronJob/nightly", "Deployment/web"].iter().chain(&bare).chain(more);
        all.map(|of| (*of).to_owned()).collect::<BTreeSet<String>>()
    };
    assert_eq!(found, expected(&[]));
    assert_eq!(report["summary"]["objects"], 6);
    let found = findings(&report);
    assert!(!found.iter().any(|f| f.contains("autoscaler-range")), "its target is there: {report:#}");
    assert_eq!(broken(&["--pods"]).0, expected(&["Pod/bare"]));
}

#[test]
fn what_is_judged_by_is_what_is_in_force() {
    let stage = stage();
    let namespace = governed_late(stage, "installed", &[object("web", 2)]);
    let policy = |minimum: i64| {
        json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy", "metadata": {"name": namespace},
            "spec": {"match": {"namespaces": [namespace]}, "rules": {"min-replicas": {"minimum": minimum}}}})
        .to_string()
    };
    stage.plane.kubectl_stdin("admin", &["apply", "-f", "-"], &policy(3)).expect_ok("a policy");
    let replicas = |args: &[&str]| {
        let (_, report) = scan(stage, &namespace, args);
        let all = report["findings"].as_array().unwrap().iter().filter(|f| f["rule"] == "min-replicas");
        let required: Vec<String> = all.map(|f| f["required"].as_str().unwrap().to_owned()).collect();
        (required.join(" "), report["cluster"]["policies"].clone())
    };
    let (required, policies) = replicas(&[]);
    assert_eq!(required, "3");
    let origin = |name: &str| {
        policies.as_array().unwrap().iter().find(|p| p["name"] == name).map(|p| p["origin"].as_str().unwrap())
    };
    assert_eq!((origin(&namespace), origin("production")), (Some("Cluster"), Some("Shipped")));

    // Files are a draft, unless what is installed is asked for as well; it has no say over their names.
    let elsewhere = policy(5).replace(r#""namespaces""#, r#""excludeNamespaces""#);
    let elsewhere = write(
        stage,
        "elsewhere.yaml",
        &elsewhere.replace(&format!(r#""name":"{namespace}""#), r#""name":"elsewhere""#),
    );
    let draft = write(stage, "draft.yaml", &policy(4));
    let (elsewhere, draft) = (elsewhere.to_str().unwrap(), draft.to_str().unwrap());
    assert_eq!(replicas(&["--policies", elsewhere]).0, "");
    assert_eq!(replicas(&["--policies", elsewhere, "--installed"]).0, "3");
    let (_, run) = plimsoll(stage, "admin", &["scan", "-n", &namespace, "--policies", draft, "--installed"]);
    assert!(
        run.stderr.contains(&format!("InvariantPolicy {namespace} is left out: metadata.name:")),
        "{run}"
    );
    assert!(run.stdout.contains("Set spec.replicas: 4"), "{run}");
    let (_, run) = plimsoll(stage, "admin", &["scan", "-n", &namespace, "--policies", draft, "--diff"]);
    assert!(run.stderr.contains(&format!("Judged by 1 policy (given: {namespace}).")), "{run}");
    assert!(run.stderr.contains(&format!("in the cluster: {namespace}")), "{run}");
    assert!(run.stdout.contains("1 finding would be new") || run.stdout.contains("stand otherwise"), "{run}");
    stage.plane.kubectl("admin", &["delete", "invariantpolicy", &namespace]).expect_ok("it can go");
}

#[test]
fn what_may_not_be_read_is_named() {
    let stage = stage();
    let namespace = stage.plane.namespace("unreadable", &[]);
    let kubectl = |args: &[&str]| stage.plane.kubectl("admin", &[args, &["-n", &namespace]].concat());
    let account = format!("--serviceaccount={namespace}:default");
    let resources = "--resource=namespaces,pvc,deployments.apps,statefulsets.apps,cronjobs.batch,daemonsets.apps,\
        replicasets.apps,replicationcontrollers,jobs.batch,scaledobjects.keda.sh,horizontalpodautoscalers.autoscaling";
    kubectl(&["create", "role", "scan", "--verb=get,list", resources]).expect_ok("a role");
    kubectl(&["create", "rolebinding", "scan", "--role=scan", &account]).expect_ok("a binding");
    let token = kubectl(&["create", "token", "default"]).expect_ok("a token");
    let config = json!({"clusters": [{"name": "c", "cluster":
            {"server": stage.plane.url(), "certificate-authority": stage.plane.ca()}}],
        "users": [{"name": "u", "user": {"token": token.trim()}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"});
    let config = write(stage, &format!("{namespace}.kubeconfig"), &config.to_string());
    let scan = |more: &[&str]| {
        let args = [&["scan", "--kubeconfig", config.to_str().unwrap()], more].concat();
        plimsoll(stage, "admin", &args)
    };
    let (code, run) = scan(&["-n", &namespace]);
    assert_eq!((code, run.stdout.as_str()), (2, ""), "{run}");
    assert!(
        run.stderr.contains(&format!("may not list poddisruptionbudgets.policy in namespace {namespace}")),
        "{run}"
    );
    assert!(!run.stderr.contains("may not list deployments"), "{run}");
    let (_, run) = scan(&[]);
    assert!(run.stderr.contains("A scan needs the verb list on namespaces, deployments.apps, "), "{run}");
    // All there is to it is a rule for the rest.
    let rest = "--resource=poddisruptionbudgets.policy";
    kubectl(&["create", "role", "rest", "--verb=list", rest]).expect_ok("a role");
    kubectl(&["create", "rolebinding", "rest", "--role=rest", &account]).expect_ok("a binding");
    wait_until("the rule to count", SOON, || scan(&["-n", &namespace]).0 == 0);
    // Policies are no namespace's own.
    let (_, run) = scan(&["-n", &namespace]);
    assert!(run.stderr.contains("policies of the cluster are left out, if there are any"), "{run}");
    assert!(run.stderr.contains("Judged by 6 policies (shipped with Plimsoll: "), "{run}");
}

/// A copy of a value with every string that is `from` being `to`.
pub(crate) fn renamed(value: &Value, from: &str, to: &str) -> Value {
    match value {
        Value::String(text) if text == from => to.into(),
        Value::Array(items) => items.iter().map(|item| renamed(item, from, to)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), renamed(field, from, to))).collect()
        }
        other => other.clone(),
    }
}

/// What `check` says of the manifests: `rule Kind/name`, by whether it would be filled in.
fn checked(
    stage: &Stage,
    namespace: &str,
    objects: &[Value],
    policies: &str,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut items = objects.to_vec();
    items.iter_mut().for_each(|object| object["metadata"]["namespace"] = namespace.into());
    items.push(json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"environment": "production"}}}));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let file = write(stage, &format!("{namespace}.json"), &list.to_string());
    let (_, run) = plimsoll(stage, "admin", &["check", file.to_str().unwrap(), "--policies", policies]);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in run.stdout.lines() {
        let (_, finding) = line.split_once(": ").expect("a place");
        let (state, finding) = finding.split_once(' ').expect("a state");
        let (rule, rest) = finding.split_once(": ").expect("a rule");
        let subject = rest.split(' ').collect::<Vec<_>>();
        let at = subject.iter().position(|word| word.starts_with(&format!("{namespace}/")));
        let at = at.unwrap_or_else(|| panic!("no object in {line}"));
        let name = subject[at].split_once('/').unwrap().1;
        found.entry(state.to_owned()).or_default().insert(format!("{rule} {}/{name}", subject[at - 1]));
    }
    found
}

/// What the webhook records of an edit that changes nothing but a label.
fn answered(stage: &Stage, namespace: &str) -> BTreeSet<String> {
    let edit = ["label", KINDS, "--all", "-n", namespace, "touched=yes", "--dry-run=server"];
    stage.plane.kubectl("admin", &edit).expect_ok("an edit of metadata is never denied");
    let mut found = BTreeSet::new();
    for record in stage.plimsoll.records() {
        let resource = &record["resource"];
        if resource["namespace"] == namespace && record["operation"] == "UPDATE" && record["dryRun"] == true {
            for finding in record["findings"].as_array().unwrap() {
                let (rule, kind) = (finding["rule"].as_str().unwrap(), resource["kind"].as_str().unwrap());
                found.insert(format!("{rule} {kind}/{}", resource["name"].as_str().unwrap()));
            }
        }
    }
    found
}

/// Waits until no autoscaler has anything to do, so that nothing changes between two looks.
fn wait_for_autoscalers(stage: &Stage, namespace: &str) {
    let list = ["get", "horizontalpodautoscalers", "-n", namespace, "-o", "json"];
    wait_until("the autoscalers to have scaled", SOON, || {
        let autoscalers = stage.plane.kubectl("admin", &list).json();
        autoscalers["items"].as_array().unwrap().iter().all(|autoscaler| {
            let spec = &autoscaler["spec"];
            let target = ["kind", "name"].map(|field| spec["scaleTargetRef"][field].as_str().unwrap());
            let get = ["get", target[0], target[1], "-n", namespace, "--ignore-not-found", "-o", "json"];
            let found = stage.plane.kubectl("admin", &get);
            found.stdout.is_empty() || {
                let replicas = found.json()["spec"]["replicas"].as_i64().unwrap();
                let range = spec["minReplicas"].as_i64().unwrap_or(1)..=spec["maxReplicas"].as_i64().unwrap();
                replicas == 0 || range.contains(&replicas)
            }
        })
    });
}

#[test]
fn scan_check_and_the_webhook_agree_about_the_five_systems() {
    let stage = stage();
    for system in SYSTEMS {
        let documented = manifests(system, "documented");
        let own = documented.iter().map(|m| m.namespace.as_str()).find(|name| !name.is_empty()).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(format!("{system}.yaml"));
        let shipped = std::fs::read_to_string(&shipped).unwrap();
        for folder in ["documented", "fixed"] {
            if folder == "fixed" && system == "booking-qs" {
                continue; // Nothing was wrong with it.
            }
            let objects: Vec<Value> = manifests(system, folder)
                .iter()
                .filter(|manifest| manifest.namespace == own)
                // Node ports are there once for all, and other tests apply them too.
                .filter(|manifest| manifest.value["kind"] != "Service")
                .map(|manifest| {
                    let mut object = manifest.value.clone();
                    object["metadata"].as_object_mut().unwrap().remove("namespace");
                    object
                })
                .collect();
            let namespace = governed_late(stage, "agree", &objects);
            stage.wait_until_governed(&namespace);
            wait_for_autoscalers(stage, &namespace);

            let (_, report) = scan(stage, &namespace, &[]);
            let of_rule = |finding: &String| finding.split_once(' ').unwrap().1.to_owned();
            let mut scanned: BTreeSet<String> = findings(&report).iter().map(of_rule).collect();
            scanned.retain(|finding| !finding.starts_with(SCAN_ONLY));
            assert_eq!(scanned, answered(stage, &namespace), "{system}, {folder}: scan and the webhook");

            // With the system's own policy, too, moved to this namespace.
            let mut policies = String::new();
            for document in manifest::parse("policy", &shipped).unwrap() {
                policies.push_str(&format!("---\n{}\n", renamed(&document.value, own, &namespace)));
            }
            policies.push_str("---\n");
            policies.push_str(include_str!("../../policies/production.yaml"));
            let policies = write(stage, &format!("{namespace}.yaml"), &policies);
            let policies = policies.to_str().unwrap();
            let (_, report) = scan(stage, &namespace, &["--policies", policies]);
            let mut by_state: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for finding in report["findings"].as_array().unwrap() {
                let state = match (finding["fillsIn"] == true, word(finding)) {
                    (true, _) => "Fixed",
                    (_, "Existing") => "Deny",
                    (_, state) => state,
                };
                if finding["rule"] != SCAN_ONLY {
                    by_state.entry(state.to_owned()).or_default().insert(about(finding));
                }
            }
            let mut checked = checked(stage, &namespace, &objects, policies);
            // Replicas that the manifest leaves unset are filled in by now, by their autoscaler.
            let targets = objects.iter().filter_map(|object| object["spec"].get("scaleTargetRef"));
            for target in targets {
                let kind = target["kind"].as_str().unwrap_or("Deployment");
                let filled = format!("min-replicas {kind}/{}", target["name"].as_str().unwrap());
                for found in [&mut by_state, &mut checked] {
                    found.entry("Fixed".to_owned()).or_default().remove(&filled);
                }
            }
            for found in [&mut by_state, &mut checked] {
                found.retain(|_, findings| !findings.is_empty());
            }
            assert_eq!(by_state, checked, "{system}, {folder}: scan and check");
            assert!(
                folder == "fixed" || !scanned.is_empty() || system == "booking-qs",
                "{system} has findings"
            );
        }
    }
}

#[test]
fn every_waiver_is_listed_by_its_end() {
    let stage = stage();
    let waiver = |days: i64| {
        let end = jiff::Timestamp::now().checked_add(jiff::Span::new().hours(24 * days + 1)).unwrap();
        format!("{{owner: a@example.com, reason: internal tool only, expires: {end}}}")
    };
    let waived = |name: &str, replicas: i64, annotations: &[(&str, &str)]| {
        let mut object = object(name, replicas);
        for (key, value) in annotations {
            object["metadata"]["annotations"][*key] = (*value).into();
        }
        object
    };
    let min = "waiver.plimsoll.dev/min-replicas";
    let mut alone = waived("alone", 1, &[(min, &waiver(70))]);
    alone["kind"] = "ReplicaSet".into();
    let objects = [
        waived("active", 1, &[(min, &waiver(60))]),
        waived("soon", 1, &[(min, &waiver(3))]),
        waived("over", 1, &[(min, &waiver(-3))]),
        waived("wrong", 1, &[("waiver.plimsoll.dev/min-replica", &waiver(60))]),
        waived("idle", 2, &[("waiver.plimsoll.dev/cron-interval", &waiver(61))]),
        waived("single", 1, &[("plimsoll.dev/singleton", "the queue has one reader")]),
        // What a controller makes has copies of these annotations; what nothing made has its own.
        alone,
    ];
    let namespace = governed_late(stage, "waivers", &objects);
    let (code, run) = plimsoll(stage, "alice", &["waivers", "-n", &namespace, "--output", "json"]);
    assert_eq!(code, 0, "{run}");
    let list: Value = serde_json::from_str(&run.stdout).unwrap();
    let line = |waiver: &Value| {
        let text = |field: &str| waiver[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {} {}", text("state"), waiver["daysLeft"], text("name"), text("source"))
    };
    let lines: Vec<String> = list["waivers"].as_array().unwrap().iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "Expired -3 over annotation",
            "Expiring 3 soon annotation",
            "Active 60 active annotation",
            "Invalid 60 wrong annotation",
            "Unneeded 61 idle annotation",
            "Active 70 alone annotation",
            "Active null single singleton",
        ]
    );
    let (code, run) = plimsoll(stage, "alice", &["waivers", "-n", &namespace, "--fail-on", "expired"]);
    assert_eq!(code, 1, "{run}");
    assert!(run.stdout.lines().next().unwrap().starts_with("STATE "), "{run}");
    assert!(
        run.stderr.contains("7 waivers: 3 active, 1 expiring, 1 expired, 1 invalid, 1 unneeded"),
        "{run}"
    );

    // The same manifests, before they are applied, by the same judgement.
    let mut items = objects.to_vec();
    items.iter_mut().for_each(|object| object["metadata"]["namespace"] = namespace.as_str().into());
    items.push(json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"environment": "production"}}}));
    let file = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let file = write(stage, &format!("{namespace}.json"), &file);
    let (_, run) = plimsoll(stage, "alice", &["waivers", file.to_str().unwrap(), "--output", "json"]);
    let offline: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(offline["waivers"].as_array().unwrap().iter().map(line).collect::<Vec<_>>(), lines);
}
