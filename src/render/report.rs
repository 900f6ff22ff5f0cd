//! What `check` and `scan` found, and the forms in which people and machines take it.
//!
//! A [`Report`] is plain data: whoever judges fills it, and each form is a function from it to text.
//! Its JSON is a contract; `docs/schemas/report.json` is its schema.

mod github;
mod html;
mod junit;
pub mod policy_report;
mod sarif;
mod text;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{counted, sanitise, standing};
use crate::manifest::Position;
use crate::verdict::{Action, Judged, State, WaiverNote};
use crate::waiver::PREFIX;

/// The name of the JSON's format.
pub const SCHEMA: &str = "plimsoll.dev/report/v1";

/// The forms of a report.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Output {
    /// A line for each finding, with the source under it.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit XML, for test reports.
    Junit,
    /// Workflow commands that GitHub Actions turns into annotations.
    Github,
    /// One page for a browser.
    Html,
    /// Objects of openreports.io/v1alpha1, one for each object that something is found in.
    Openreports,
    /// The same of wgpolicyk8s.io/v1alpha2.
    Policyreports,
}

impl Output {
    /// The API that it makes objects of, if it does. They are about objects of a cluster.
    pub fn api(self) -> Option<policy_report::Api> {
        match self {
            Self::Openreports => Some(policy_report::Api::Openreports),
            Self::Policyreports => Some(policy_report::Api::Policyreports),
            _ => None,
        }
    }
}

/// What was found.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `plimsoll.dev/report/v1`
    pub schema: &'static str,
    /// The version of Plimsoll that made the report.
    pub version: &'static str,
    /// The cluster that was looked at, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// What was judged, in numbers.
    pub summary: Summary,
    /// Every finding, waived ones and those that are filled in included.
    pub findings: Vec<Entry>,
    /// Warnings that belong to no finding: a waiver that counts for nothing, for instance.
    pub notices: Vec<Notice>,
    /// What could not be read, and so was not judged.
    pub errors: Vec<Problem>,
}

/// A cluster.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Cluster {
    /// Where its API server is.
    pub url: String,
    /// When it was looked at.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// The policies that it was judged by.
    pub policies: Vec<PolicyOrigin>,
}

impl Cluster {
    /// The policies that it was judged by, with where they are from.
    pub fn judged_by(&self) -> String {
        judged_by(&self.policies)
    }
}

/// Policies with where they are from: `7 policies (shipped with Plimsoll: imp, …; in the cluster: shop)`.
pub fn judged_by(policies: &[PolicyOrigin]) -> String {
    let of = |origin: Origin| {
        let names = policies.iter().filter(|p| p.origin == origin).map(|p| sanitise(&p.name));
        names.collect::<Vec<_>>().join(", ")
    };
    let parts = [
        ("given: ", of(Origin::File)),
        ("shipped with Plimsoll: ", of(Origin::Shipped)),
        ("in the cluster: ", of(Origin::Cluster)),
    ];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts.map(|(label, names)| format!("{label}{names}")).collect();
    format!("{} ({})", counted(policies.len(), "policy", "policies"), parts.join("; "))
}

/// A policy, and where it is from.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PolicyOrigin {
    /// Its name.
    pub name: String,
    /// Where it is from.
    pub origin: Origin,
}

/// Where a policy is from.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Origin {
    /// An `InvariantPolicy` of the cluster.
    Cluster,
    /// A file.
    File,
    /// Plimsoll itself.
    Shipped,
}

/// What was judged, in numbers.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Objects of the kinds that Plimsoll reads.
    pub objects: usize,
    /// Policies that were applied.
    pub policies: usize,
    /// Objects that no policy applies to.
    pub ungoverned: usize,
    /// Findings and notices that fail the run.
    pub failing: usize,
    /// Findings that refuse the object.
    pub denied: usize,
    /// Findings that warn, and notices.
    pub warnings: usize,
    /// Findings that were there before and are no worse.
    pub existing: usize,
    /// Findings that a waiver accepts.
    pub waived: usize,
    /// Findings that the mutating webhook mends by filling in what is missing.
    pub filled_in: usize,
    /// Findings that are only recorded.
    pub recorded: usize,
}

