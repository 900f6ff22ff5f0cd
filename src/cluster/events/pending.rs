//! What waits to be written.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::notice::{Notice, Reason};

/// How many different Events may wait.
const MOST: usize = 512;

/// An Event that waits, with what has come to it meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) notice: Notice,
    pub(super) count: i32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl Pending {
    pub(super) fn is_reminder(&self) -> bool {
        self.notice.reason == Reason::WaiverEnds
    }
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
