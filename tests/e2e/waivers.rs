//! Waivers: who may write them, by whatever road, and what becomes of them when they end.

mod reach;

use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::controlplane::Run;
use super::scan::run_plimsoll;
use super::{POLICIES, SOON, Stage, deployment, stage};
use crate::controlplane::wait_until;

const WAIVER: &str = "waiver.plimsoll.dev/min-replicas";

/// A namespace under one of the policies in `policies/waivers.yaml`.
fn namespace(stage: &Stage, policy: &str) -> String {
    let namespace = stage.plane.namespace(policy, &[("waivers", policy)]);
    let probe = deployment("probe", Some(1), "x");
    let args = ["create", "--dry-run=server", "-n", &namespace, "-f", "-"];
    wait_until("Plimsoll to know the namespace", SOON, || {
        !stage.plane.kubectl_stdin("admin", &args, &probe).status_ok
    });
    namespace
}

fn waiver(end: Timestamp) -> String {
    format!("{{owner: a@example.com, reason: a restart is acceptable, expires: {end}}}")
}

fn in_days(days: i64) -> Timestamp {
    Timestamp::now().checked_add((24 * days).hours()).unwrap()
}

/// A Deployment with annotations.
fn annotated(name: &str, replicas: i64, annotations: &[(&str, &str)]) -> String {
    let mut object: Value = serde_json::from_str(&deployment(name, Some(replicas), "nginx:1")).unwrap();
    object["metadata"]["annotations"] =
        annotations.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    object.to_string()
}

/// kubectl in one namespace.
struct Shell {
    stage: &'static Stage,
    namespace: String,
}

impl Shell {
    /// What `plimsoll waivers` says of the namespace: state and object.
    fn states(&self) -> Vec<String> {
        let report = self.plimsoll(&["waivers", "--output", "json"]);
        let line = |waiver: &Value| {
            let text = |field: &str| waiver[field].as_str().unwrap_or_default().to_owned();
            format!("{} {}/{}", text("state"), text("kind"), text("name"))
        };
        let mut states: Vec<String> = report["waivers"].as_array().unwrap().iter().map(line).collect();
        states.sort();
        states
    }

    /// What `plimsoll scan` says of the finding that the waiver is about.
    fn scanned(&self) -> String {
        let report = self.plimsoll(&["scan", "--output", "json"]);
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["rule"] == "min-replicas").unwrap();
        finding["state"].as_str().unwrap().to_owned()
    }

    fn plimsoll(&self, args: &[&str]) -> Value {
        let args = [args, &["-n", &self.namespace, "--policies"], &POLICIES].concat();
        let (_, run) = run_plimsoll(self.stage.plane, "admin", &args);
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"))
    }

    fn run(&self, user: &str, args: &[&str]) -> Run {
        self.stage.plane.kubectl(user, &[args, &["-n", &self.namespace]].concat())
    }

    fn apply(&self, user: &str, object: &str, more: &[&str]) -> Run {
        let args = [&["apply", "-n", &self.namespace, "-f", "-"], more].concat();
        self.stage.plane.kubectl_stdin(user, &args, object)
    }

    fn patch(&self, user: &str, object: &str, annotation: &str, text: &str, more: &[&str]) -> Run {
        let patch = json!({"metadata": {"annotations": {annotation: text}}}).to_string();
        self.run(user, &[&["patch", object, "--type=merge", "-p", &patch], more].concat())
    }

    /// Lets alice do something here.
    fn allow_alice(&self, name: &str, group: &str, resource: &str, resource_names: &[&str], verbs: &[&str]) {
        let role = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                "metadata": {"name": name, "namespace": self.namespace},
                "rules": [{"apiGroups": [group], "resources": [resource], "resourceNames": resource_names, "verbs": verbs}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": self.namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]},
        ]});
        self.stage.plane.apply_manifest(&role.to_string()).expect_ok("admin may bind roles");
        // kubectl's own `auth can-i` knows no resource that isn't served.
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": self.namespace, "verb": verbs[0], "group": group,
                "resource": resource, "subresource": subresource, "name": resource_names.first()}}});
        let ask = ["create", "--raw", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "-f", "-"];
        wait_until("the role to be known", SOON, || {
            self.stage.plane.kubectl_stdin("alice", &ask, &review.to_string()).json()["status"]["allowed"]
                == true
        });
    }
}

fn refused(run: Run) -> String {
    let message = run.expect_refused("whoever lacks the verb must not waive");
    assert!(message.contains("lacks the verb waive on invariants.plimsoll.dev/"), "{message}");
    message
}

