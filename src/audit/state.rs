//! How the log is doing, as the metrics and `/readyz` tell it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A write(2) that takes longer than this counts as stalled.
const STALLED: Duration = Duration::from_secs(1);

/// How the authoritative sink is doing.
#[derive(Clone, Debug)]
pub enum Health {
    /// The last lines were written.
    Healthy,
    /// The last lines could not be written. The next ones are tried all the same.
    Failing(Arc<io::Error>),
    /// A write hangs: nobody reads standard output, or a file system is stuck.
    Stalled,
    /// The log was closed.
    Closed,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("ok"),
            Self::Failing(error) => write!(f, "failing: {error}"),
            Self::Stalled => f.write_str("stalled: a write does not return"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// What has happened since the start, for counters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Records written to the authoritative sink.
    pub written: u64,
    /// Records that were not, or not in time. One that was late first and failed then counts twice.
    pub errors: u64,
    /// Copies for standard output that were dropped because it was slow or closed.
    pub copies_dropped: u64,
    /// Rotations done.
    pub rotations: u64,
    /// Rotations that failed.
    pub rotation_errors: u64,
}

/// What the writer's thread tells the handles.
#[derive(Debug)]
pub(super) struct Shared {
    start: Instant,
    /// Microseconds after `start` at which the write in progress began, plus one; 0 without one.
    busy: AtomicU64,
    failing: Mutex<Option<Arc<io::Error>>>,
    written: AtomicU64,
    errors: AtomicU64,
    pub(super) copies_dropped: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) rotation_errors: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            busy: AtomicU64::new(0),
            failing: Mutex::new(None),
            written: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            copies_dropped: AtomicU64::new(0),
            rotations: AtomicU64::new(0),
            rotation_errors: AtomicU64::new(0),
        }
    }

    pub(super) fn begin(&self) {
        self.busy.store(self.micros() + 1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.busy.store(0, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, lines: u64) {
        self.written.fetch_add(lines, Ordering::Relaxed);
        if self.failing().take().is_some() {
            tracing::info!(errors = self.counts().errors, "The audit log is written again.");
        }
    }

    pub(super) fn failed(&self, error: &Arc<io::Error>, lines: u64) {
        self.missed(lines);
        if self.failing().replace(Arc::clone(error)).is_none() {
            tracing::error!(%error, "The audit log can't be written.");
        }
    }

    pub(super) fn missed(&self, lines: u64) {
        self.errors.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn health(&self) -> Health {
        let began = self.busy.load(Ordering::Relaxed);
        if began > 0 && self.micros().saturating_sub(began) > STALLED.as_micros() as u64 {
            return Health::Stalled;
        }
        self.failing().as_ref().map_or(Health::Healthy, |error| Health::Failing(Arc::clone(error)))
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            written: self.written.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            copies_dropped: self.copies_dropped.load(Ordering::Relaxed),
            rotations: self.rotations.load(Ordering::Relaxed),
            rotation_errors: self.rotation_errors.load(Ordering::Relaxed),
        }
    }

    fn failing(&self) -> MutexGuard<'_, Option<Arc<io::Error>>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX - 1)
    }
}
