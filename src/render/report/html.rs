//! The report as one page: what is refused next, then everything by namespace.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::{Entry, Notice, Report, Resource};
use crate::render::html::{Page, breakable};
use crate::render::sanitise;
use crate::rules::RULES;

/// How many findings the page spells out. A browser takes more, a reader doesn't; JSON has them all.
const MOST: usize = 2_000;
/// How many objects are listed whose next change is refused.
const MOST_OBJECTS: usize = 100;
/// Up to so many findings a namespace is shown unfolded.
const FEW: usize = 12;

/// Words that findings begin with, with what they mean of an object in a cluster.
const STATES: [(&str, &str); 6] = [
    ("Deny", "refused"),
    ("Existing", "as before"),
    ("Warn", "warned about"),
    ("Waived", "waived"),
    ("Fixed", "filled in"),
    ("Audit", "only recorded"),
];

pub(super) fn render(report: &Report) -> String {
    let cluster = report.cluster.as_ref();
    let title = if cluster.is_some() { "Cluster scan" } else { "Check" };
    let lead = html! {
        @if let Some(cluster) = cluster {
            code { (sanitise(&cluster.url)) } " on " (cluster.time.strftime("%-d %B %Y, %H:%M")) " UTC"
        } @else { (sanitise(&report.sentence())) }
    };
    let body = html! {
        (tiles(report))
        (refused(report))
        (rules(report))
        (findings(report))
        (notices(report))
    };
    let foot = html! {
        p {
            @if cluster.is_some() {
                b { "Refused" } " is what the next change of the object meets. " b { "As before" }
                " passes with a warning as long as it is no worse; a new object like it would be refused, or filled in. "
            }
            @if let Some(cluster) = cluster { "Judged by " (cluster.judged_by()) ". " }
            "Made by Plimsoll " (report.version) "."
        }
    };
    Page { title, heading: title, style: "", lead, body, foot }.render()
}

fn tiles(report: &Report) -> Markup {
    let summary = &report.summary;
    let refused = match denied(report).len() {
        0 => String::new(),
        1 => "in 1 object".to_owned(),
        objects => format!("in {objects} objects"),
    };
    let ungoverned = match summary.ungoverned {
        0 => String::new(),
        objects => format!("{objects} of them under no policy"),
    };
    html! {
        section.tiles {
            (tile(summary.objects, "judged", &ungoverned, false))
            (tile(summary.denied, "refused", &refused, summary.denied > 0))
            @if summary.existing > 0 { (tile(summary.existing, "as before", "let be, while no worse", false)) }
            (tile(summary.warnings, "warnings", "", false))
            (tile(summary.waived, "waived", "by a waiver with an end", false))
            @if summary.filled_in > 0 { (tile(summary.filled_in, "filled in", "", false)) }
            @if summary.recorded > 0 { (tile(summary.recorded, "only recorded", "", false)) }
        }
    }
}

fn tile(number: usize, what: &str, more: &str, is_bad: bool) -> Markup {
    html! {
        div.tile.bad[is_bad] { b { (number) } span { (what) } @if !more.is_empty() { small { (more) } } }
    }
}

fn denied(report: &Report) -> BTreeSet<&Resource> {
    let denied = report.findings.iter().filter(|entry| entry.word() == "Deny");
    denied.map(|entry| &entry.resource).collect()
}

fn refused(report: &Report) -> Markup {
    let denied = denied(report);
    let by_rules = |resource: &Resource| {
        let of = report.findings.iter().filter(|e| e.word() == "Deny" && e.resource == *resource);
        of.map(|entry| entry.rule.as_str())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(", ")
    };
    html! {
        @if !denied.is_empty() {
            section {
                h2 { @if report.cluster.is_some() { "Next change refused" } @else { "Refused" } }
                table {
                    thead { tr { th { "object" } th { "by" } } }
                    tbody {
                        @for resource in denied.iter().take(MOST_OBJECTS) {
                            tr { td { (object(resource)) } td { (by_rules(resource)) } }
                        }
                    }
                }
                @if denied.len() > MOST_OBJECTS { p.note { "and " (denied.len() - MOST_OBJECTS) " more objects" } }
            }
        }
    }
}

