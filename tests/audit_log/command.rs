//! `plimsoll audit`, as somebody at a terminal meets it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use plimsoll::audit::{Action, Decision, Finding, Record, Resource, State, User, Waiver, Workload};
use serde_json::Value;

use crate::support::record;

fn plimsoll(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.current_dir(folder).arg("audit").args(args).stdin(Stdio::null());
    command
}

/// What it prints, and what it says on standard error.
fn audit(folder: &Path, args: &[&str]) -> (String, String) {
    let run = plimsoll(folder, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(run.status.success(), "{args:?}: {}", text(run.stderr));
    (text(run.stdout), text(run.stderr))
}

fn finding(rule: &str, action: Action, state: State) -> Finding {
    let waiver = (state == State::Waived).then(|| Waiver {
        owner: "platform@example.com".to_owned(),
        reason: "internal tool with low traffic".to_owned(),
        expires: Some("2026-12-01".to_owned()),
        ..Waiver::default()
    });
    Finding {
        rule: rule.to_owned(),
        action,
        state,
        path: "spec".to_owned(),
        observed: None,
        required: None,
        message: format!("{rule}: what the user was told"),
        waiver,
    }
}

fn at(time: &str, decision: Decision, findings: Vec<Finding>) -> Record {
    Record { time: time.parse().unwrap(), decision, findings, ..record(time) }
}

/// Nine requests of three days, by two replicas, one of which rotated its log.
fn logs() -> (tempfile::TempDir, [PathBuf; 3]) {
    use Action::{Deny, Warn};
    use State::{Existing, Fixed, New, Waived};
    let (denied, allowed) = (Decision::Denied, Decision::Allowed);
    let replicas = || finding("min-replicas", Deny, New);
    let user = |name: &str| User { name: name.to_owned(), groups: Vec::new() };

    let mut scale = at("2026-11-20T09:00:00Z", denied, vec![replicas()]);
    scale.resource.kind = "Scale".to_owned();
    scale.resource.subresource = Some("scale".to_owned());
    scale.workload =
        Some(Workload { kind: "Deployment".into(), namespace: "imp".into(), name: "api".into() });
    scale.resource.name = "api".to_owned();
    let mut dry = at("2026-11-20T09:30:00Z", denied, vec![replicas()]);
    dry.dry_run = true;
    let mut cron = at("2026-11-21T08:00:00Z", denied, vec![finding("cron-interval", Deny, New), replicas()]);
    cron.resource = Resource {
        kind: "CronJob".into(),
        namespace: Some("shop".into()),
        name: "tick".into(),
        ..cron.resource
    };
    cron.user = user("system:serviceaccount:argocd:argocd-application-controller");
    let mut exempt = at("2026-11-21T09:00:00Z", allowed, Vec::new());
    exempt.exempt = true;
    exempt.user = user("velero");

    let old = [at("2026-11-19T10:00:00Z", denied, vec![replicas(), finding("probes", Warn, New)])];
    let new = [scale, at("2026-11-20T10:00:00Z", allowed, vec![finding("min-replicas", Deny, Waived)]), cron];
    let other = [
        dry,
        at("2026-11-20T11:00:00Z", allowed, vec![finding("tmp-volume", Deny, Fixed)]),
        at("2026-11-20T12:00:00Z", allowed, vec![finding("min-replicas", Deny, Existing)]),
        exempt,
        at("2026-11-21T10:00:00Z", allowed, Vec::new()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, records: &[Record]| {
        let lines: Vec<u8> = records.iter().flat_map(Record::to_line).collect();
        let path = folder.path().join(name);
        fs::write(&path, lines).unwrap();
        path
    };
    let paths = [write("a.jsonl.1", &old), write("a.jsonl", &new), write("b.jsonl", &other)];
    (folder, paths)
}

#[test]
fn records_of_several_files_are_listed_in_the_order_of_time() {
    let (folder, _) = logs();
    let (out, err) = audit(folder.path(), &["a.jsonl", "b.jsonl", "--rotated"]);
    insta::assert_snapshot!(out);
    assert_eq!(err, "9 of 9 records\n");
    let (out, err) = audit(folder.path(), &["b.jsonl", "a.jsonl", "a.jsonl.1", "--tail", "3", "--messages"]);
    insta::assert_snapshot!("the_last_three_with_messages", out);
    assert_eq!(err, "9 of 9 records\n");
}

#[test]
fn each_filter_finds_its_records() {
    let (folder, _) = logs();
    let count = |args: &[&str]| {
        let (out, _) =
            audit(folder.path(), &[&["a.jsonl", "b.jsonl", "--rotated", "-o", "json"], args].concat());
        out.lines().filter(|line| serde_json::from_str::<Record>(line).is_ok()).count()
    };
    let cases: [(&[&str], usize); 16] = [
        (&[], 9),
        (&["--decision", "denied"], 4),
        (&["--decision", "Denied", "--no-dry-run"], 3),
        (&["--since", "2026-11-20"], 8),
        (&["--until", "2026-11-20"], 6),
        (&["--since", "2026-11-20T10:00:00Z", "--until", "2026-11-20T11:00:00Z"], 1),
        (&["--rule", "cron-interval,tmp-*"], 2),
        (&["--rule", "min-replicas", "--state", "waived"], 1),
        (&["--state", "existing,fixed"], 2),
        (&["-n", "shop"], 1),
        (&["--namespace", "s*,imp"], 9),
        (&["--user", "system:serviceaccount:*"], 1),
        (&["--kind", "deployment", "--name", "api"], 1),
        (&["--policy", "none"], 0),
        (&["--instance", "plimsoll-?"], 9),
        (&["--rule", "probes", "--state", "existing"], 0),
    ];
    for (args, expected) in cases {
        assert_eq!(count(args), expected, "{args:?}");
    }
}

#[test]
fn sums_count_requests_and_keep_dry_runs_apart() {
    let (folder, _) = logs();
    let mut all = String::new();
    for by in ["rule", "namespace", "user", "object", "day"] {
        all += &audit(folder.path(), &["a.jsonl", "b.jsonl", "--rotated", "--by", by]).0;
        all += "\n";
    }
    insta::assert_snapshot!(all);
    let (json, _) =
        audit(folder.path(), &["a.jsonl", "--by", "rule", "--rule", "cron-interval", "-o", "json"]);
    insta::assert_snapshot!("sums_as_json", json);
}

#[test]
fn broken_lines_are_told_by_their_place_and_other_lines_are_not() {
    let (folder, [_, path, _]) = logs();
    let mut text = fs::read_to_string(&path).unwrap();
    text.insert_str(0, "{\"level\":\"INFO\",\"fields\":{\"message\":\"Plimsoll starts.\"}}\n\n");
    text.truncate(text.len() - 30);
    fs::write(&path, text).unwrap();
    let (out, err) = audit(folder.path(), &["a.jsonl", "--by", "day"]);
    assert!(out.contains("2026-11-20") && !out.contains("2026-11-21"), "{out}");
    let (place, rest) = err.split_once('\n').unwrap();
    assert!(
        place.starts_with("a.jsonl:5: expected an audit record, found a line that breaks off after"),
        "{place}"
    );
    assert_eq!(rest, "2 of 2 records, 1 broken line skipped, 1 other line passed over\n");
}

#[test]
fn standard_input_is_a_log_and_a_missing_file_is_an_error() {
    let (folder, [_, path, _]) = logs();
    let mut command = plimsoll(folder.path(), &["-", "-o", "json"]);
    let run = command.stdin(fs::File::open(path).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8(run.stdout).unwrap().lines().count(), 3);
    let run = plimsoll(folder.path(), &["gone.jsonl"]).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(
        String::from_utf8(run.stderr)
            .unwrap()
            .starts_with("plimsoll: failed to open gone.jsonl: No such file")
    );
}

#[test]
fn who_has_seen_enough_hears_no_complaint() {
    let (folder, [_, path, _]) = logs();
    let many: Vec<u8> = record("a").to_line().repeat(20_000);
    fs::write(path, many).unwrap();
    let mut run =
        plimsoll(folder.path(), &["a.jsonl"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let run = run.wait_with_output().unwrap();
    assert!(run.status.success() && run.stderr.is_empty(), "{run:?}");
}

/// Dropping it ends it.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_is_followed_through_rotation() {
    let (folder, [_, path, _]) = logs();
    let mut command = plimsoll(folder.path(), &["-f", "a.jsonl", "-o", "json", "--tail", "1"]);
    let mut follow = Following(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["uid"].clone();
    let append = |uid: &str| {
        let mut log = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        log.write_all(&record(uid).to_line()).unwrap();
    };
    assert_eq!(next(), "2026-11-21T08:00:00Z", "the last one first");
    append("before");
    fs::rename(&path, folder.path().join("a.jsonl.1")).unwrap();
    append("after");
    assert_eq!((next(), next()), ("before".into(), "after".into()));
}

#[test]
fn the_report_is_one_page_that_hostile_names_cannot_break() {
    let (folder, [_, path, _]) = logs();
    let mut hostile =
        at("2026-11-21T12:00:00Z", Decision::Denied, vec![finding("min-replicas", Action::Deny, State::New)]);
    hostile.user.name = "</style><script>alert(1)</script>".to_owned();
    hostile.resource.name = "\"onload=alert(1) x='<img src=x>&amp;\u{202e}".to_owned();
    hostile.findings[0].rule = "<b>rule</b>".to_owned();
    hostile.findings[0].message = "<iframe src=//evil>".to_owned();
    let mut waived = at(
        "2026-11-21T12:00:01Z",
        Decision::Allowed,
        vec![finding("singleton", Action::Deny, State::Waived)],
    );
    waived.findings[0].waiver.as_mut().unwrap().reason = "<svg/onload=alert(1)>".to_owned();
    fs::write(&path, [hostile.to_line(), waived.to_line()].concat()).unwrap();

    let (page, _) = audit(folder.path(), &["a.jsonl", "b.jsonl", "--rotated", "-o", "html"]);
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    for escaped in [
        "&lt;/style&gt;&lt;script&gt;",
        "&lt;b&gt;rule&lt;/b&gt;",
        "&lt;iframe src=//evil&gt;",
        "&lt;svg/onload",
        "&lt;img src=x&gt;&amp;amp;",
    ] {
        assert!(page.contains(escaped) || page.replace("<wbr>", "").contains(escaped), "{escaped} in {page}");
    }
    // Every tag is one of ours: nothing loads, nothing runs, nothing links out.
    for tag in page.split('<').skip(1).map(|tag| tag.split([' ', '>', '\n']).next().unwrap()) {
        let known = "!DOCTYPE html head meta title style body header main footer section div h1 h2 p b i small span code \
            time strong svg g circle line rect text ul ol li table thead tbody tr th td wbr";
        assert!(known.split_whitespace().any(|name| name == tag.trim_start_matches('/')), "<{tag}>");
    }
    for forbidden in ["http://", "https://", "url(", "@import", "\u{202e}"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
    // One in the rotated file, and the hostile one; the dry run is apart.
    assert!(page.contains("<b>2</b><span>refused</span>"), "{page}");
}

#[test]
fn a_report_on_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    let (page, _) = audit(folder.path(), &["empty.jsonl", "-o", "html"]);
    for text in ["Nothing was refused.", "No request was let in by a waiver.", "No records"] {
        assert!(page.contains(text), "{text}");
    }
}
