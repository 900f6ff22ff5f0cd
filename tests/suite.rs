//! `plimsoll test`: the shipped policies by their own tests, and what a failure looks like.

#![allow(clippy::unwrap_used, reason = "a test that can't go on is to fail loudly")]

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.arg("test").args(arguments).current_dir(folder).output().unwrap()
}

fn show(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    format!(
        "$ plimsoll test {}\n{out}{err}exit code {}\n",
        arguments.join(" "),
        output.status.code().unwrap()
    )
}

#[test]
fn the_shipped_policies_keep_their_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = run(root, &["policies"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("policies/tests/production.yaml: ") && text.contains(" 0 failed"), "{text}");
}

#[test]
fn tests_beside_policies_are_no_policies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let policies = plimsoll::policy::load::from_paths(&[root.join("policies")]).unwrap();
    assert_eq!(policies.len(), plimsoll::policy::embedded().unwrap().len());
}

#[test]
fn a_failure_says_what_was_expected_and_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let policy = "apiVersion: plimsoll.dev/v1alpha1\nkind: InvariantPolicy\nmetadata: {name: shop}\n\
        spec: {match: {namespaces: [shop]}, rules: {min-replicas: {}, spread: {}}}\n";
    write("policy.yaml", policy);
    let head = "apiVersion: plimsoll.dev/v1alpha1\nkind: PolicyTest\npolicies: [policy.yaml]\nnow: 2026-12-01T12:00:00Z\ncases:\n";
    let object = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {replicas: 1}}";
    let case = |name: &str, expect: &str| format!("- name: {name}\n  object: {object}\n  expect: {expect}\n");
    let wrong = [
        case("right", "{decision: Denied, findings: [{rule: min-replicas}]}"),
        case("let in", "{decision: Allowed, findings: []}"),
        case(
            "another finding",
            "{findings: [{rule: min-replicas, action: Warn}, {rule: singleton, path: spec.replicas, message: twice}]}",
        ),
        case("filled in", "{stored: {spec: {replicas: 2, paused: null, strategy: {type: Recreate}}}}"),
        case("patched", "{patch: [{op: add, path: /spec/replicas, value: 2}], notices: [waives nothing]}"),
    ];
    write("wrong.yaml", &format!("{head}{}", wrong.concat()));
    let broken = [
        ("nothing.yaml", format!("{head}{}", case("expects nothing", "{}"))),
        ("typo.yaml", format!("{head}{}", case("a typo", "{decison: Allowed}"))),
        (
            "kind.yaml",
            format!("{head}- {{name: a, object: {{kind: Service}}, expect: {{decision: Denied}}}}\n"),
        ),
        (
            "time.yaml",
            format!("{head}{}", case("time", "{decision: Denied}")).replace("2026-12-01T12:00:00Z", "soon"),
        ),
        ("none.yaml", policy.to_owned()),
        (
            "read.yaml",
            format!("{head}{}", case("read", "{decision: Denied}")).replace("replicas: 1", "replicas: one"),
        ),
    ];
    let mut shown = vec![
        show(folder.path(), &["wrong.yaml"]),
        show(folder.path(), &["wrong.yaml", "--only", "right"]),
        show(folder.path(), &["wrong.yaml", "--only", "nowhere"]),
    ];
    for (name, text) in broken {
        write(name, &text);
        shown.push(show(folder.path(), &[name]));
    }
    insta::assert_snapshot!("failures", shown.join("\n"));
}
