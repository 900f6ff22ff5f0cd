//! What goes on and what doesn't while every replica is down, and how the gate is opened.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::controlplane::wait_until;
use crate::installation::{Installation, NAMESPACE};
use crate::{SOON, installation};

const START: &str =
    "<!-- made by a test that stops every replica: UPDATE_DOCS=1 cargo test --test operate outage -->\n";
const END: &str = "<!-- end -->";

fn workload(kind: &str, name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "app"}]},
            },
        },
    })
}

fn daemon_set(name: &str) -> Value {
    let mut object = workload("DaemonSet", name, 0);
    object["spec"].as_object_mut().expect("a spec").remove("replicas");
    object
}

fn cron_job(name: &str, schedule: &str) -> Value {
    let waiver = "{owner: team@example.com, reason: a test that can't wait, expires: LATER}";
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {
            "name": name,
            "annotations": {"waiver.plimsoll.dev/cron-interval": waiver.replace("LATER", &later.to_string())},
        },
        "spec": {
            "schedule": schedule,
            "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "app", "image": "app"}],
            }}}},
        },
    })
}

fn autoscaler(target: &str, min: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": target},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": min, "maxReplicas": 9,
        },
    })
}

/// What was tried, by what was done, and whether it went through.
struct Table<'a> {
    installation: &'a Installation,
    namespace: &'a str,
    rows: Vec<(&'static str, Vec<&'static str>, Vec<&'static str>)>,
}

impl Table<'_> {
    fn row(&mut self, how: &'static str, what: &'static str, goes_on: bool) {
        if self.rows.last().is_none_or(|(last, ..)| *last != how) {
            self.rows.push((how, Vec::new(), Vec::new()));
        }
        let (_, refused, passed) = self.rows.last_mut().expect("there is one now");
        if goes_on { passed.push(what) } else { refused.push(what) }
    }

    fn text(&self) -> String {
        let mut text =
            "| while every replica is stopped | is refused | goes on |\n|---|---|---|\n".to_owned();
        for (how, refused, passed) in &self.rows {
            writeln!(text, "| {how} | {} | {} |", refused.join(", "), passed.join(", ")).unwrap();
        }
        text
    }

    /// A user types this.
    fn kubectl(&mut self, how: &'static str, what: &'static str, args: &[&str], input: &str) {
        let args = [args, &["-n", self.namespace]].concat();
        let run = self.installation.plane.kubectl_stdin("admin", &args, input);
        if !run.status_ok {
            let names_us = run.stderr.contains("plimsoll.dev\": failed to call webhook");
            assert!(names_us, "what is refused should say by whom: {run}");
        }
        self.row(how, what, run.status_ok);
    }

    fn apply(&mut self, what: &'static str, object: &Value) {
        self.kubectl("`kubectl apply` of", what, &["apply", "-f", "-"], &object.to_string());
    }

    /// A controller does this, or doesn't.
    fn controller(&mut self, what: &'static str, mut done: impl FnMut(&Installation) -> bool) {
        // The shortest schedule is a minute, and a machine may be busy.
        wait_until(what, SOON * 2, || done(self.installation));
        self.row("the cluster's own controllers", what, true);
    }
}

