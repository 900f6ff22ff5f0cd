//! `plimsoll audit`: reads audit logs, for people and for scripts.

mod ask;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice, StripStream};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use jiff::Timestamp;

use super::print;
use crate::audit::filter::Filter;
use crate::audit::read::{Entry, Follow, Line, Merged, Problem, Reader};
use crate::audit::report::Report;
use crate::audit::summary::{By, Sums};
use crate::render::audit::{self as page, Source, Table};
use crate::render::sanitise;

/// How long to wait before looking whether a log that is followed has grown.
const POLL: Duration = Duration::from_millis(250);
/// How many records come first when a log is followed and nothing says from when on.
const FIRST: usize = 10;
/// How many broken lines are spelt out; the rest is counted.
const MOST_BROKEN: u64 = 20;
/// How many bytes are read at once.
const BUFFER: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Audit logs, in any order, of several replicas or rotated; `-` reads standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also read what each FILE was rotated to: FILE.1, FILE.2 and so on.
    #[arg(long)]
    rotated: bool,
    /// Go on with what is written to FILE from now on, through rotation.
    #[arg(short, long, conflicts_with_all = ["by", "rotated"])]
    follow: bool,
    /// Only the last N of the records that are asked for; with --follow, 10 unless --since says from when on.
    #[arg(long, value_name = "N", conflicts_with = "by")]
    tail: Option<usize>,
    #[command(flatten)]
    ask: ask::Ask,
    /// Sum up instead of listing.
    #[arg(long, value_enum)]
    by: Option<By>,
    /// How to print it: records as JSON are the lines of the log as they are.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// In a table, show the full line of each finding below its record.
    #[arg(short, long)]
    messages: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Output {
    /// For a terminal.
    Table,
    /// JSON lines; sums are one document.
    Json,
    /// A report as one page, with charts, for a browser.
    Html,
}

/// What was met on the way, said once everything is printed.
#[derive(Debug, Default)]
struct Notes {
    broken: u64,
    others: u64,
    records: u64,
    wanted: u64,
    unreadable: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = out(args.output);
    let mut notes = Notes::default();
    let now = Timestamp::now();
    let filter = args.ask.filter(now)?;
    let outcome = match (args.output, args.by, args.follow) {
        (Output::Html, Some(_), _) => bail!("--output html has sums of its own; leave out --by"),
        (Output::Html, None, true) => bail!("--output html is for a log as it is; leave out --follow"),
        (_, _, true) => follow(args, &filter, &mut notes, &mut out),
        (Output::Html, ..) => report(args, &filter, now, &mut notes, &mut out),
        (_, Some(by), _) => sums(args, by, &filter, &mut notes, &mut out),
        (_, None, _) => list(args, &filter, &mut notes, &mut out),
    };
    match outcome.and_then(|()| Ok(out.flush()?)) {
        // Whoever read it has seen enough.
        Err(error) if print::is_closed(&error) => return Ok(ExitCode::SUCCESS),
        other => other?,
    }
    notes.say();
    Ok(if notes.unreadable { ExitCode::from(super::FAILED) } else { ExitCode::SUCCESS })
}

/// Standard output: with colours where a terminal shows them, and else as it is.
fn out(output: Output) -> Box<dyn Write> {
    let buffered = BufWriter::with_capacity(BUFFER, io::stdout());
    let is_plain = AutoStream::choice(&io::stdout()) == ColorChoice::Never;
    if output == Output::Table && is_plain {
        return Box::new(StripStream::new(Box::new(buffered) as Box<dyn Write>));
    }
    Box::new(buffered)
}

impl Notes {
    fn meet(&mut self, problem: &Problem) {
        match problem {
            Problem::Broken(broken) => {
                self.broken += 1;
                if self.broken <= MOST_BROKEN {
                    print::note(format_args!("{}, skipped", sanitise(&broken.to_string())));
                }
            }
            Problem::Unreadable(source, error) => {
                self.unreadable = true;
                print::note(format_args!("{source}: failed to read on: {error}"));
            }
        }
    }

    fn say(&self) {
        let lines = |count| if count == 1 { "line" } else { "lines" };
        let some = |count, text: String| if count > 0 { text } else { String::new() };
        print::note(format_args!(
            "{} of {} records{}{}",
            self.wanted,
            self.records,
            some(self.broken, format!(", {} broken {} skipped", self.broken, lines(self.broken))),
            some(self.others, format!(", {} other {} passed over", self.others, lines(self.others)))
        ));
    }
}

