//! How far it is, on a terminal, when it takes long.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What takes less time needs no explanation.
const PATIENCE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(100);

/// A counter that others can read.
#[derive(Default)]
pub(super) struct Progress {
    done: AtomicUsize,
    stage: Mutex<(&'static str, usize)>,
}

impl Progress {
    /// Begins a stage: what is done in it, and how often.
    pub(super) fn stage(&self, name: &'static str, total: usize) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = (name, total);
        self.done.store(0, Ordering::Relaxed);
    }

    /// Counts one more.
    pub(super) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// The count, for those who count by themselves.
    pub(super) fn done(&self) -> &AtomicUsize {
        &self.done
    }

    fn line(&self) -> String {
        let (name, total) = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let percent = self.done.load(Ordering::Relaxed).saturating_mul(100).checked_div(total);
        format!("{name} {}%", percent.unwrap_or_default().min(100))
    }
}

/// Runs something that counts, and shows the count on standard error if that is a terminal.
pub(super) fn shown<R>(work: impl FnOnce(&Progress) -> R) -> R {
    let progress = Progress::default();
    if !io::stderr().is_terminal() {
        return work(&progress);
    }
    let (ended, end) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let counter = &progress;
        scope.spawn(move || {
            let mut wait = PATIENCE;
            let mut is_shown = false;
            while end.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                // A terminal that is gone is no reason to stop.
                let _ = write!(io::stderr(), "\r\u{1b}[2K{}", counter.line());
                (wait, is_shown) = (INTERVAL, true);
            }
            if is_shown {
                let _ = write!(io::stderr(), "\r\u{1b}[2K");
            }
        });
        let result = work(&progress);
        drop(ended);
        result
    })
}
