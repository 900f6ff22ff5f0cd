//! How far a scan has come, for somebody who waits at a terminal.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::object::Kind;

/// How often the line is drawn anew.
const EVERY: Duration = Duration::from_millis(100);
/// Back to the beginning of the line, and erase it.
const ERASE: &str = "\r\x1b[K";

/// A line on standard error that is drawn over; nothing if that is no terminal.
pub(super) struct Progress {
    is_shown: bool,
    drawn: Cell<Option<Instant>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), drawn: Cell::new(None) }
    }

    pub(super) fn show(&self, what: &str, kind: Kind, count: usize) {
        let is_due = self.drawn.get().is_none_or(|drawn| drawn.elapsed() >= EVERY);
        if self.is_shown && is_due {
            self.drawn.set(Some(Instant::now()));
            let _ = write!(io::stderr(), "{ERASE}{what} {}: {count}", kind.plural());
        }
    }

    pub(super) fn end(&self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}
