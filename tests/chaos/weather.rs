//! Which faults there are at a moment.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::faults::Fault;

/// A set of faults, and whether the last ones are being got over.
pub(crate) type Faults = u32;

/// Stands for the time from the end of the last fault until all is well.
pub(crate) const RECOVERY: Faults = 1 << 31;
/// Stands for a fault or a recovery that came and went meanwhile.
const CHANGED: Faults = 1 << 30;

/// How long a policy that was mended is given until everybody goes by it.
const SETTLED: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Weather {
    active: AtomicU32,
    changes: AtomicU64,
    /// Whether a policy that can't be read may be stored: a replica that starts now has no last good one.
    doubt: AtomicBool,
    mended: Mutex<Option<Instant>>,
}

/// The weather when something began.
pub(crate) struct Moment(Faults, u64);

impl Weather {
    pub(crate) fn begin(&self, faults: Faults) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.active.fetch_or(faults, Ordering::SeqCst);
    }

    pub(crate) fn end(&self, faults: Faults) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.active.fetch_and(!faults, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Moment {
        let changes = self.changes.load(Ordering::SeqCst);
        Moment(self.active.load(Ordering::SeqCst), changes)
    }

    /// What there was since then; nothing if all was well all the time.
    pub(crate) fn since(&self, then: &Moment) -> Faults {
        let now = self.now();
        then.0 | now.0 | if now.1 == then.1 { 0 } else { CHANGED }
    }

    /// Somebody is about to write a policy that can't be read.
    pub(crate) fn doubt_policy(&self) {
        self.doubt.store(true, Ordering::SeqCst);
        *self.mended.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It was refused, or is not there any more.
    pub(crate) fn mend_policy(&self, was_stored: bool) {
        if was_stored {
            *self.mended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        } else {
            self.doubt.store(false, Ordering::SeqCst);
        }
    }

    pub(crate) fn is_policy_in_doubt(&self) -> bool {
        self.doubt.load(Ordering::SeqCst)
    }

    /// All is well: what was mended long enough ago is in force everywhere.
    pub(crate) fn settle(&self) {
        let mended = *self.mended.lock().unwrap_or_else(PoisonError::into_inner);
        if mended.is_some_and(|at| at.elapsed() > SETTLED) {
            self.mend_policy(false);
        }
    }
}

/// The names of what there was.
pub(crate) fn names(faults: Faults) -> Vec<&'static str> {
    if faults == 0 {
        return vec!["all is well"];
    }
    let active = Fault::ALL.into_iter().filter(|fault| faults & fault.bit() != 0).map(Fault::says);
    active.chain((faults & (RECOVERY | CHANGED) != 0).then_some("coming and going")).collect()
}
