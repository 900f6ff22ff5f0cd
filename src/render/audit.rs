//! The audit log for people: records and sums as tables for a terminal, and a report as a page.

mod chart;
mod html;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::sanitise;
use crate::audit::Record;
use crate::audit::summary::{By, Counts, Outcome, Row, Sums, object};
use crate::verdict::State;

pub use self::html::{Source, html};

/// How many records are looked at for the widths of columns.
const LOOKED_AT: usize = 500;
/// The widest that one column gets for the sake of one record.
const WIDEST: usize = 60;
/// The width of the longest bar.
const BAR: u64 = 20;

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Records as the lines of a table. The widths are those of the first records; later ones that are
/// wider push what follows to the right rather than being cut.
#[derive(Debug, Default)]
pub struct Table {
    /// Whether the full line of each finding follows its record.
    messages: bool,
    waiting: Vec<Cells>,
    widths: Option<[usize; 4]>,
}

#[derive(Debug)]
struct Cells {
    columns: [String; 4],
    findings: String,
    style: Style,
    messages: Vec<String>,
}

const HEADERS: [&str; 5] = ["TIME", "DECISION", "OBJECT", "USER", "FINDINGS"];

impl Table {
    /// An empty table; with `messages`, the full line of each finding follows its record.
    #[must_use]
    pub fn new(messages: bool) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Takes a record, and prints those that it took once there are enough for the widths.
    ///
    /// # Errors
    /// When `out` takes no more.
    pub fn add(&mut self, record: &Record, out: &mut dyn Write) -> io::Result<()> {
        let cells = self.cells(record);
        if self.widths.is_some() {
            return self.print(&cells, out);
        }
        self.waiting.push(cells);
        if self.waiting.len() >= LOOKED_AT { self.flush(out) } else { Ok(()) }
    }

    /// Prints what it took.
    ///
    /// # Errors
    /// When `out` takes no more.
    pub fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.widths.is_none() && !self.waiting.is_empty() {
            let mut widths = [0; 4];
            for (index, width) in widths.iter_mut().enumerate() {
                let cells = self.waiting.iter().filter_map(|row| row.columns.get(index));
                let longest = cells.map(|cell| cell.chars().count().min(WIDEST)).max().unwrap_or(0);
                *width = longest.max(HEADERS.get(index).map_or(0, |header| header.len()));
            }
            self.widths = Some(widths);
            let [time, decision, object, user, findings] = HEADERS;
            let [a, b, c, d] = widths;
            writeln!(out, "{BOLD}{time:a$}  {decision:b$}  {object:c$}  {user:d$}  {findings}{BOLD:#}")?;
        }
        for cells in std::mem::take(&mut self.waiting) {
            self.print(&cells, out)?;
        }
        out.flush()
    }

    fn print(&self, cells: &Cells, out: &mut dyn Write) -> io::Result<()> {
        let ([a, b, c, d], style) = (self.widths.unwrap_or_default(), cells.style);
        let [time, decision, object, user] = &cells.columns;
        let findings = &cells.findings;
        writeln!(
            out,
            "{FAINT}{time:a$}{FAINT:#}  {style}{decision:b$}{style:#}  {object:c$}  {user:d$}  {findings}"
        )?;
        for message in &cells.messages {
            writeln!(out, "{:a$}  {FAINT}{message}{FAINT:#}", "")?;
        }
        Ok(())
    }

    fn cells(&self, record: &Record) -> Cells {
        let outcome = Outcome::of(record);
        let dry_run = if record.dry_run { " (dry run)" } else { "" };
        let scale = record.resource.subresource.as_ref().map_or_else(String::new, |name| format!(" {name}"));
        Cells {
            columns: [
                record.time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
                format!("{}{dry_run}", word(outcome)),
                sanitise(&format!("{}{scale}", object(record))),
                sanitise(&record.user.name),
            ],
            findings: findings(record),
            style: style(outcome, record.dry_run),
            messages: match self.messages {
                true => record.findings.iter().map(|finding| sanitise(&finding.message)).collect(),
                false => Vec::new(),
            },
        }
    }
}