#[test]
fn who_lacks_the_verb_waives_by_no_road_and_who_has_it_waives_that_rule_there() {
    let stage = stage();
    let shell = Shell { stage, namespace: namespace(stage, "authorized") };
    let (text, other) = (waiver(in_days(30)), waiver(in_days(31)));
    shell.allow_alice("status", "apps", "deployments/status", &[], &["patch", "update"]);

    let message = refused(shell.apply("alice", &annotated("web", 1, &[(WAIVER, &text)]), &[]));
    assert!(message.contains("min-replicas: Deployment"), "{message}");
    refused(shell.apply("alice", &annotated("web", 1, &[(WAIVER, &text)]), &["--server-side"]));
    // Nothing needs it yet, but once stored it would count for whoever scales.
    refused(shell.apply("alice", &annotated("web", 2, &[(WAIVER, &text)]), &[]));

    shell.apply("alice", &annotated("web", 2, &[]), &[]).expect_ok("two replicas need no waiver");
    refused(shell.patch("alice", "deployment/web", WAIVER, &text, &[]));
    refused(shell.patch("alice", "deployment/web", WAIVER, &text, &["--subresource=status"]));
    refused(shell.run("alice", &["annotate", "deployment", "web", &format!("{WAIVER}={text}")]));
    refused(shell.apply(
        "alice",
        &annotated("web", 2, &[(WAIVER, &text)]),
        &["--server-side", "--force-conflicts"],
    ));
    refused(shell.patch("alice", "deployment/web", "plimsoll.dev/singleton", "true", &[]));
    // What a scale carries is never stored.
    let _ = shell.patch("alice", "deployment/web", WAIVER, &text, &["--subresource=scale"]);
    let scale = ["scale", "deployment", "web", "--replicas=1"];
    let message = shell.run("alice", &scale).expect_refused("there is no waiver by now");
    assert!(message.contains("or waive on the Deployment: waiver.plimsoll.dev/min-replicas"), "{message}");

    shell.allow_alice("waive", "plimsoll.dev", "invariants", &["min-replicas"], &["waive"]);
    shell.patch("alice", "deployment/web", WAIVER, &text, &["--subresource=status"]).expect_ok("she may now");
    let run = shell.run("alice", &scale);
    assert!(run.stderr.contains("waived by a@example.com"), "{run}");
    run.expect_ok("the waiver was authorised on its way in");
    let scaler = ["autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu=80%"];
    shell.run("bob", &scaler).expect_ok("the autoscaler goes by its target's waiver");

    // Bob may write the object, and may not waive: not another text, not by a copy, not elsewhere.
    refused(shell.patch("bob", "deployment/web", WAIVER, &other, &[]));
    refused(shell.patch("bob", "deployment/web", WAIVER, &format!("{text} "), &[]));
    refused(shell.apply("bob", &annotated("copy", 1, &[(WAIVER, &text)]), &[]));
    shell.run("bob", &["set", "image", "deployment/web", "app=nginx:2"]).expect_ok("the waiver is as it was");
    refused(shell.patch("alice", "deployment/web", "waiver.plimsoll.dev/singleton", &text, &[]));
    let elsewhere = Shell { stage, namespace: namespace(stage, "authorized") };
    refused(elsewhere.apply("alice", &annotated("web", 1, &[(WAIVER, &text)]), &[]));

    // Who is on call needs no verb, and is heard.
    let emergency = format!(
        "{{owner: b@example.com, reason: the node pool is full, expires: {}, emergency: true}}",
        Timestamp::now().checked_add(4.hours()).unwrap()
    );
    let run = elsewhere.apply("bob", &annotated("web", 1, &[(WAIVER, &emergency)]), &[]);
    assert!(run.stderr.contains("waived in an EMERGENCY by b@example.com"), "{run}");
    run.expect_ok("an emergency");

    // Nothing but its waiver makes a CronJob worth keeping, nobody but the gauges looks at it.
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "tick", "annotations": {WAIVER: text}},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {
            "spec": {"containers": [{"name": "app", "image": "nginx:1"}], "restartPolicy": "Never"}}}}}});
    shell.apply("alice", &cron.to_string(), &[]).expect_ok("she may waive that rule here");
    for (namespace, state, count) in [(&shell.namespace, "Active", 2), (&elsewhere.namespace, "Expiring", 1)]
    {
        let line = format!(
            "plimsoll_waivers{{namespace=\"{namespace}\",rule=\"min-replicas\",state=\"{state}\"}} {count}"
        );
        wait_until(&line, SOON, || stage.plimsoll.get("/metrics").is_ok_and(|text| text.contains(&line)));
    }

    let emergencies = format!(
        "plimsoll_emergency_waivers{{namespace=\"{}\",rule=\"min-replicas\"}} 1",
        elsewhere.namespace
    );
    assert!(stage.plimsoll.get("/metrics").unwrap().contains(&emergencies));
    // The leader reminds of what ends within a week, on the object itself.
    let describe = ["describe", "deployment/web"];
    wait_until("kubectl describe to show that the waiver ends soon", SOON, || {
        let text = elsewhere.run("bob", &describe).stdout;
        text.lines().any(|line| {
            ["WaiverEnds", "min-replicas: the waiver by b@example.com expires", "the node pool is full"]
                .iter()
                .all(|words| line.contains(words))
        })
    });
    assert!(!shell.run("bob", &describe).stdout.contains("WaiverEnds"), "there are 30 days left");

    assert_eq!(shell.states(), ["Active Deployment/web", "Unneeded CronJob/tick"]);
    assert_eq!(elsewhere.states(), ["Expiring Deployment/web"]);

    let changes = |namespace: &str, user: &str, decision: &str| -> Vec<Value> {
        let records = stage.plimsoll.records();
        let of = records.iter().filter(|record| {
            record["resource"]["namespace"] == namespace
                && record["user"]["name"] == user
                && record["decision"] == decision
        });
        of.flat_map(|record| record["waivers"].as_array().cloned().unwrap_or_default()).collect()
    };
    let granted = changes(&shell.namespace, "alice", "Allowed");
    let by = granted[0]["authorizationReason"].as_str().unwrap();
    assert!(by.contains("RBAC: allowed by RoleBinding \"waive/"), "{by}");
    assert_eq!((&granted[0]["authorization"], &granted[0]["change"]), (&json!("Allowed"), &json!("Added")));
    assert_eq!(granted[0]["waiver"]["owner"], "a@example.com");
    assert_eq!(changes(&shell.namespace, "bob", "Denied")[0]["authorization"], "Denied");
    assert_eq!(changes(&elsewhere.namespace, "bob", "Allowed")[0]["authorization"], "Emergency");
}

