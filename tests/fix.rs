//! `plimsoll check --fix`: what it writes is what admission would fill in, and nothing else changes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicUsize;

use jiff::Timestamp;
use plimsoll::manifest::{self, edit};
use plimsoll::offline::{self, Judgement, Manifest};
use plimsoll::policy::{Policy, load};
use serde_json::{Value, json};

/// Every rule that can fill something in, doing so.
fn policies() -> Vec<Policy> {
    let rules: serde_json::Map<String, Value> = plimsoll::rules::RULES
        .iter()
        .filter(|rule| rule.meta().fix != plimsoll::rules::Fix::Never)
        .map(|rule| (rule.meta().name.to_owned(), json!({"fix": true})))
        .collect();
    let policy = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "InvariantPolicy",
        "metadata": {"name": "all"}, "spec": {"match": {"namespaces": ["*"]}, "rules": rules,
        "singletons": {"byAnnotation": true}}});
    load::from_texts(&[("policy".to_owned(), policy.to_string())]).unwrap()
}

fn judge(text: &str, policies: &[Policy]) -> (Vec<Manifest>, Vec<Judgement>) {
    let documents = manifest::parse("x.yaml", text).unwrap();
    let manifests: Vec<_> = documents.into_iter().filter_map(|d| Manifest::of(d, "shop")).collect();
    let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
    let judgements = offline::judge(&manifests, policies, now, &AtomicUsize::new(0));
    (manifests, judgements)
}

/// Fills in a text; it has to read as what was filled in, and to need nothing more.
fn fill_in(name: &str, text: &str, policies: &[Policy]) -> String {
    let (manifests, judgements) = judge(text, policies);
    let all = manifests.iter().zip(&judgements);
    let changes: Vec<_> = all
        .filter(|(_, judgement)| !judgement.filled.patch.is_empty())
        .map(|(manifest, judgement)| (&manifest.document, &judgement.stored))
        .collect();
    if changes.is_empty() {
        return text.to_owned();
    }
    let (new, errors) = edit::rewrite(&changes);
    assert!(errors.is_empty(), "{name}: {errors:?}\n{text}");
    let (again, judged_again) = judge(&new, policies);
    for (index, judgement) in judged_again.iter().enumerate() {
        assert_eq!(again[index].document.value, judgements[index].stored, "{name}");
        assert!(judgement.filled.patch.is_empty(), "{name}: {:?}", judgement.filled.patch);
        // What was filled in is no finding any more, neither here nor at the webhook.
        for fixed in &judgements[index].filled.findings {
            let is_it = |judged: &plimsoll::verdict::Judged| {
                judged.finding.rule == fixed.finding.rule && judged.finding.place == fixed.finding.place
            };
            let verdict = judgement.verdict.as_ref().unwrap();
            assert!(!verdict.findings.iter().any(is_it), "{name}: {:?}", fixed.finding);
        }
    }
    new
}

/// Whether one text is another with more in between.
fn keeps(old: &str, new: &str) -> bool {
    let mut rest = new.chars();
    old.chars().all(|c| rest.any(|other| other == c))
}

fn manifests() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/rules", "examples/systems", "src/rules"];
    manifest::files::collect(&folders.map(|folder| root.join(folder))).unwrap()
}

#[test]
fn every_manifest_is_filled_in_and_keeps_what_its_author_wrote() {
    let policies = policies();
    let all = manifests();
    let mut changed = 0;
    for (name, text) in &all {
        let new = fill_in(name, text, &policies);
        let nulls = text.contains("null") || text.contains('~');
        assert!(nulls || keeps(text, &new), "{name}:\n{new}");
        changed += usize::from(new != *text);
    }
    assert!(changed > 150, "{changed} of {} manifests lack something", all.len());
}

#[test]
fn every_layout_is_understood() {
    let policies = policies();
    let mut changed = 0;
    // The smallest manifests of every rule are layouts enough.
    let wanted = |(name, _): &(String, String)| name.ends_with("bad.yaml") || name.contains("/tmp-volume/");
    for (name, text) in manifests().iter().filter(|file| wanted(file)) {
        let documents = manifest::parse(name, text).unwrap();
        let values: Vec<&Value> = documents.iter().map(|document| &document.value).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": values});
        let layouts = [
            text.replace('\n', "\r\n"),
            text.trim_end().to_owned(),
            text.lines().map(|line| deepen(line) + "\n").collect(),
            list.to_string(),
            format!("{list:#}\n"),
            values.iter().map(|value| format!("{value:#}\n")).collect(),
        ];
        for (number, layout) in layouts.iter().enumerate() {
            let is_same = |(a, b): (&Value, &manifest::Document)| *a == b.value;
            let read = manifest::parse(name, layout).unwrap_or_default();
            // A line in a block of text is not deeper than its neighbours by as much.
            if read.len() == values.len() && values.iter().copied().zip(&read).all(is_same) {
                let new = fill_in(&format!("{name} in layout {number}"), layout, &policies);
                changed += usize::from(new != *layout);
            }
        }
    }
    assert!(changed > 100, "{changed} layouts lack something");
}

/// The same line twice as far in.
fn deepen(line: &str) -> String {
    let text = line.trim_start_matches(' ');
    let depth = line.len() - text.len();
    match text.strip_prefix("- ") {
        Some(rest) => format!("{}-   {rest}", " ".repeat(depth * 2)),
        None => format!("{}{text}", " ".repeat(depth * 2)),
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fix");
        for file in manifest::files::collect(&[from]).unwrap() {
            let name = PathBuf::from(file.0);
            std::fs::write(folder.0.path().join(name.file_name().unwrap()), file.1).unwrap();
        }
        folder
    }

    fn check(&self, arguments: &str, input: &str) -> Output {
        use std::io::Write as _;
        let mut child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .arg("check")
            .args(arguments.split_whitespace())
            .args(["--policies", "policy.yaml"])
            .current_dir(&self.0)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn show(&self, arguments: &str, input: &str) -> String {
        let output = self.check(arguments, input);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        let code = output.status.code().unwrap();
        format!("$ plimsoll check {arguments}\n{out}== standard error\n{err}== exit code {code}\n")
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.path().join(file)).unwrap()
    }
}

#[test]
fn files_are_changed_in_place() {
    let folder = Folder::new();
    let mut shown = folder.show("web.yaml other.json --fix", "");
    for file in ["web.yaml", "other.json"] {
        shown += &format!("\n== {file}\n{}", folder.read(file));
    }
    insta::assert_snapshot!("in_place", shown);
    let before = folder.read("web.yaml");
    let again = folder.check("web.yaml other.json --fix", "");
    let text = String::from_utf8(again.stdout).unwrap();
    assert!(again.status.success() && !text.contains("Fixed"), "{text}");
    assert_eq!(folder.read("web.yaml"), before, "a second time changes nothing");
}

#[test]
fn or_printed() {
    let folder = Folder::new();
    let (web, alias) = (folder.read("web.yaml"), folder.read("alias.yaml"));
    let shown = [
        folder.show("- --fix", &web),
        folder.show("web.yaml --fix=diff", ""),
        folder.show("web.yaml other.json --fix=kustomize", ""),
        folder.show("alias.yaml --fix", ""),
    ];
    insta::assert_snapshot!("printed", shown.join("\n"));
    assert_eq!((folder.read("web.yaml"), folder.read("alias.yaml")), (web, alias), "no file is touched");
}
