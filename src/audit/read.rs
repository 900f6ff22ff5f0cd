//! Reads audit logs back, line by line, in memory that a line's length bounds and a file's doesn't.

mod follow;
mod merge;

use std::fmt;
use std::io::{self, BufRead};
use std::sync::Arc;

use serde::Deserialize;

use super::record::Record;

pub use self::follow::Follow;
pub use self::merge::{Merged, Problem};

/// The longest line that is read. Ours are shorter; what reformats them may make them longer.
const LONGEST: usize = 1024 * 1024;
/// How the schema of every version begins.
const SCHEMA: &str = "plimsoll.dev/audit/";

/// A record and the line that it was read from.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// Its line, without the line feed, keys of later versions included.
    pub text: String,
}

/// One line of a log.
#[derive(Clone, Debug)]
pub enum Line {
    /// A record.
    Record(Box<Entry>),
    /// JSON that is no audit record: the server's own log shares a container's output with the audit log.
    Other,
    /// Neither; half a line, above all.
    Broken(Broken),
}

/// A line that can't be read, with its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// The file, or `-` for standard input.
    pub source: Arc<str>,
    /// The line's number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.problem)
    }
}

/// One log that is being read.
pub struct Reader {
    source: Arc<str>,
    input: Box<dyn BufRead + Send>,
    /// Lines that have ended.
    lines: u64,
    /// The line that has begun.
    begun: Vec<u8>,
    /// How much of it was dropped because it is too long.
    dropped: usize,
}

impl Reader {
    /// Reads `input`; `source` is its name in messages.
    pub fn new(source: &str, input: impl BufRead + Send + 'static) -> Self {
        Self { source: source.into(), input: Box::new(input), lines: 0, begun: Vec::new(), dropped: 0 }
    }

    /// The next line that has ended; `None` where the input ends for now. What has begun is kept.
    /// Empty lines are passed over: whatever follows half a line starts on a fresh one.
    ///
    /// # Errors
    /// When the input can't be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let (part, used) = match end {
                Some(end) => (available.get(..end).unwrap_or_default(), end + 1),
                None => (available, available.len()),
            };
            let room = LONGEST.saturating_sub(self.begun.len());
            let kept = part.len().min(room);
            self.begun.extend(part.iter().take(kept));
            self.dropped += part.len() - kept;
            self.input.consume(used);
            if end.is_some()
                && let Some(line) = self.end_line()
            {
                return Ok(Some(line));
            }
        }
    }

    /// What the input ended with, if it didn't end with a line feed.
    pub fn last_line(&mut self) -> Option<Line> {
        if self.begun.is_empty() { None } else { self.end_line() }
    }

    fn end_line(&mut self) -> Option<Line> {
        self.lines += 1;
        let text = std::mem::take(&mut self.begun);
        let dropped = std::mem::take(&mut self.dropped);
        if text.iter().all(u8::is_ascii_whitespace) && dropped == 0 {
            return None;
        }
        let broken =
            |problem| Line::Broken(Broken { source: Arc::clone(&self.source), line: self.lines, problem });
        if dropped > 0 {
            return Some(broken(format!("expected at most {LONGEST} bytes, found {}", text.len() + dropped)));
        }
        Some(read(text).unwrap_or_else(broken))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("source", &self.source).field("lines", &self.lines).finish()
    }
}

fn read(line: Vec<u8>) -> Result<Line, String> {
    #[derive(Deserialize)]
    struct Kind {
        schema: Option<String>,
    }

    let text = String::from_utf8(line).map_err(|_| "expected an audit record, found no UTF-8".to_owned())?;
    let problem = match serde_json::from_str(&text) {
        Ok(record) => return Ok(Line::Record(Box::new(Entry { record, text }))),
        Err(error) => error,
    };
    match serde_json::from_str::<Kind>(&text) {
        Ok(Kind { schema: Some(schema) }) if schema.starts_with(SCHEMA) => {
            Err(format!("expected a record of schema {SCHEMA}v1 and its keys: {problem}"))
        }
        Ok(_) => Ok(Line::Other),
        Err(_) => Err(format!("expected an audit record, found {}", what(&text, &problem))),
    }
}

/// What a line is that is no JSON object.
fn what(text: &str, problem: &serde_json::Error) -> String {
    match problem.is_eof() {
        true => format!("a line that breaks off after {} bytes", text.len()),
        false => format!("no JSON object: {problem}"),
    }
}

#[cfg(test)]
mod tests;
