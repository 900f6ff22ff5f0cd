//! How fast something may be done: a burst after a quiet time, then one after another.

use std::time::Duration;

use tokio::time::Instant;

/// A pace, and how far ahead of it things are.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time between two, in the long run.
    interval: Duration,
    /// How far ahead of time they may be.
    burst: Duration,
    /// When all so far would have been due, one at a time.
    due: Instant,
}

impl Pace {
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst.saturating_sub(1), due: now }
    }

    /// When the next may be done; it may be in the past.
    pub(super) fn next(&self) -> Instant {
        self.due.checked_sub(self.burst).unwrap_or(self.due)
    }

    /// One more is done, or sure to be when its time comes.
    pub(super) fn take(&mut self, now: Instant) {
        self.due = self.due.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_five_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(5, 25, start);
        let mut now = start;
        let mut done = 0;
        while pace.next().max(now) <= start + Duration::from_secs(10) {
            now = pace.next().max(now);
            pace.take(now);
            done += 1;
        }
        assert_eq!(done, 75);
    }
}