/// Hands each record that is asked for to `take`, in the order of time.
fn each(
    args: &Args,
    filter: &Filter,
    notes: &mut Notes,
    mut take: impl FnMut(Box<Entry>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut merged = Merged::new(open(args)?);
    while let Some(entry) = merged.next_record(&mut |problem| notes.meet(&problem)) {
        notes.records += 1;
        if filter.wants(&entry.record) {
            notes.wanted += 1;
            take(entry)?;
        }
    }
    notes.others = merged.others;
    Ok(())
}

fn open(args: &Args) -> anyhow::Result<Vec<Reader>> {
    let mut readers = Vec::new();
    for path in &args.files {
        if path.as_os_str() == "-" {
            readers.push(Reader::new("-", BufReader::with_capacity(BUFFER, io::stdin())));
            continue;
        }
        readers.push(reader(path)?);
        for number in 1.. {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{number}"));
            let older = PathBuf::from(name);
            if !args.rotated || !older.try_exists()? {
                break;
            }
            readers.push(reader(&older)?);
        }
    }
    Ok(readers)
}

fn reader(path: &Path) -> anyhow::Result<Reader> {
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    Ok(Reader::new(&path.display().to_string(), BufReader::with_capacity(BUFFER, file)))
}

/// Where records go, one by one.
struct Printer<'a> {
    table: Option<Table>,
    out: &'a mut dyn Write,
}

impl<'a> Printer<'a> {
    fn new(args: &Args, out: &'a mut dyn Write) -> Self {
        let table = || Table::new(args.messages);
        Self { table: (args.output == Output::Table).then(table), out }
    }

    fn print(&mut self, entry: &Entry) -> anyhow::Result<()> {
        match &mut self.table {
            Some(table) => table.add(&entry.record, self.out)?,
            None => writeln!(self.out, "{}", entry.text)?,
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match &mut self.table {
            Some(table) => table.flush(self.out)?,
            None => self.out.flush()?,
        }
        Ok(())
    }
}

fn list(args: &Args, filter: &Filter, notes: &mut Notes, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut printer = Printer::new(args, out);
    let mut tail = Tail::new(args.tail);
    each(args, filter, notes, |entry| tail.add(entry).map_or(Ok(()), |entry| printer.print(&entry)))?;
    for entry in tail.kept {
        printer.print(&entry)?;
    }
    printer.flush()
}

/// The last few records, if so many are asked for.
struct Tail {
    most: Option<usize>,
    kept: VecDeque<Box<Entry>>,
}

impl Tail {
    fn new(most: Option<usize>) -> Self {
        Self { most, kept: VecDeque::new() }
    }

    /// Keeps a record, or hands it back where all are wanted.
    fn add(&mut self, entry: Box<Entry>) -> Option<Box<Entry>> {
        let Some(most) = self.most else { return Some(entry) };
        self.kept.push_back(entry);
        if self.kept.len() > most {
            self.kept.pop_front();
        }
        None
    }
}

fn follow(args: &Args, filter: &Filter, notes: &mut Notes, out: &mut dyn Write) -> anyhow::Result<()> {
    let [path] = args.files.as_slice() else { bail!("--follow takes one FILE") };
    if path.as_os_str() == "-" {
        // It ends when its writer does, and nothing is held back until then.
        let mut merged = Merged::new(open(args)?);
        let mut printer = Printer::new(args, out);
        while let Some(entry) = merged.next_record(&mut |problem| notes.meet(&problem)) {
            notes.records += 1;
            if filter.wants(&entry.record) {
                notes.wanted += 1;
                printer.print(&entry)?;
                printer.flush()?;
            }
        }
        return Ok(());
    }
    let failed = || format!("failed to follow {}", path.display());
    let mut log = Follow::open(path).with_context(failed)?;
    let mut printer = Printer::new(args, out);
    let first = args.tail.or_else(|| args.ask.since_is_open().then_some(FIRST));
    let mut tail = Tail::new(first);
    loop {
        match log.next_line().with_context(failed)? {
            Some(Line::Record(entry)) if filter.wants(&entry.record) => {
                if let Some(entry) = tail.add(entry) {
                    printer.print(&entry)?;
                }
            }
            Some(Line::Broken(broken)) => notes.meet(&Problem::Broken(broken)),
            Some(Line::Record(_) | Line::Other) => {}
            None => {
                tail.most = None;
                for entry in std::mem::take(&mut tail.kept) {
                    printer.print(&entry)?;
                }
                printer.flush()?;
                thread::sleep(POLL);
            }
        }
    }
}

fn sums(args: &Args, by: By, filter: &Filter, notes: &mut Notes, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut sums = Sums::new(by);
    each(args, filter, notes, |entry| {
        sums.add(&entry.record, filter);
        Ok(())
    })?;
    if args.output == Output::Table {
        return Ok(page::sums(&sums, out)?);
    }
    let document = serde_json::json!({"by": by.as_str(), "rows": sums.rows(), "requests": sums.total});
    serde_json::to_writer_pretty(&mut *out, &document)?;
    Ok(writeln!(out)?)
}

fn report(
    args: &Args,
    filter: &Filter,
    now: Timestamp,
    notes: &mut Notes,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut report = Report::default();
    each(args, filter, notes, |entry| {
        report.add(&entry.record, filter);
        Ok(())
    })?;
    let source = Source {
        files: args.files.iter().map(|path| path.display().to_string()).collect(),
        filters: args.ask.in_words(),
        now,
        records: notes.wanted,
        broken: notes.broken,
    };
    Ok(out.write_all(page::html(&report, &source).as_bytes())?)
}
