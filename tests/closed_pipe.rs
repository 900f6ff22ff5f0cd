//! `plimsoll … | head -1`: a reader that has seen enough changes nothing but what is printed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on is to fail loudly")]

use std::io::{PipeWriter, pipe};
use std::path::Path;
use std::process::{Command, Stdio};

/// A pipe that nobody reads.
fn closed() -> PipeWriter {
    pipe().unwrap().1
}

fn plimsoll(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(args).stdin(Stdio::null());
    command
}

#[test]
fn every_command_ends_without_a_complaint_and_with_the_same_exit_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = |path: &str| root.join(path).to_str().unwrap().to_owned();
    let (bad, systems) = (path("tests/rules/min-replicas"), path("examples/systems"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["--help"],
        &["explain"],
        &["explain", "min-replicas"],
        &["explain", "cron", "*/5 * * * *"],
        &["crds"],
        &["completions", "bash"],
        &["certs", "generate", "--force", "--out", out, "--dns", "localhost"],
        &["check", &bad],
        &["check", &bad, "--output", "json"],
        &["check", &bad, "--fix=diff"],
        &["check", "/nonexistent"],
        &["test", &systems],
        &["waivers", &systems],
        &["waivers", &systems, "--output", "json"],
    ];
    for args in commands {
        let whole = plimsoll(args).output().unwrap();
        let cut = plimsoll(args).stdout(closed()).output().unwrap();
        let complaint = String::from_utf8(cut.stderr).unwrap();
        assert_eq!(cut.status.code(), whole.status.code(), "{args:?}: {complaint}");
        assert_eq!(complaint, String::from_utf8(whole.stderr).unwrap(), "{args:?}");
        let silent = plimsoll(args).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(silent.code(), whole.status.code(), "{args:?} with standard error closed too");
    }
}
