//! A report as one page of HTML.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use maud::{Markup, html};

use super::chart::{self, Timeline};
use crate::audit::Record;
use crate::audit::report::{Report, Standing, WaiverUse};
use crate::audit::summary::{Counts, Row, Sums, object};
use crate::render::html::Page;
use crate::render::sanitise;

const STYLE: &str = include_str!("report.css");
/// How many lines a table of offenders has.
const TOP: usize = 8;
/// How many waivers are listed.
const MOST_WAIVERS: usize = 50;

/// Where a report comes from, for its head and foot.
#[derive(Clone, Debug)]
pub struct Source {
    /// The files, as they were named.
    pub files: Vec<String>,
    /// The filters, as they were given; empty for everything.
    pub filters: Vec<String>,
    /// When it was made.
    pub now: Timestamp,
    /// How many records it rests on.
    pub records: u64,
    /// Lines that could not be read.
    pub broken: u64,
}

/// The report as a page.
#[must_use]
pub fn html(report: &Report, source: &Source) -> String {
    let totals = &report.users.total;
    let lead = html! {
        @match report.period {
            Some((first, last)) => { (long(first)) " to " (long(last)) ", UTC" },
            None => "No records",
        }
        @for filter in &source.filters { " " code { (sanitise(filter)) } }
    };
    let body = html! {
        (tiles(report, totals))
        (timeline(report))
        (offenders(report))
        (waivers(report, source.now))
        (newest(report))
    };
    let (title, heading) = ("audit report", "Admission audit");
    Page { title, heading, style: STYLE, lead, body, foot: foot(source) }.render()
}

fn tiles(report: &Report, totals: &Counts) -> Markup {
    let affected = |sums: &Sums| sums.rows().iter().filter(|row| row.counts.denied > 0).count();
    html! {
        section.tiles {
            div.tile.denied {
                b { (grouped(totals.denied)) } span { "refused" }
                @if totals.denied > 0 {
                    small {
                        (number(affected(&report.users), "user", "users")) ", "
                        (number(affected(&report.namespaces), "namespace", "namespaces"))
                    }
                }
            }
            @if let Some((now, before)) = trend(report) {
                div.tile {
                    b { (change(now, before)) } span { "refused in the last 7 days" }
                    small { (grouped(now)) ", after " (grouped(before)) " in the 7 days before" }
                }
            }
            div.tile { b { (grouped(totals.waived)) } span { "let in by a waiver" } small { (number(report.waiver_count(), "waiver", "waivers")) } }
            div.tile { b { (grouped(totals.warned)) } span { "let in with a warning" } small { "no worse than before, or only a warning" } }
            div.tile { b { (grouped(totals.filled_in)) } span { "filled in" } small { "safe defaults that the author left out" } }
        }
        @if totals.dry_runs > 0 {
            p.note { (grouped(totals.dry_runs)) " dry runs are not counted." }
        }
    }
}

/// Denials in the last seven days of the period, and in the seven before; `None` for a shorter one.
fn trend(report: &Report) -> Option<(u64, u64)> {
    let (first, last) = report.period?;
    let date = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    let days_ago = |days: i32| date(last).checked_sub(Span::new().days(days)).ok();
    let (week, fortnight) = (days_ago(7)?, days_ago(14)?);
    if date(first) > fortnight.tomorrow().ok()? {
        return None;
    }
    let sum =
        |from, to| report.refused.range((std::ops::Bound::Excluded(from), std::ops::Bound::Included(to)));
    Some((sum(week, date(last)).map(|(_, n)| n).sum(), sum(fortnight, week).map(|(_, n)| n).sum()))
}

fn change(now: u64, before: u64) -> String {
    if now == before {
        return "±0 %".to_owned();
    }
    if before == 0 {
        return format!("+{}", grouped(now));
    }
    let percent = (now as f64 - before as f64) / before as f64 * 100.0;
    if percent < 0.0 { format!("−{:.0} %", -percent) } else { format!("+{percent:.0} %") }
}

fn timeline(report: &Report) -> Markup {
    html! {
        section {
            @match Timeline::of(&report.days) {
                None => {
                    h2 { "Rejections" }
                    p.empty { "Nothing was refused." }
                },
                Some(timeline) => {
                    h2 {
                        "Rejections by "
                        @match timeline.step { 1 => "day", 7 => "week", _ => { (timeline.step) " days" } }
                        " and rule"
                    }
                    (timeline.svg())
                    ul.legend {
                        @for (number, rule) in timeline.series.iter().enumerate() {
                            li { i class=(format!("s{number}")) {} (sanitise(rule)) }
                        }
                    }
                    p.note { "A request that several rules refuse counts for each of them." }
                },
            }
        }
    }
}

fn offenders(report: &Report) -> Markup {
    html! {
        div.grid2 {
            (table("Rules", "rule", &report.rules))
            (table("Namespaces", "namespace", &report.namespaces))
            (table("Objects", "object", &report.objects))
            (table("Users", "user", &report.users))
        }
    }
}

fn table(title: &str, what: &str, sums: &Sums) -> Markup {
    let rows = sums.rows();
    let most = rows.iter().map(|row| row.counts.denied).max().unwrap_or(0);
    let more = rows.iter().skip(TOP).filter(|row| row.counts.denied > 0).count();
    let width =
        |row: &Row| format!("width:{}%", chart::fixed(row.counts.denied as f64 * 100.0 / most.max(1) as f64));
    html! {
        section {
            h2 { (title) }
            @if rows.is_empty() {
                p.empty { "None." }
            } @else {
                table.sums {
                    thead { tr { th { (what) } th.n { "refused" } th.n { "waived" } th.n { "warned" } th.w { "last refused" } } }
                    tbody {
                        @for row in rows.iter().take(TOP) {
                            tr {
                                td { span.key { (breakable(&row.key)) } div.bar { div style=(width(row)) {} } }
                                td.n.strong[row.counts.denied > 0] { (dash(row.counts.denied)) }
                                td.n { (dash(row.counts.waived)) }
                                td.n { (dash(row.counts.warned)) }
                                td.w { @if let Some(last) = row.last_denied { (short(last)) } }
                            }
                        }
                    }
                }
                @if more > 0 { p.note { "and " (more) " more with refusals" } }
            }
        }
    }
}

