//! The list for people and for programs.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::engine::waivers::{Listed, Source};
use crate::render::sanitise;

/// The longest text of a column, in characters.
const WIDEST: usize = 60;

const HEAD: [&str; 6] = ["STATE", "DAYS", "ENDS", "RULE", "OBJECT", "OWNER"];

/// A line for each waiver, the columns as wide as they have to be.
pub(super) fn text(out: &mut impl Write, listed: &[Listed], now: Timestamp) -> io::Result<()> {
    if listed.is_empty() {
        return Ok(());
    }
    let rows: Vec<([String; 6], String)> = listed.iter().map(|listed| row(listed, now)).collect();
    let widths: Vec<usize> = HEAD
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let cells =
                rows.iter().filter_map(|(cells, _)| cells.get(column)).map(|cell| cell.chars().count());
            cells.max().unwrap_or_default().max(head.len())
        })
        .collect();
    let mut line = |cells: &[String; 6], note: &str| {
        for (cell, width) in cells.iter().zip(&widths) {
            write!(out, "{cell:<width$}  ")?;
        }
        writeln!(out, "{note}")
    };
    line(&HEAD.map(str::to_owned), "NOTE")?;
    rows.iter().try_for_each(|(cells, note)| line(cells, note))
}

fn row(listed: &Listed, now: Timestamp) -> ([String; 6], String) {
    let days = listed.days_left(now).map_or_else(|| "-".to_owned(), |days| days.to_string());
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { cut(&sanitise(text)) };
    let note = &listed.note;
    let mut remarks = Vec::new();
    match &listed.source {
        Source::Annotation => {}
        Source::Grant(policy) => remarks.push(format!("granted by policy {policy}")),
        Source::Singleton => remarks.push("declared a singleton by its team".to_owned()),
    }
    if note.emergency {
        remarks.push("EMERGENCY".to_owned());
    }
    if !listed.containers.is_empty() {
        remarks.push(format!("only {}", listed.containers.join(", ")));
    }
    remarks.extend(listed.remark.clone());
    if let (None, false) = (&listed.remark, note.reason.is_empty()) {
        remarks.push(note.reason.clone());
    }
    let cells = [
        listed.state.as_str().to_owned(),
        days,
        or_dash(&note.expires),
        cut(&sanitise(&listed.rule)),
        sanitise(&listed.subject.to_string()),
        or_dash(&note.owner),
    ];
    (cells, sanitise(&remarks.join("; ")))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    text.chars().take(WIDEST - 1).collect::<String>() + "…"
}

#[derive(Serialize)]
struct Document<'d> {
    schema: &'static str,
    time: Timestamp,
    waivers: Vec<Entry<'d>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'e> {
    state: &'static str,
    days_left: Option<i64>,
    /// The instant of its end.
    ends: Option<Timestamp>,
    rule: &'e str,
    kind: &'static str,
    namespace: &'e str,
    name: &'e str,
    owner: &'e str,
    reason: &'e str,
    /// Its end as written.
    expires: &'e str,
    ticket: Option<&'e str>,
    emergency: bool,
    containers: &'e [String],
    /// `annotation`, `singleton` or `policy`.
    source: &'static str,
    /// The policy that grants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'e str>,
    remark: Option<&'e str>,
}

impl<'e> Entry<'e> {
    fn of(listed: &'e Listed, now: Timestamp) -> Self {
        let (source, policy) = match &listed.source {
            Source::Annotation => ("annotation", None),
            Source::Grant(policy) => ("policy", Some(policy.as_str())),
            Source::Singleton => ("singleton", None),
        };
        Self {
            state: listed.state.as_str(),
            days_left: listed.days_left(now),
            ends: listed.ends,
            rule: &listed.rule,
            kind: listed.subject.kind.as_str(),
            namespace: &listed.subject.namespace,
            name: &listed.subject.name,
            owner: &listed.note.owner,
            reason: &listed.note.reason,
            expires: &listed.note.expires,
            ticket: listed.note.ticket.as_deref(),
            emergency: listed.note.emergency,
            containers: &listed.containers,
            source,
            policy,
            remark: listed.remark.as_deref(),
        }
    }
}

/// One JSON document.
pub(super) fn json(out: &mut impl Write, listed: &[Listed], now: Timestamp) -> io::Result<()> {
    let waivers = listed.iter().map(|listed| Entry::of(listed, now)).collect();
    let document = Document { schema: "plimsoll.dev/waivers/v1", time: now, waivers };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}