/// One finding.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The rule's name.
    pub rule: String,
    /// What the policy does with it: `Deny`, `Warn` or `Audit`.
    pub action: &'static str,
    /// How it stands: `New`, `Existing`, `Waived` or `Fixed` (filled in by the mutating webhook).
    pub state: &'static str,
    /// Whether it fails the run.
    pub fails: bool,
    /// The line that people read.
    pub message: String,
    /// How to mend it.
    pub remedy: String,
    /// The annotation that waives it, if it may be waived.
    pub waiver_annotation: Option<String>,
    /// The object.
    pub resource: Resource,
    /// The container that it is about.
    pub container: Option<String>,
    /// The field, as people write it.
    pub path: String,
    /// What was found.
    pub observed: String,
    /// What the rule requires.
    pub required: String,
    /// The policies that have it.
    pub policies: Vec<String>,
    /// The waiver that accepts it, or that used to.
    pub waiver: Option<WaiverEntry>,
    /// Where it is written, if it came from a file.
    pub location: Option<Location>,
    /// What tells it from others of its rule and object, whatever the order of lists.
    pub place: String,
    /// Whether a new object like one that is in a cluster already would have it filled in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fills_in: bool,
    /// The object's uid, if it is in a cluster already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// An object.
#[derive(Clone, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Resource {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A waiver.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[allow(missing_docs, reason = "the fields are those of the annotation")]
pub struct WaiverEntry {
    pub owner: String,
    pub reason: String,
    pub expires: String,
    pub ticket: Option<String>,
    pub emergency: bool,
}

/// A place in a file.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// The file as it was named, or `-` for standard input.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The column behind the last character.
    pub end_column: u32,
    /// The text of the line.
    pub source: String,
    /// The chart's template that it was rendered from, where helm left its name.
    pub template: Option<String>,
}

/// A warning that belongs to no finding.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Notice {
    /// What it says.
    pub message: String,
    /// Whether it fails the run.
    pub fails: bool,
    /// The object.
    pub resource: Resource,
    /// Where it is written.
    pub location: Option<Location>,
}

/// Something that could not be read.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub location: Option<Location>,
}

/// How much a finding asks of its reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// It refuses the object, or fails the run.
    Error,
    /// It warns.
    Warning,
    /// It is told for completeness.
    Note,
}

impl Report {
    /// An empty report.
    pub fn new(policies: usize) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            cluster: None,
            summary: Summary { policies, ..Summary::default() },
            findings: Vec::new(),
            notices: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Adds a finding and counts it.
    pub fn add(&mut self, judged: &Judged, fails: bool, location: Option<Location>) {
        let summary = &mut self.summary;
        let count = match (judged.state, judged.action) {
            (State::Fixed, _) => &mut summary.filled_in,
            (State::Waived, _) => &mut summary.waived,
            (State::Existing, _) => &mut summary.existing,
            (State::New, Action::Deny) => &mut summary.denied,
            (State::New, Action::Warn) => &mut summary.warnings,
            (State::New, Action::Audit | Action::Off) => &mut summary.recorded,
        };
        *count += 1;
        summary.failing += usize::from(fails);
        self.findings.push(Entry::of(judged, fails, location));
    }

    /// Adds a notice and counts it.
    pub fn notice(&mut self, notice: Notice) {
        self.summary.warnings += 1;
        self.summary.failing += usize::from(notice.fails);
        self.notices.push(notice);
    }

    /// The report in one of its forms; text comes with colours, which a terminal's writer may strip.
    pub fn render(&self, output: Output) -> String {
        match output {
            Output::Text => text::render(self),
            Output::Json => self.json(),
            Output::Sarif => sarif::render(self),
            Output::Junit => junit::render(self),
            Output::Github => github::render(self),
            Output::Html => html::render(self),
            Output::Openreports => policy_report::render(self, policy_report::Api::Openreports),
            Output::Policyreports => policy_report::render(self, policy_report::Api::Policyreports),
        }
    }

