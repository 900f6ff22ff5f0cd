//! Several logs as one, in the order of time: rotated files, or those of several replicas.

use std::io;
use std::sync::Arc;

use super::{Broken, Entry, Line, Reader};

/// Several logs as one. Each is taken to be in order itself, so that one line of each is all that is
/// held; what is out of order within a log stays so.
#[derive(Debug, Default)]
pub struct Merged {
    sources: Vec<Source>,
    /// Lines that were passed over because they can't be read.
    pub broken: u64,
    /// Lines that were passed over because they are no audit records.
    pub others: u64,
}

#[derive(Debug)]
struct Source {
    reader: Reader,
    next: Option<Box<Entry>>,
    ended: bool,
}

impl Merged {
    /// Reads all of these.
    pub fn new(readers: impl IntoIterator<Item = Reader>) -> Self {
        let source = |reader| Source { reader, next: None, ended: false };
        Self { sources: readers.into_iter().map(source).collect(), ..Self::default() }
    }

    /// The next record; `None` after the last. Lines that can't be read are reported and passed over,
    /// and so is the rest of a log that can't.
    pub fn next_record(&mut self, report: &mut dyn FnMut(Problem)) -> Option<Box<Entry>> {
        for source in &mut self.sources {
            while source.next.is_none() && !source.ended {
                let line = match source.reader.next_line() {
                    Ok(Some(line)) => Some(line),
                    Ok(None) => {
                        source.ended = true;
                        source.reader.last_line()
                    }
                    Err(error) => {
                        source.ended = true;
                        report(Problem::Unreadable(Arc::clone(&source.reader.source), error));
                        None
                    }
                };
                match line {
                    Some(Line::Record(entry)) => source.next = Some(entry),
                    Some(Line::Other) => self.others += 1,
                    Some(Line::Broken(broken)) => {
                        self.broken += 1;
                        report(Problem::Broken(broken));
                    }
                    None => {}
                }
            }
        }
        let time = |source: &Source| source.next.as_ref().map(|entry| entry.record.time);
        let first = self.sources.iter_mut().filter(|source| source.next.is_some()).min_by_key(|s| time(s))?;
        first.next.take()
    }
}

/// What a reader of logs has to be told.
#[derive(Debug)]
pub enum Problem {
    /// One line can't be read.
    Broken(Broken),
    /// The log of this name can't be read any further.
    Unreadable(Arc<str>, io::Error),
}
