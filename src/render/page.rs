//! A rule as a page: what `explain` prints and what the documentation holds, in Markdown.

use std::fmt::Write as _;

use crate::rules::{Fix, Meta};
use crate::verdict::Action;
use crate::waiver::PREFIX;

/// The page of a rule.
pub fn rule(meta: &Meta) -> String {
    let mut page = format!("# {}\n\n{}\n\n", meta.name, meta.summary);
    let action = match meta.action {
        Action::Deny => "refuses the request (Deny)",
        Action::Warn => "warns (Warn)",
        Action::Audit => "only records (Audit)",
        Action::Off => "does nothing (Off)",
    };
    let _ = write!(page, "By default it {action}, and {}. Since {}.\n\n", fix(meta.fix), meta.since);
    let _ = write!(page, "{}\n\n", meta.rationale);
    if !meta.parameters.is_empty() {
        page.push_str("## Parameters\n\n| parameter | default | |\n|---|---|---|\n");
        for parameter in meta.parameters {
            let _ =
                writeln!(page, "| `{}` | `{}` | {} |", parameter.name, parameter.default, parameter.summary);
        }
        page.push('\n');
    }
    let _ = write!(page, "## Breaks it\n\n```yaml\n{}```\n\n", meta.bad);
    let _ = write!(page, "## Keeps it\n\n```yaml\n{}```\n\n", meta.good);
    let _ = write!(
        page,
        "## Waive it\n\n```yaml\nmetadata:\n  annotations:\n    {PREFIX}{}: |\n      owner: team@example.com\n      \
         expires: 2027-03-31\n      reason: why this is acceptable until then\n```\n\n## Read on\n\n",
        meta.name
    );
    for reference in meta.references {
        let _ = writeln!(page, "* <{reference}>");
    }
    page
}

/// The list of all rules, as a table that links to their pages in `folder`.
pub fn table<'m>(rules: impl Iterator<Item = &'m Meta>, folder: &str) -> String {
    let mut table = String::from("| rule | by default | fills in | what holds |\n|---|---|---|---|\n");
    for meta in rules {
        let (name, action, summary) = (meta.name, meta.action.as_str(), meta.summary);
        let fills_in = match meta.fix {
            Fix::Always => "yes",
            Fix::OptIn => "if asked to",
            Fix::Never => "no",
        };
        let _ = writeln!(table, "| [`{name}`]({folder}{name}.md) | {action} | {fills_in} | {summary} |");
    }
    table
}

fn fix(fix: Fix) -> &'static str {
    match fix {
        Fix::Always => "it fills in what the author left unset",
        Fix::OptIn => "with `fix: true` it fills in what the author left unset",
        Fix::Never => "there is nothing that it could fill in",
    }
}