fn count(installation: &Installation, namespace: &str, kind: &str) -> usize {
    let list = installation.plane.kubectl("admin", &["get", kind, "-n", namespace, "-o", "json"]).json();
    list["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn without_any_replica_the_cluster_goes_on_and_the_gate_can_be_opened() {
    let mut installation = installation();
    let namespace = installation.plane.namespace("outage", &[("environment", "production")]);
    let there = [workload("Deployment", "web", 2), workload("Deployment", "api", 2)];
    for object in there.iter().chain([&cron_job("tick", "* * * * *")]) {
        let apply = ["apply", "-n", &namespace, "-f", "-"];
        let applied = || installation.plane.kubectl_stdin("admin", &apply, &object.to_string());
        applied().expect_ok("the systems are there before the outage");
    }
    // It is below its autoscaler's minimum, so the controller will want to scale it at once.
    let mut scaled = autoscaler("api", 4);
    scaled["metadata"]["annotations"] = json!({});
    wait_until("pods", SOON, || count(&installation, &namespace, "pods") >= 4);

    let replicas = installation.replicas.len();
    installation.stop_all();
    let jobs = count(&installation, &namespace, "jobs");
    let mut table = Table { installation: &installation, namespace: &namespace, rows: Vec::new() };
    table.apply("Deployments", &workload("Deployment", "new", 2));
    table.apply("StatefulSets", &workload("StatefulSet", "new", 2));
    table.apply("DaemonSets", &daemon_set("new"));
    table.apply("CronJobs", &cron_job("new", "@daily"));
    table.apply("HorizontalPodAutoscalers", &scaled);
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    table.apply("PodDisruptionBudgets", &budget);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    table.apply("PersistentVolumeClaims", &claim);
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}});
    table.apply("ConfigMaps", &settings);
    let policy = json!({
        "apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy", "metadata": {"name": "outage"},
        "spec": {"match": {"namespaces": ["nowhere"]}, "rules": {"probes": {}}},
    });
    table.apply("InvariantPolicies", &policy);

    let relabel = ["label", "namespace", &namespace, "environment=staging", "--overwrite"];
    let commands: [(&str, &[&str]); 8] = [
        ("`scale`", &["scale", "deployment", "web", "--replicas=3"]),
        ("`rollout restart`", &["rollout", "restart", "deployment/web"]),
        ("`label` of a Deployment", &["label", "deployment", "web", "a=b"]),
        ("`label` of a Namespace", &relabel),
        ("`create job`", &["create", "job", "new", "--image=x"]),
        ("`create job --from=cronjob/…`", &["create", "job", "from-cron-job", "--from=cronjob/tick"]),
        ("`run` of a Pod", &["run", "shell", "--image=x"]),
        ("`delete` of a Deployment", &["delete", "deployment", "web", "--dry-run=server"]),
    ];
    for (what, args) in commands {
        table.kubectl("`kubectl`", what, args, "");
    }
    let through_status = ["patch", "deployment", "web", "--subresource=status", "-p"];
    let waiver = r#"{"metadata": {"annotations": {"waiver.plimsoll.dev/probes": "{}"}}}"#;
    let status = r#"{"status": {"collisionCount": 0}}"#;
    for (what, patch) in [("a waiver", waiver), ("anything else", status)] {
        table.kubectl("through `/status`", what, &[&through_status[..], &[patch]].concat(), "");
    }
    for (what, system) in [("kube-system", "kube-system"), ("Plimsoll's own namespace", NAMESPACE)] {
        let create = ["create", "deployment", "x", "--image=x", "--dry-run=server", "-n", system];
        let run = installation.plane.kubectl("admin", &create);
        table.row("anything in", what, run.status_ok);
    }
    let pods = ["get", "pods", "-l", "app=web", "-n", &namespace, "-o", "name"];
    let pod = installation.plane.kubectl("admin", &pods).expect_ok("there are pods");
    let pod = pod.lines().next().unwrap();
    installation.plane.kubectl("admin", &["delete", pod, "-n", &namespace]).expect_ok("a pod can be deleted");
    table.controller("a lost pod is replaced", |installation| {
        installation.plane.kubectl("admin", &pods).stdout.lines().filter(|name| *name != pod).count() == 2
    });
    table.controller("a CronJob starts its Job", |installation| {
        count(installation, &namespace, "jobs") > jobs
    });

    // Breaking the glass, first the mild way. What an autoscaler wants was let in only now.
    let patch = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#;
    let mild = ["patch", "validatingwebhookconfiguration", "plimsoll", "--type=json", "-p", patch];
    installation.plane.kubectl("admin", &mild).expect_ok("configurations are sent to no webhook");
    let apply = ["apply", "-n", &namespace, "-f", "-"];
    wait_until("an open gate", SOON, || {
        installation.plane.kubectl_stdin("admin", &apply, &scaled.to_string()).status_ok
    });
    let close = patch.replace("Ignore", "Fail");
    installation
        .plane
        .kubectl(
            "admin",
            &["patch", "validatingwebhookconfiguration", "plimsoll", "--type=json", "-p", &close],
        )
        .expect_ok("and it can be closed again");
    table.controller("a HorizontalPodAutoscaler scales", |installation| {
        let get = ["get", "deployment", "api", "-n", &namespace, "-o", "jsonpath={.spec.replicas}"];
        installation.plane.kubectl("admin", &get).stdout == "4"
    });
    let table = table.text();
    let delete = ["delete", "validatingwebhookconfiguration", "plimsoll"];
    installation.plane.kubectl("admin", &delete).expect_ok("configurations are sent to no webhook");
    let new = workload("Deployment", "new", 1).to_string();
    wait_until("no gate", SOON, || installation.plane.kubectl_stdin("admin", &apply, &new).status_ok);

    for _ in 0..replicas {
        installation.add();
    }
    installation.helm(&["upgrade", "plimsoll"]);
    installation.wait_until_ready();
    installation.wait_until_called();
    installation.plane.kubectl("admin", &["delete", "invpol", "outage"]).expect_ok("it was a test's");

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once(START).expect("the page has a place for the table");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let fresh = format!("{before}{START}\n{table}\n{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &fresh).unwrap();
    }
    assert!(page == fresh || std::env::var_os("UPDATE_DOCS").is_some(), "what was seen differs:\n{table}");
}
