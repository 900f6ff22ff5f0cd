//! What text says of a scan beyond its findings: how many there are of each rule, and what is refused next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::render::counted;
use crate::render::report::{Entry, Report};
use crate::rules::RULES;

const WORDS: [&str; 5] = ["Deny", "Existing", "Warn", "Waived", "Audit"];

/// The end of the report: a table of rules, and a sentence.
pub(super) fn summary(report: &Report) -> String {
    let mut text = table(report);
    let summary = &report.summary;
    let denied: BTreeSet<_> =
        report.findings.iter().filter(|entry| is_denied(entry)).map(|entry| &entry.resource).collect();
    let under_none = match summary.ungoverned {
        0 => String::new(),
        some => format!(", {some} of them under none"),
    };
    let next = match denied.len() {
        0 => "None would have its".to_owned(),
        1 => "1 would have its".to_owned(),
        some => format!("{some} would have their"),
    };
    let _ = writeln!(
        text,
        "{} judged by {}{under_none}. {next} next change denied.",
        counted(summary.objects, "object", "objects"),
        counted(summary.policies, "policy", "policies"),
    );
    text
}

fn is_denied(entry: &Entry) -> bool {
    entry.word() == "Deny"
}

/// How many findings of each rule stand how.
fn table(report: &Report) -> String {
    let mut counts: BTreeMap<Option<usize>, (&str, [usize; 5])> = BTreeMap::new();
    for entry in &report.findings {
        let position = RULES.iter().position(|rule| rule.meta().name == entry.rule);
        let (_, row) = counts.entry(position).or_insert((&entry.rule, [0; 5]));
        for (word, count) in WORDS.into_iter().zip(row) {
            *count += usize::from(word == entry.word());
        }
    }
    let width = counts.values().map(|(rule, _)| rule.len()).max().unwrap_or_default();
    let mut text = String::new();
    if counts.is_empty() {
        return text;
    }
    let _ = write!(text, "\n{:width$}", "");
    for word in WORDS {
        let _ = write!(text, "  {word:>8}");
    }
    text.push('\n');
    for (rule, row) in counts.values() {
        let _ = write!(text, "{rule:width$}");
        for count in row {
            let _ = write!(text, "  {count:>8}");
        }
        text.push('\n');
    }
    text.push('\n');
    text
}