#[test]
fn no_status_of_any_kind_and_no_label_of_a_namespace_is_a_back_door() {
    let stage = stage();
    let shell = Shell { stage, namespace: namespace(stage, "authorized") };
    let text = waiver(in_days(30));
    let template = json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "app", "image": "nginx:1"}], "restartPolicy": "Always"}});
    let selector = json!({"matchLabels": {"app": "a"}});
    let (mut job, mut other) = (template.clone(), template.clone());
    job["spec"]["restartPolicy"] = json!("Never");
    other["metadata"]["labels"]["app"] = json!("b");
    let kinds = [
        ("apps/v1", "StatefulSet", json!({"replicas": 2, "selector": selector, "template": template})),
        ("apps/v1", "DaemonSet", json!({"selector": selector, "template": template})),
        ("batch/v1", "CronJob", json!({"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": job}}})),
        ("batch/v1", "Job", json!({"suspend": true, "template": job})),
        ("apps/v1", "ReplicaSet", json!({"replicas": 2, "selector": selector, "template": template})),
        ("v1", "ReplicationController", json!({"replicas": 2, "selector": {"app": "b"}, "template": other})),
        ("policy/v1", "PodDisruptionBudget", json!({"maxUnavailable": 1, "selector": selector})),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"minReplicas": 2, "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"}}),
        ),
    ];
    for (version, kind, spec) in kinds {
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let plural = format!("{}s", kind.to_lowercase());
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        shell.apply("alice", &object.to_string(), &[]).expect_ok("it breaks no rule");
        shell.allow_alice(&plural, group, &format!("{plural}/status"), &[], &["patch"]);
        let target = format!("{plural}/a");
        refused(shell.patch("alice", &target, WAIVER, &text, &["--subresource=status"]));
        let other = shell.patch("alice", &target, "team", "a", &["--subresource=status"]);
        other.expect_ok("nobody minds other annotations");
    }

    let label = json!({"metadata": {"labels": {"waivers": "none"}}}).to_string();
    let name = &shell.namespace;
    let patch = ["patch", "namespace", name, "--type=merge", "-p", &label, "--subresource=status"];
    let message = stage.plane.kubectl("admin", &patch).expect_refused("out of the policy's selector");
    assert!(message.contains("protected-namespace: Namespace"), "{message}");
    let mut object = stage.plane.kubectl("admin", &["get", "namespace", name, "-o", "json"]).json();
    object["metadata"]["labels"]["waivers"] = json!("none");
    let path = format!("/api/v1/namespaces/{name}/finalize");
    let run =
        stage.plane.kubectl_stdin("admin", &["replace", "--raw", &path, "-f", "-"], &object.to_string());
    let message = run.expect_refused("out of the policy's selector");
    assert!(message.contains("protected-namespace: Namespace"), "{message}");
}

