//! `plimsoll explain`, as somebody types it who has never seen it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

use std::fmt::Write as _;
use std::process::{Command, Output};

fn explain(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_plimsoll")).arg("explain").args(args).output().unwrap()
}

/// Exit code, then both streams. The firings depend on the day and are left out; what they look like
/// is tested beside the code.
fn show(args: &[&str]) -> String {
    let output = explain(args);
    let mut text = format!("$ plimsoll explain {}\n", args.join(" "));
    let mut is_firing = false;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        is_firing = line.starts_with("Next firings") || (is_firing && line.starts_with("  "));
        if !is_firing {
            writeln!(text, "{line}").unwrap();
        }
    }
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    writeln!(text, "exit code {}", output.status.code().unwrap()).unwrap();
    text
}

#[test]
fn a_schedule() {
    let shown = [
        show(&["cron", "*/7 * * * *"]),
        show(&["cron", "0 9-17 * * mon-fri", "--time-zone", "Europe/Berlin", "--minimum", "2h"]),
        show(&["cron", "@hourly", "--minimum", "1h"]),
        show(&["cron", "@every 90s", "--minimum", "1m"]),
        show(&["cron", "0 0 31 4,6,9,11 *"]),
        show(&["cron", ", * * * *"]),
        // Words that a shell has taken apart are put together again.
        show(&["cron", "0", "4", "1", "1", "1"]),
    ];
    insta::assert_snapshot!("a_schedule", shown.join("\n"));
}

#[test]
fn ten_firings_are_shown() {
    let text = String::from_utf8(explain(&["cron", "* * * * *"]).stdout).unwrap();
    let firings = text.lines().skip_while(|line| !line.starts_with("Next firings")).skip(1);
    assert_eq!(firings.take_while(|line| line.starts_with("  ")).count(), 10, "{text}");
}

#[test]
fn what_a_policy_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, rules: &str| {
        let path = dir.path().join(name);
        let policy = format!(
            "apiVersion: plimsoll.dev/v1alpha1\nkind: InvariantPolicy\nmetadata: {{name: {name}}}\nspec: {{{rules}}}\n"
        );
        std::fs::write(&path, policy).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let five = path("five", "rules: {cron-interval: {minimum: 5m}}");
    let hourly = path("hourly", "action: Warn, rules: {cron-interval: {minimum: 1h}}");
    let other = path("other", "rules: {min-replicas: {}}");
    let silent = path("silent", "rules: {cron-interval: {action: 'Off'}}");
    let shown = [
        show(&["cron", "*/4 * * * *", "--policies", &five, &hourly, &other]),
        show(&["cron", "*/5 * * * *", "--policies", &five, &hourly]),
        show(&["cron", "*/5 * * * *", "--policies", &other, &silent]),
        show(&["cron", "*/5 * * * *", "--policies", "nowhere.yaml"]),
        show(&["cron", "*/5 * * * *", "--policies", &five, "--minimum", "1h"]),
    ];
    let shown = shown.join("\n").replace(dir.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!("what_a_policy_says", shown);
}

#[test]
fn what_cannot_be_read_says_how_to_mend_it() {
    let questions: [&[&str]; 17] = [
        &["cron"],
        &["cron", ""],
        &["cron", "* * * *"],
        &["cron", "0 0 * * * *"],
        &["cron", "*/5", "bin", "src", "tests", "bin", "src"],
        &["cron", "0 0 * * 7"],
        &["cron", "*/0 * * * *"],
        &["cron", "0 22-2 * * *"],
        &["cron", "60 * * * *"],
        &["cron", "H * * * *"],
        &["cron", "@Daily"],
        &["cron", "@every 1d"],
        &["cron", "TZ=UTC 0 0 * * *"],
        &["cron", "0 0 * * *", "--time-zone", "europe/berlin"],
        &["cron", "0 0 * * *", "--time-zone", "Nowhere/City"],
        &["cron", "0 0 * * *", "--minimum", "5"],
        &["corn", "0 0 * * *"],
    ];
    for question in questions {
        assert_eq!(explain(question).status.code(), Some(2), "{question:?}");
    }
    insta::assert_snapshot!("unreadable", questions.map(show).join("\n"));
}

#[test]
fn rules() {
    insta::assert_snapshot!("a_rule", show(&["cron-overlap"]));
    assert_eq!(explain(&["cron-overlaps"]).status.code(), Some(2));
}