fn rules(report: &Report) -> Markup {
    let mut rows: BTreeMap<(Option<usize>, &str), BTreeMap<&str, usize>> = BTreeMap::new();
    for entry in &report.findings {
        let position = RULES.iter().position(|rule| rule.meta().name == entry.rule);
        *rows.entry((position, &entry.rule)).or_default().entry(entry.word()).or_default() += 1;
    }
    let used: Vec<_> =
        STATES.into_iter().filter(|(word, _)| rows.values().any(|row| row.contains_key(word))).collect();
    html! {
        section {
            h2 { "By rule" }
            @if rows.is_empty() { p.note { "Nothing was found." } } @else {
                div.scroll { table {
                    thead { tr { th { "rule" } @for (_, what) in &used { th.n { (what) } } } }
                    tbody {
                        @for ((_, rule), row) in &rows {
                            tr {
                                td { (rule) }
                                @for (word, _) in &used {
                                    td.n { @match row.get(word) { Some(count) => (count), None => "–" } }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn findings(report: &Report) -> Markup {
    let mut namespaces: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in report.findings.iter().take(MOST) {
        namespaces.entry(&entry.resource.namespace).or_default().push(entry);
    }
    let more = report.findings.len().saturating_sub(MOST);
    let count = |entries: &[&Entry], word: &str| entries.iter().filter(|entry| entry.word() == word).count();
    html! {
        @if !namespaces.is_empty() { h2.apart { "Findings" } }
        @for (namespace, entries) in &namespaces {
            details open[entries.len() <= FEW || namespaces.len() == 1] {
                summary {
                    b { @if namespace.is_empty() { "cluster-wide" } @else { (breakable(namespace)) } }
                    @for (word, what) in STATES {
                        @let number = count(entries, word);
                        @if number > 0 { span class=(format!("count {word}")) { (number) " " (what) } }
                    }
                }
                ul.findings { @for entry in entries { (finding(entry)) } }
            }
        }
        @if more > 0 { p.note { "and " (more) " more findings, which --output json lists" } }
    }
}

fn finding(entry: &Entry) -> Markup {
    let word = entry.word();
    let what = STATES.iter().find(|(known, _)| *known == word).map_or(word, |(_, what)| what);
    // The rule stands above already.
    let message = entry.message.strip_prefix(&format!("{}: ", entry.rule)).unwrap_or(&entry.message);
    html! {
        li {
            p.what {
                span class=(format!("chip {}", entry.word())) { (what) }
                " " b { (object(&entry.resource)) } " " code { (entry.rule) }
            }
            p.message { (sanitise(message)) }
            @if let Some(waiver) = entry.waiver.as_ref().filter(|_| entry.state == "Waived") {
                p.more { "until " (waiver.expires) ": " (waiver.reason) }
            }
            @if let Some(at) = &entry.location { p.more { code { (sanitise(&at.file)) ":" (at.line) } } }
            @if entry.fills_in { p.more { "A new one would be filled in." } }
        }
    }
}

fn notices(report: &Report) -> Markup {
    let lines = report.notices.iter().map(|Notice { message, .. }| message);
    let lines = lines.chain(report.errors.iter().map(|problem| &problem.message)).take(MOST);
    html! {
        @if !report.notices.is_empty() || !report.errors.is_empty() {
            section { h2 { "Notices" } ul.plain { @for line in lines { li { (sanitise(line)) } } } }
        }
    }
}

fn object(resource: &Resource) -> Markup {
    let Resource { kind, namespace, name } = resource;
    html! {
        (kind) " "
        @if namespace.is_empty() { (breakable(name)) } @else { (breakable(&format!("{namespace}/{name}"))) }
    }
}
