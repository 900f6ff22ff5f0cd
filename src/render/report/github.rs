//! Workflow commands: GitHub Actions shows each beside its line in the pull request.
//!
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>

use std::fmt::Write as _;

use super::{Location, Report, Severity};
use crate::verdict::Action;

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    // What a policy only records is not meant for the author, and GitHub shows ten annotations of a kind.
    for entry in report.findings.iter().filter(|entry| entry.action != Action::Audit.as_str()) {
        let title = format!("{} {}", entry.word(), entry.rule);
        command(&mut text, entry.severity(), &title, entry.location.as_ref(), &entry.message);
    }
    for notice in &report.notices {
        let severity = if notice.fails { Severity::Error } else { Severity::Warning };
        command(&mut text, severity, "Plimsoll", notice.location.as_ref(), &notice.message);
    }
    for problem in &report.errors {
        command(&mut text, Severity::Error, "Plimsoll", problem.location.as_ref(), &problem.message);
    }
    text
}

fn command(text: &mut String, severity: Severity, title: &str, location: Option<&Location>, message: &str) {
    let command = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let mut properties = format!("title={}", property(title));
    match location {
        // Standard input is no file of the repository; helm's template may be.
        Some(Location { file, template: Some(template), .. }) if file == "-" => {
            let _ = write!(properties, ",file={}", property(template));
        }
        Some(Location { file, .. }) if file == "-" => {}
        Some(at) => {
            let (file, line) = (property(&at.file), at.line);
            let (start, end) = (at.column, at.end_column.saturating_sub(1));
            let _ = write!(properties, ",file={file},line={line},col={start},endColumn={end}");
        }
        None => {}
    }
    let _ = writeln!(text, "::{command} {properties}::{}", data(message));
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