    /// The summary as a sentence without its full stop.
    pub fn sentence(&self) -> String {
        let summary = &self.summary;
        let parts = [
            (summary.denied, "denied", "denied"),
            (summary.warnings, "warning", "warnings"),
            (summary.existing, "as before", "as before"),
            (summary.waived, "waived", "waived"),
            (summary.filled_in, "filled in", "filled in"),
            (summary.recorded, "only recorded", "only recorded"),
            (self.errors.len(), "error", "errors"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(number, ..)| *number > 0)
            .map(|(number, one, many)| counted(number, one, many))
            .collect();
        let found = if parts.is_empty() { "nothing found".to_owned() } else { parts.join(", ") };
        format!(
            "{} judged by {}: {found}",
            counted(summary.objects, "object", "objects"),
            counted(summary.policies, "policy", "policies")
        )
    }

    fn json(&self) -> String {
        // Strings and numbers in structs: there is nothing in it that JSON can't say.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Entry {
    fn of(judged: &Judged, fails: bool, location: Option<Location>) -> Self {
        let finding = &judged.finding;
        Self {
            rule: finding.rule.to_owned(),
            action: judged.action.as_str(),
            state: judged.state.as_str(),
            fails,
            message: standing(judged),
            remedy: sanitise(&finding.remedy),
            waiver_annotation: judged.waivable.then(|| format!("{PREFIX}{}", finding.rule)),
            resource: Resource {
                kind: finding.subject.kind.to_string(),
                namespace: finding.subject.namespace.clone(),
                name: sanitise(&finding.subject.name),
            },
            container: finding.container.as_deref().map(sanitise),
            path: sanitise(&finding.path),
            observed: sanitise(&finding.observed),
            required: sanitise(&finding.required),
            policies: judged.policies.clone(),
            waiver: judged.waiver.as_ref().map(WaiverEntry::of),
            location,
            place: sanitise(&finding.place),
            fills_in: false,
            uid: None,
        }
    }

    /// How much it asks of its reader.
    pub fn severity(&self) -> Severity {
        match (self.state, self.action) {
            _ if self.fails => Severity::Error,
            ("New", "Deny") => Severity::Error,
            ("New", "Warn") | ("Existing", "Deny" | "Warn") => Severity::Warning,
            _ => Severity::Note,
        }
    }

    /// The word that a line begins with: what is done with a new finding, else how it stands.
    pub(crate) fn word(&self) -> &'static str {
        if self.state == State::New.as_str() { self.action } else { self.state }
    }
}

impl WaiverEntry {
    fn of(note: &WaiverNote) -> Self {
        Self {
            owner: sanitise(&note.owner),
            reason: sanitise(&note.reason),
            expires: sanitise(&note.expires),
            ticket: note.ticket.as_deref().map(sanitise),
            emergency: note.emergency,
        }
    }
}

impl Location {
    /// A position in a file, with the line that it is on. What is marked is the word there.
    pub fn new(file: &str, position: Position, line: &str) -> Self {
        let before = usize::try_from(position.column).unwrap_or(usize::MAX).saturating_sub(1);
        let rest = || line.chars().skip(before);
        // A key without its value, or a whole scalar that is the item of a list.
        let quote = rest().next().filter(|c| matches!(c, '"' | '\''));
        let length = match quote {
            Some(quote) => rest().skip(1).position(|c| c == quote).map_or(1, |end| end + 2),
            None => {
                let mut last = ' ';
                rest()
                    .take_while(|&c| {
                        let is_end =
                            (last == ':' && c == ' ') || c == '\r' || matches!((last, c), (' ', '#'));
                        last = c;
                        !is_end
                    })
                    .collect::<String>()
                    .trim_end_matches([' ', ':'])
                    .chars()
                    .count()
            }
        };
        let length = u32::try_from(length.max(1)).unwrap_or(u32::MAX);
        Self {
            file: file.to_owned(),
            line: position.line,
            column: position.column,
            end_column: position.column.saturating_add(length),
            source: line.to_owned(),
            template: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_a_key_or_an_item() {
        let marked = |line: &str, column: u32| {
            let location = Location::new("f", Position { line: 1, column }, line);
            let characters = line.chars().skip(column as usize - 1);
            characters.take((location.end_column - column) as usize).collect::<String>()
        };
        assert_eq!(marked("  replicas: 1", 3), "replicas");
        assert_eq!(marked("- name: web", 3), "name");
        assert_eq!(marked("  \"a: b\": 1", 3), "\"a: b\"");
        assert_eq!(marked("  - one two  # why", 5), "one two");
        assert_eq!(marked("ключ: 1", 1), "ключ");
        assert_eq!(Location::new("f", Position { line: 1, column: 9 }, "short").end_column, 10);
    }
}
