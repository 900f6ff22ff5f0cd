//! `plimsoll check`, as somebody runs it on a laptop and in CI.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::Value;

/// A copy of `tests/check` to work in, with a waiver that ends in two months.
struct Folder {
    folder: tempfile::TempDir,
    end: String,
}

impl Folder {
    fn new() -> Self {
        let end = Timestamp::now().to_zoned(TimeZone::UTC).date().saturating_add(60.days()).to_string();
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
        std::fs::create_dir(folder.path().join("shop")).unwrap();
        for file in ["policy.yaml", "broken.yaml", "rendered.yaml", "shop/web.yaml", "shop/waived.json"] {
            let text = std::fs::read_to_string(from.join(file)).unwrap().replace("END", &end);
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        Self { folder, end }
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).unwrap()
    }

    fn run(&self, arguments: &str, input: &str, variables: &[(&str, &str)]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .arg("check")
            .args(arguments.split_whitespace())
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .envs(variables.iter().copied())
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn stdout(&self, arguments: &str) -> String {
        String::from_utf8(self.run(arguments, "", &[]).stdout).unwrap()
    }

    /// Both streams and the exit code, without what differs from day to day.
    fn show(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input, &[]);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        let code = output.status.code().unwrap();
        format!("$ plimsoll check {arguments}\n{out}{err}exit code {code}\n")
            .replace(&self.end, "END")
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }
}

#[test]
fn text() {
    let folder = Folder::new();
    let shown = [
        folder.show("shop --policies policy.yaml", ""),
        folder.show("shop/web.yaml shop/waived.json --policies policy.yaml --fail-on Warn", ""),
        folder.show("shop/*.json --policies policy.yaml", ""),
        folder.show("- --namespace shop --policies policy.yaml", &folder.read("rendered.yaml")),
        folder.show("rendered.yaml --policies policy.yaml", ""),
        folder.show("broken.yaml shop/waived.json --policies policy.yaml", ""),
        folder.show("- broken.yaml --policies policy.yaml", "spec: [\n"),
        folder.show("nowhere.yaml", ""),
        folder.show("shop --output yaml", ""),
    ];
    insta::assert_snapshot!("text", shown.join("\n"));
}

#[test]
fn forms() {
    let folder = Folder::new();
    for form in ["json", "junit", "github"] {
        let shown = [
            folder.show(&format!("shop broken.yaml --policies policy.yaml -o {form}"), ""),
            folder
                .show(&format!("- -n shop --policies policy.yaml -o {form}"), &folder.read("rendered.yaml")),
        ];
        insta::assert_snapshot!(form, shown.join("\n"));
    }
}

/// The schema is OASIS', as it is published with the standard; one pattern in it has a bracket too many
/// for engines that are strict about it.
#[test]
fn sarif_is_valid() {
    let schema = include_str!("data/sarif-2.1.0.json").replace("{2}]?$", "{2}$");
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let folder = Folder::new();
    let arguments = "shop broken.yaml - --policies policy.yaml --output sarif";
    let output =
        folder.run(arguments, &folder.read("rendered.yaml").replace("name: cache", "name: shop"), &[]);
    let mut log: Value = serde_json::from_slice(&output.stdout).unwrap();
    let errors: Vec<String> = schema.iter_errors(&log).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(!schema.is_valid(&serde_json::json!({"version": "2.1.0"})), "the schema tells right from wrong");

    let run = &mut log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap().clone();
    for result in run["results"].as_array().unwrap() {
        let index = result["ruleIndex"].as_u64().map(|index| &rules[usize::try_from(index).unwrap()]["id"]);
        assert!(index.is_none_or(|id| *id == result["ruleId"]), "{result:#}");
    }
    assert!(rules.iter().all(|rule| rule["help"]["markdown"].as_str().is_some_and(|help| help.len() > 200)));
    run["tool"]["driver"]["rules"] = serde_json::json!([]);
    let shown = format!("{log:#}").replace(&folder.end, "END").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!("sarif", shown);
}

#[test]
fn colours_are_for_terminals() {
    let folder = Folder::new();
    let colours = |variables: &[(&str, &str)]| {
        let output = folder.run("shop --policies policy.yaml", "", variables);
        String::from_utf8(output.stdout).unwrap().contains('\u{1b}')
    };
    assert!(!colours(&[]), "a pipe is no terminal");
    assert!(colours(&[("CLICOLOR_FORCE", "1")]));
    assert!(!colours(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn a_manifest_cannot_write_to_the_terminal() {
    let folder = Folder::new();
    let evil =
        folder.read("shop/web.yaml").replace("  replicas: 1", "  replicas: 1 # \u{1b}]0;owned\u{7}\u{1b}[2J");
    std::fs::write(folder.folder.path().join("evil.yaml"), evil).unwrap();
    let output = folder.run("evil.yaml --policies policy.yaml", "", &[("CLICOLOR_FORCE", "1")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("replicas: 1"), "{text}");
    assert!(!text.contains('\u{7}') && !text.contains("\u{1b}]") && !text.contains("\u{1b}[2J"), "{text:?}");
}

#[test]
fn the_report_is_what_its_schema_says() {
    let written = include_str!("../docs/schemas/report.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(written).unwrap()).unwrap();
    let folder = Folder::new();
    for arguments in ["shop --policies policy.yaml -o json", "shop broken.yaml -o json"] {
        let report: Value = serde_json::from_str(&folder.stdout(arguments)).unwrap();
        let errors: Vec<String> = schema.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}