/// A state of waivers: its class, its word and its place in the legend.
fn word(standing: Standing) -> (&'static str, &'static str) {
    match standing {
        Standing::Ended => ("ended", "ended"),
        Standing::Emergency => ("emergency", "emergency"),
        Standing::EndsSoon => ("soon", "ends within 14 days"),
        Standing::Active => ("active", "active"),
        Standing::Endless => ("endless", "without an end"),
    }
}

fn waivers(report: &Report, now: Timestamp) -> Markup {
    const ALL: [Standing; 5] =
        [Standing::Emergency, Standing::EndsSoon, Standing::Active, Standing::Endless, Standing::Ended];
    let waivers = report.waivers(now);
    let count = |wanted: Standing| waivers.iter().filter(|(standing, _)| *standing == wanted).count();
    let counts = ALL.map(|state| (word(state).0, count(state) as u64));
    let more = waivers.len().saturating_sub(MOST_WAIVERS) as u64 + report.more_waivers;
    html! {
        section {
            h2 { "Waivers in use, by state" }
            @if waivers.is_empty() {
                p.empty { "No request was let in by a waiver." }
            } @else {
                (chart::parts(&counts))
                ul.legend {
                    @for state in ALL {
                        @if count(state) > 0 {
                            li { i class=(word(state).0) {} (word(state).1) ": " (count(state)) }
                        }
                    }
                }
                div.scroll { table {
                    thead { tr { th { "state" } th { "object" } th { "rule" } th { "owner" } th { "reason" } th.w { "ends" } th.n { "used" } } }
                    tbody { @for (standing, used) in waivers.iter().take(MOST_WAIVERS) { (waiver(*standing, used, now)) } }
                } }
                @if more > 0 { p.note { "and " (more) " more" } }
                p.note { "As the requests that needed them showed them; the state is that of the day of this report. "
                    code { "plimsoll audit --state waived" } " lists each use." }
            }
        }
    }
}

fn waiver(standing: Standing, used: &WaiverUse, now: Timestamp) -> Markup {
    let (class, word) = word(standing);
    let days = used.ends().map(|ends| (ends.as_second() - now.as_second()).div_euclid(86_400));
    html! {
        tr {
            td { span class=(format!("chip {class}")) { (word) } }
            td { (breakable(&used.object)) }
            td { (sanitise(&used.rule)) }
            td { (breakable(&used.waiver.owner)) }
            td { (sanitise(&used.waiver.reason)) @if let Some(ticket) = &used.waiver.ticket { " (" (sanitise(ticket)) ")" } }
            td.w {
                (sanitise(used.waiver.expires.as_deref().unwrap_or("-")))
                @if let Some(days) = days.filter(|days| *days >= 0) { small { (days) " days left" } }
            }
            td.n { (grouped(used.uses)) }
        }
    }
}

fn newest(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Newest refusals" }
            @if report.newest.is_empty() { p.empty { "None." } }
            ol.denials {
                @for record in report.newest.iter().rev() { (denial(record)) }
            }
        }
    }
}

fn denial(record: &Record) -> Markup {
    html! {
        li {
            p.what {
                time datetime=(record.time) { (record.time.strftime("%Y-%m-%d %H:%M:%SZ")) }
                " " b { (sanitise(&object(record))) }
                " " span { (sanitise(&record.operation)) @if let Some(name) = &record.resource.subresource { " " (sanitise(name)) } }
                " by " b { (sanitise(&record.user.name)) }
            }
            @for finding in record.findings.iter().filter(|finding| finding.refuses()) {
                p.message { (sanitise(&finding.message)) }
            }
            @if record.truncated.findings > 0 {
                p.message { "and " (record.truncated.findings) " more findings, which the record had no room for" }
            }
            p.uid { "request " (sanitise(&record.uid)) ", answered by " (sanitise(&record.instance)) }
        }
    }
}

fn foot(source: &Source) -> Markup {
    html! {
        p {
            "From " (number(usize::try_from(source.records).unwrap_or(usize::MAX), "record", "records")) " in "
            @for (index, file) in source.files.iter().enumerate() {
                @if index > 0 { ", " }
                code { (sanitise(file)) }
            }
            ". "
            @match source.broken {
                0 => "Every line could be read.",
                1 => strong { "1 line could not be read." },
                broken => strong { (grouped(broken)) " lines could not be read." },
            }
        }
        p {
            "Made by Plimsoll " (env!("CARGO_PKG_VERSION")) " on " (long(source.now))
            " UTC. A denial is answered only after its record was written, so what a user was refused is in the log. "
            "A decision is not a change: what was let in may still have failed elsewhere."
        }
    }
}

fn long(time: Timestamp) -> String {
    time.strftime("%-d %B %Y, %H:%M").to_string()
}

fn short(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

fn dash(number: u64) -> String {
    if number == 0 { "–".to_owned() } else { grouped(number) }
}

fn number(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count as u64), if count == 1 { one } else { many })
}

/// Text that may be broken where its parts end.
fn breakable(text: &str) -> Markup {
    html! { @for part in sanitise(text).split_inclusive(['/', ':', '@']) { (part) wbr; } }
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
