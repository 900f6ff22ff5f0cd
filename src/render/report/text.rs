//! A line for each finding, which `file:line:column` begins as compilers do, and the source under it.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anstream::adapter::strip_str;
use std::fmt::Write as _;

use super::{Entry, Location, Report, Severity};
use crate::render::sanitise;

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const GREEN: &str = "\u{1b}[1;32m";
const PLAIN: &str = "\u{1b}[0m";

/// The longest source line that is shown as it is, in characters.
const LONGEST_LINE: usize = 400;

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    for entry in &report.findings {
        let start = start(entry.location.as_ref());
        let colour = colour(entry);
        let fills_in = if entry.fills_in { ". A new one would be filled in" } else { "" };
        let _ = writeln!(text, "{start}{colour}{}{PLAIN} {}{fills_in}", entry.word(), entry.message);
        excerpt(&mut text, entry.location.as_ref(), entry.severity());
    }
    for notice in &report.notices {
        let start = start(notice.location.as_ref());
        let _ = writeln!(text, "{start}{YELLOW}Warn{PLAIN} {}", notice.message);
        excerpt(&mut text, notice.location.as_ref(), Severity::Warning);
    }
    for problem in &report.errors {
        let start = start(problem.location.as_ref());
        let _ = writeln!(text, "{start}{RED}Error{PLAIN} {}", sanitise(&problem.message));
        excerpt(&mut text, problem.location.as_ref(), Severity::Error);
    }
    text
}

fn start(location: Option<&Location>) -> String {
    location.map_or_else(String::new, |at| {
        format!("{BOLD}{}:{}:{}{PLAIN}: ", sanitise(&at.file), at.line, at.column)
    })
}

fn colour(entry: &Entry) -> &'static str {
    match entry.severity() {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
        Severity::Note => GREEN,
    }
}

/// The line with a mark under what it is about.
fn excerpt(text: &mut String, location: Option<&Location>, severity: Severity) {
    let Some(at) = location else { return };
    // The text of a file is not ours: it must not reach the terminal as it is, and what is minified
    // into one line tells nobody anything.
    let source = sanitise(strip_str(&at.source).to_string().trim_end());
    let byte = |column: u32| {
        let characters = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
        source.char_indices().nth(characters).map_or(source.len(), |(byte, _)| byte)
    };
    let span = byte(at.column)..byte(at.end_column);
    if span.is_empty() || source.chars().nth(LONGEST_LINE).is_some() {
        return;
    }
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let line = usize::try_from(at.line).unwrap_or(usize::MAX);
    let snippet =
        Snippet::source(source.as_str()).line_start(line).annotation(AnnotationKind::Primary.span(span));
    let mut group = Group::with_level(level).element(snippet);
    if let Some(template) = &at.template {
        group = group.element(Level::NOTE.message(format!("rendered from {}", sanitise(template))));
    }
    text.push_str(&Renderer::styled().render(&[group]));
    text.push('\n');
}