/// A Deployment with 2 of 3 replicas in its second revision, under a waiver that has ended by the time
/// this returns.
fn ended(stage: &'static Stage, policy: &str) -> Shell {
    let shell = Shell { stage, namespace: namespace(stage, policy) };
    // On a slow machine a short waiver ends before it is applied; then a longer one is tried.
    for seconds in [4, 8, 16, 32, 64] {
        let end = Timestamp::now().checked_add(seconds.seconds()).unwrap();
        let run = shell.apply("alice", &annotated("web", 2, &[(WAIVER, &waiver(end))]), &[]);
        if run.status_ok {
            assert!(run.stderr.contains("the waiver end"), "{run}");
            stage.wait_for_replica_set(&shell.namespace);
        }
        let run = image(&shell, "2");
        if !run.status_ok || !run.stderr.contains("the waiver ends at") {
            continue;
        }
        assert!(run.stderr.contains("(waived by a@example.com)"), "{run}");
        wait_until("the second revision", SOON, || stage.settled_replica_sets(&shell.namespace, "web") == 2);
        wait_until("the waiver's end", Duration::from_secs(70), || Timestamp::now() > end);
        return shell;
    }
    panic!("the machine is too slow to apply a manifest within a minute");
}

fn image(shell: &Shell, tag: &str) -> Run {
    shell.run("alice", &["set", "image", "deployment/web", &format!("app=nginx:{tag}")])
}

fn scale(shell: &Shell, replicas: i64) -> Run {
    shell.run("alice", &["scale", "deployment", "web", &format!("--replicas={replicas}")])
}

fn renew(shell: &Shell) {
    let renewed = format!("{WAIVER}={}", waiver(in_days(30)));
    shell.run("alice", &["annotate", "--overwrite", "deployment", "web", &renewed]).expect_ok("a renewal");
}

#[test]
fn an_ended_waiver_without_grace_bites_at_once() {
    let shell = ended(stage(), "no-grace");
    assert_eq!(
        (shell.scanned().as_str(), shell.states()),
        ("New", vec!["Expired Deployment/web".to_owned()])
    );
    let message = image(&shell, "3").expect_refused("it has ended");
    assert!(message.contains("; the waiver ended at"), "{message}");
    scale(&shell, 1).expect_refused("worse");
    shell.run("alice", &["label", "deployment", "web", "team=a"]).expect_ok("metadata");
    renew(&shell);
    // The first revision has the ended waiver.
    let undo = shell.run("alice", &["rollout", "undo", "deployment/web"]);
    let message = undo.expect_refused("it brings the ended waiver back");
    assert!(message.contains("brings back a waiver that ended at"), "{message}");
    let run = image(&shell, "3");
    assert!(run.stderr.contains("(waived by a@example.com)"), "{run}");
    run.expect_ok("the waiver was renewed");
    shell.run("alice", &["annotate", "deployment", "web", &format!("{WAIVER}-")]).expect_refused("needed");
    scale(&shell, 3).expect_ok("toward compliance");
    shell.run("alice", &["annotate", "deployment", "web", &format!("{WAIVER}-")]).expect_ok("needed no more");
}

#[test]
fn an_ended_waiver_warns_for_its_grace_and_a_rollback_across_its_renewal_passes() {
    let shell = ended(stage(), "grace");
    let expired = vec!["Expired Deployment/web".to_owned()];
    assert_eq!((shell.scanned().as_str(), shell.states()), ("Existing", expired));
    let run = image(&shell, "3");
    assert!(run.stderr.contains("no worse than before; the waiver ended at"), "{run}");
    run.expect_ok("within grace");
    scale(&shell, 1).expect_refused("worse, grace or not");
    wait_until("the third revision", SOON, || shell.stage.settled_replica_sets(&shell.namespace, "web") == 3);
    renew(&shell);
    assert_eq!(
        (shell.scanned().as_str(), shell.states()),
        ("Waived", vec!["Active Deployment/web".to_owned()])
    );
    let undo = shell.run("alice", &["rollout", "undo", "deployment/web"]);
    assert!(undo.stderr.contains("brings back a waiver that ended at"), "{undo}");
    undo.expect_ok("grace is what a rollback at night needs");
    scale(&shell, 3).expect_ok("toward compliance");
}

#[test]
fn a_rollback_that_drops_a_waiver_says_so() {
    let stage = stage();
    let shell = Shell { stage, namespace: namespace(stage, "grace") };
    shell.apply("alice", &annotated("web", 3, &[]), &[]).expect_ok("three");
    stage.wait_for_replica_set(&shell.namespace);
    image(&shell, "2").expect_ok("a second revision");
    wait_until("the second revision", SOON, || stage.settled_replica_sets(&shell.namespace, "web") == 2);
    renew(&shell);
    scale(&shell, 2).expect_ok("waived");
    let undo = shell.run("alice", &["rollout", "undo", "deployment/web"]);
    let message = undo.expect_refused("the first revision has no waiver");
    assert!(
        message.contains("this change takes its waiver away, which a@example.com answered for"),
        "{message}"
    );
}