/// Each rule once, what refuses first.
fn findings(record: &Record) -> String {
    let mut words: Vec<(Outcome, String)> = Vec::new();
    for finding in &record.findings {
        let outcome = Outcome::of_finding(finding);
        let how = match (finding.state, &finding.waiver) {
            (State::Waived, Some(waiver)) if waiver.emergency => {
                format!(" waived in an emergency by {}", waiver.owner)
            }
            (State::Waived, Some(waiver)) => format!(" waived by {}", waiver.owner),
            (State::Waived, None) => " waived".to_owned(),
            (State::Existing, _) => " as before".to_owned(),
            (State::Fixed, _) => " filled in".to_owned(),
            (State::New, _) if finding.refuses() => String::new(),
            (State::New, _) => " warned".to_owned(),
        };
        let word = sanitise(&format!("{}{how}", finding.rule));
        if !words.iter().any(|(_, other)| *other == word) {
            words.push((outcome, word));
        }
    }
    words.sort_by_key(|(outcome, _)| *outcome);
    let mut words: Vec<String> = words.into_iter().map(|(_, word)| word).collect();
    if record.exempt {
        words.push("exempt user".to_owned());
    }
    words.join(", ")
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Denied => "Denied",
        Outcome::Waived => "Waived",
        Outcome::Warned => "Warned",
        Outcome::Filled => "Filled in",
        Outcome::Noted => "Noted",
        Outcome::Clean => "Allowed",
    }
}

fn style(outcome: Outcome, dry_run: bool) -> Style {
    match outcome {
        _ if dry_run => FAINT,
        Outcome::Denied => RED,
        Outcome::Waived => YELLOW,
        Outcome::Warned | Outcome::Filled | Outcome::Noted | Outcome::Clean => Style::new(),
    }
}

/// A column of numbers: its header and where its number is.
type Column = (&'static str, fn(&Counts) -> u64);

/// Sums as a table. Columns in which nothing is counted are left out.
///
/// # Errors
/// When `out` takes no more.
pub fn sums(sums: &Sums, out: &mut dyn Write) -> io::Result<()> {
    let all: [Column; 7] = [
        ("DENIED", |counts| counts.denied),
        ("WAIVED", |counts| counts.waived),
        ("WARNED", |counts| counts.warned),
        ("FILLED IN", |counts| counts.filled_in),
        ("NOTED", |counts| counts.noted),
        ("CLEAN", |counts| counts.clean),
        ("DRY RUNS", |counts| counts.dry_runs),
    ];
    let rows = sums.rows();
    let is_used =
        |(header, number): &Column| *header == "DENIED" || rows.iter().any(|row| number(&row.counts) > 0);
    let columns: Vec<Column> = all.into_iter().filter(is_used).collect();
    let keys: Vec<String> = rows.iter().map(|row| sanitise(&row.key)).collect();
    let name = sums.by().as_str().to_uppercase();
    let width =
        keys.iter().map(|key| key.chars().count()).chain([name.len(), "requests".len()]).max().unwrap_or(0);
    let is_day = sums.by() == By::Day;

    write!(out, "{BOLD}{name:width$}")?;
    for (header, _) in &columns {
        write!(out, "  {header:>9}")?;
    }
    writeln!(out, "{}{BOLD:#}", if is_day { "" } else { "  LAST DENIED" })?;
    let most = rows.iter().map(|row| row.counts.denied).max().unwrap_or(0);
    for (row, key) in rows.iter().zip(&keys) {
        write!(out, "{key:width$}")?;
        numbers(&row.counts, &columns, out)?;
        writeln!(out, "{}", ending(row, is_day, most))?;
    }
    write!(out, "{BOLD}{:width$}{BOLD:#}", "requests")?;
    numbers(&sums.total, &columns, out)?;
    writeln!(out)
}

fn numbers(counts: &Counts, columns: &[Column], out: &mut dyn Write) -> io::Result<()> {
    for (header, number) in columns {
        let style = if *header == "DENIED" && number(counts) > 0 { RED } else { Style::new() };
        match number(counts) {
            0 => write!(out, "  {FAINT}{:>9}{FAINT:#}", "-")?,
            number => write!(out, "  {style}{number:>9}{style:#}")?,
        }
    }
    Ok(())
}

/// Days get a bar, anything else its last denial and a bar.
fn ending(row: &Row, is_day: bool, most: u64) -> String {
    let bar = bar(row.counts.denied, most);
    let minute = |time: Timestamp| time.strftime("%Y-%m-%d %H:%MZ").to_string();
    match row.last_denied.map(minute) {
        _ if is_day && bar.is_empty() => String::new(),
        _ if is_day => format!("  {RED}{bar}{RED:#}"),
        Some(last) => format!("  {last}  {RED}{bar}{RED:#}"),
        None => String::new(),
    }
}

/// A bar in eighths of a character; whatever isn't nothing can be seen.
fn bar(number: u64, most: u64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if number == 0 || most == 0 {
        return String::new();
    }
    let eighths = (number.saturating_mul(BAR * 8) / most).max(1);
    let part = PARTS.get((eighths % 8) as usize).copied().unwrap_or_default();
    "█".repeat((eighths / 8) as usize) + part
}
