//! What waits to be written, and how fast it may be.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::notice::Notice;

/// How many different Events may wait.
const MOST: usize = 512;
/// How many may be written at once after a quiet time.
const BURST: u32 = 25;
/// The time between two, in the long run.
const EVERY: Duration = Duration::from_millis(200);

/// An Event that waits, with what has come to it meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) notice: Notice,
    pub(super) count: i32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// Events that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    order: VecDeque<String>,
    events: HashMap<String, Pending>,
}

impl Waiting {
    /// Takes a notice, unless too many others wait.
    pub(super) fn add(&mut self, notice: Notice, now: Timestamp) -> bool {
        let name = notice.name();
        if let Some(pending) = self.events.get_mut(&name) {
            pending.count = pending.count.saturating_add(1);
            pending.last = now;
            return true;
        }
        if self.events.len() >= MOST {
            return false;
        }
        self.order.push_back(name.clone());
        self.events.insert(name, Pending { notice, count: 1, first: now, last: now });
        true
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        self.events.remove(&self.order.pop_front()?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// So many Events at once, and then one after another.
#[derive(Debug)]
pub(super) struct Budget {
    /// When the whole burst is there again.
    full: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { full: now }
    }

    /// When the next may be written.
    pub(super) fn next(&self) -> Instant {
        self.full.checked_sub(EVERY * (BURST - 1)).unwrap_or(self.full)
    }

    /// One is written.
    pub(super) fn take(&mut self, now: Instant) {
        self.full = self.full.max(now) + EVERY;
    }
}
