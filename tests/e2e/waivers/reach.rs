//! How far a waiver reaches, and that every door sees it alike.

use super::*;

const BUDGET: &str = "waiver.plimsoll.dev/disruption-budget";
const READ_ONLY: &str = "waiver.plimsoll.dev/read-only-root-filesystem";

fn autoscaler(target: &str) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": target},
        "spec": {"minReplicas": 1, "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}}})
}

fn scaled(target: &str) -> Value {
    json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": target},
        "spec": {"minReplicaCount": 1, "maxReplicaCount": 3, "scaleTargetRef": {"name": target},
            "triggers": [{"type": "cron", "metadata": {}}]}})
}

fn budget(target: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": target},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": target}}}})
}

fn carrying(mut object: Value, annotations: &[(&str, &str)]) -> String {
    object["metadata"]["annotations"] =
        annotations.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
    object.to_string()
}

#[test]
fn a_workloads_waivers_reach_what_acts_on_it() {
    let stage = stage();
    let shell = Shell { stage, namespace: namespace(stage, "reach") };
    let text = waiver(in_days(30));
    let reaches = |name: &str, partner: &dyn Fn(&str) -> Value, finding: &str| {
        let bare = format!("bare-{name}");
        shell.apply("admin", &annotated(&bare, 2, &[]), &[]).expect_ok("it breaks no rule");
        let message = shell.apply("admin", &partner(&bare).to_string(), &[]).expect_refused("no waiver");
        assert!(message.contains(finding), "{message}");

        let target = annotated(name, 2, &[(WAIVER, &text), (BUDGET, &text)]);
        shell.apply("admin", &target, &[]).expect_ok("it breaks no rule");
        wait_until("the target's waiver to count for its partner", SOON, || {
            let run = shell.apply("admin", &partner(name).to_string(), &[]);
            run.status_ok && run.stderr.contains(finding) && run.stderr.contains("waived by a@example.com")
        });
    };
    reaches("hpa", &autoscaler, "min-replicas: HorizontalPodAutoscaler");
    reaches("keda", &scaled, "min-replicas: ScaledObject");
    reaches("pdb", &budget, "disruption-budget: PodDisruptionBudget");
}

#[test]
fn the_waivers_of_what_acts_on_a_workload_are_not_the_workloads() {
    let stage = stage();
    let shell = Shell { stage, namespace: namespace(stage, "reach") };
    let text = waiver(in_days(30));
    let own = [(WAIVER, text.as_str()), (BUDGET, text.as_str()), (READ_ONLY, text.as_str())];
    shell.apply("admin", &annotated("web", 2, &[]), &[]).expect_ok("it breaks no rule");
    for partner in [autoscaler("web"), budget("web")] {
        let run = shell.apply("admin", &carrying(partner, &own), &[]);
        assert!(run.stderr.contains("waived by a@example.com"), "{run}");
        run.expect_ok("it has a waiver of its own");
    }
    let writable = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "app", "securityContext": {"readOnlyRootFilesystem": false}}]}}}});
    let message = shell
        .run("admin", &["patch", "deployment", "web", "-p", &writable.to_string()])
        .expect_refused("the autoscaler's waiver isn't the Deployment's");
    assert!(message.contains("read-only-root-filesystem: Deployment"), "{message}");
    let stated = |state: &str| shell.states().iter().filter(|line| line.starts_with(state)).count();
    assert_eq!((stated("Active"), stated("Unneeded")), (3, 3), "{:?}", shell.states());

    shell.run("admin", &["delete", "hpa", "web"]).expect_ok("nobody minds");
    wait_until("the autoscaler's waiver to be gone with it", SOON, || !shell.may_scale(1));
}

impl Shell {
    /// Whether the Deployment may be scaled; nothing is.
    fn may_scale(&self, replicas: i64) -> bool {
        let replicas = format!("--replicas={replicas}");
        self.run("admin", &["scale", "deployment", "web", &replicas, "--dry-run=server"]).status_ok
    }

    /// How the newest record about an object has it. Where nothing is found, nothing is recorded.
    fn recorded(&self, name: &str) -> String {
        let records = self.stage.plimsoll.records();
        let mut records = records.iter().rev();
        let newest = records.find(|record| {
            record["resource"]["namespace"] == *self.namespace && record["resource"]["name"] == name
        });
        standing(&newest.map_or(Value::Null, |record| record["findings"].clone()))
    }

