//! Policies as objects of the cluster.

use serde_json::{Value, json};

use crate::controlplane::wait_until;
use crate::installation::Installation;
use crate::{SOON, installation};

fn policy(namespace: &str, rules: &Value) -> String {
    json!({
        "apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "shop"},
        "spec": {"match": {"namespaces": [namespace]}, "action": "Deny", "rules": rules},
    })
    .to_string()
}

fn ready(installation: &Installation) -> Value {
    installation.own("invariantpolicies", "shop")["status"]["conditions"][0].clone()
}

#[test]
fn a_policy_governs_within_moments_and_a_bad_one_is_refused() {
    let mut installation = installation();
    let namespace = installation.plane.namespace("policies", &[]);
    let apply = |installation: &Installation, rules: &Value| {
        let text = policy(&namespace, rules);
        installation.plane.kubectl_stdin("admin", &["apply", "-f", "-"], &text)
    };
    installation.create_one(&namespace).expect_ok("nothing governs the namespace yet");

    apply(&installation, &json!({"min-replicas": {"minimum": 3}})).expect_ok("a good policy is let in");
    wait_until("a denial", SOON, || !installation.create_one(&namespace).status_ok);
    let denial = installation.create_one(&namespace).expect_refused("the policy governs");
    assert!(denial.contains("has 1 replica, shop needs 3"), "{denial}");
    wait_until("a condition", SOON, || ready(&installation)["status"] == "True");
    let listed =
        installation.plane.kubectl("admin", &["get", "invpol", "shop"]).expect_ok("it has a short name");
    let words: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        (&words[0][..], &words[1][..3]),
        (&["NAME", "ACTION", "READY", "AGE"][..], &["shop", "Deny", "True"][..])
    );

    let refusal = apply(&installation, &json!({"min-replica": {}})).expect_refused("no such rule");
    assert!(
        refusal.contains(
            r#"admission webhook "policies.plimsoll.dev" denied the request: the policy can't be in force: spec.rules.min-replica: unknown rule "min-replica"; did you mean "min-replicas"?"#
        ),
        "{refusal}"
    );
    let refusal = apply(&installation, &json!({"min-replicas": {"minimum": 0, "action": "deny"}}))
        .expect_refused("neither is possible");
    assert!(refusal.contains("spec.rules.min-replicas"), "{refusal}");

    // One that gets in all the same, while nobody looks, doesn't take the good one's place.
    let count = installation.replicas.len();
    installation.stop_all();
    apply(&installation, &json!({"min-replica": {}})).expect_ok("its entry says Ignore");
    for _ in 0..count {
        installation.add();
    }
    installation.wait_until_ready();
    wait_until("a condition", SOON, || ready(&installation)["status"] == "False");
    let condition = ready(&installation);
    assert_eq!((&condition["reason"], &condition["observedGeneration"]), (&json!("Invalid"), &json!(2)));
    assert!(
        condition["message"].as_str().unwrap().contains(r#"did you mean "min-replicas"?"#),
        "{condition}"
    );

    installation.plane.kubectl("admin", &["delete", "invpol", "shop"]).expect_ok("a policy can be deleted");
    wait_until("nothing to govern", SOON, || installation.create_one(&namespace).status_ok);
}