    /// How `plimsoll scan` has it.
    fn scanned_as(&self, name: &str) -> String {
        let report = self.plimsoll(&["scan", "--output", "json"]);
        let findings = report["findings"].as_array().unwrap();
        let about: Value = findings.iter().filter(|f| f["resource"]["name"] == name).cloned().collect();
        standing(&about)
    }

    /// How `plimsoll check` has the manifest.
    fn checked_as(&self, object: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let home = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {"waivers": "grace"}}});
        std::fs::write(folder.path().join("namespace.json"), home.to_string()).unwrap();
        std::fs::write(folder.path().join("object.json"), object).unwrap();
        let paths = folder.path().to_str().unwrap();
        let report = self.plimsoll(&["check", paths, "--output", "json"]);
        standing(&report["findings"])
    }
}

/// How the finding stands, with `Deny` or `Warn` for what nothing excuses.
fn standing(findings: &Value) -> String {
    let mut findings = findings.as_array().into_iter().flatten();
    let Some(finding) = findings.find(|finding| finding["rule"] == "min-replicas") else {
        return "none".to_owned();
    };
    let word = if finding["state"] == "New" { &finding["action"] } else { &finding["state"] };
    word.as_str().unwrap().to_owned()
}

#[test]
fn the_webhook_check_scan_and_the_list_agree_on_every_state() {
    let stage = stage();
    // What is wrong gets in before the policy applies.
    let shell = Shell { stage, namespace: stage.plane.namespace("agree", &[]) };
    let hours = |hours: i64| Timestamp::now().checked_add(hours.hours()).unwrap();
    let minutes = |minutes: i64| Timestamp::now().checked_add(minutes.minutes()).unwrap();
    let emergency = |end| waiver(end).replace('}', ", emergency: true}");
    // Name, replicas of the three that the policy asks for, waiver, and what is to be said of it in the
    // list, on CREATE and on UPDATE. A policy's grace is an hour; the ratchet excuses what no waiver ever covered.
    let cases = [
        ("active", 2, waiver(in_days(60)), "Active", "Waived", "Waived"),
        ("expiring", 2, waiver(in_days(5)), "Expiring", "Waived", "Waived"),
        ("emergency", 2, emergency(hours(6)), "Expiring", "Waived", "Waived"),
        ("in-grace", 2, waiver(minutes(-10)), "Expired", "Deny", "Existing"),
        ("expired", 2, waiver(hours(-2)), "Expired", "Deny", "Deny"),
        ("ended-emergency", 2, emergency(minutes(-10)), "Expired", "Deny", "Deny"),
        ("too-long", 2, waiver(in_days(400)), "Invalid", "Deny", "Existing"),
        ("long-emergency", 2, emergency(hours(48)), "Invalid", "Deny", "Existing"),
        ("malformed", 2, "true".to_owned(), "Invalid", "Deny", "Existing"),
        ("unneeded", 3, waiver(in_days(60)), "Unneeded", "none", "none"),
    ];
    for (name, replicas, text, ..) in &cases {
        shell.apply("admin", &annotated(name, *replicas, &[(WAIVER, text)]), &[]).expect_ok("no policy");
    }
    let label = ["label", "namespace", &shell.namespace, "waivers=grace"];
    stage.plane.kubectl("admin", &label).expect_ok("into the policy's selector");
    let probe = deployment("probe", Some(1), "x");
    wait_until("Plimsoll to know the namespace", SOON, || {
        !shell.apply("admin", &probe, &["--dry-run=server"]).status_ok
    });

    let states = shell.states();
    for (name, replicas, text, state, create, update) in &cases {
        assert!(states.contains(&format!("{state} Deployment/{name}")), "{name}: {states:?}");
        let copy = format!("{name}-copy");
        let object = annotated(&copy, *replicas, &[(WAIVER, text)]);
        let run = shell.apply("admin", &object, &["--dry-run=server"]);
        assert_eq!(run.status_ok, *create != "Deny", "{name}: {run}");
        assert_eq!([shell.recorded(&copy), shell.checked_as(&object)], [*create; 2], "a new {name}");

        let target = format!("deployment/{name}");
        let run = shell.run("admin", &["set", "image", &target, "app=nginx:2", "--dry-run=server"]);
        assert_eq!(run.status_ok, *update != "Deny", "{name}: {run}");
        assert_eq!([shell.recorded(name), shell.scanned_as(name)], [*update; 2], "{name} as it is");
    }
}
