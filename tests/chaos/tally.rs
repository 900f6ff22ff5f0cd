//! What was asked, what came of it, and what should not have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::apiserver::Answer;
use crate::requests::Due;
use crate::weather::{Faults, names};

/// How many wrong things are enough to know that something is wrong.
const ENOUGH: usize = 20;

#[derive(Default)]
pub(crate) struct Tally(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    rows: BTreeMap<&'static str, Counts>,
    all: Counts,
    reasons: BTreeMap<String, u64>,
    unwell: BTreeMap<String, u64>,
    wrong: Vec<String>,
    denied: Vec<Denial>,
    asked: BTreeMap<String, Due>,
    excused: BTreeSet<String>,
    looked_at: u64,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    stored: u64,
    denied: u64,
    unconfirmed: u64,
    failed: u64,
}

/// A denial that a client saw.
#[derive(Clone)]
pub(crate) struct Denial {
    pub(crate) id: String,
    pub(crate) faults: Faults,
}

/// What was asked.
pub(crate) struct Asked<'a> {
    pub(crate) id: &'a str,
    pub(crate) what: &'a str,
    pub(crate) due: Due,
}

impl Tally {
    /// Judges one answer by what was due and what the weather was.
    pub(crate) fn note(&self, asked: &Asked<'_>, answer: &Answer, faults: Faults) {
        let mut inner = self.inner();
        inner.asked.insert(asked.id.to_owned(), asked.due);
        let mut counts = Counts::default();
        let Asked { id, what, due } = asked;
        match answer {
            Answer::Done(_) => {
                counts.stored = 1;
                if *due == Due::Deny {
                    inner.object(format!("let in, and must be denied: {what} ({id}; {:?})", names(faults)));
                }
            }
            Answer::Denied(message) => {
                counts.denied = 1;
                if *due == Due::Pass {
                    inner.object(format!(
                        "denied, and complies: {what} ({id}; {:?}): {message}",
                        names(faults)
                    ));
                }
                inner.denied.push(Denial { id: (*id).to_owned(), faults });
            }
            Answer::Unconfirmed => {
                counts.unconfirmed = 1;
                inner.denied.push(Denial { id: (*id).to_owned(), faults });
                if faults == 0 {
                    *inner.unwell.entry("unconfirmed".to_owned()).or_default() += 1;
                }
            }
            Answer::Failed(code, reason) => {
                counts.failed = 1;
                *inner.reasons.entry(reason.clone()).or_default() += 1;
                if faults == 0 {
                    *inner.unwell.entry(reason.clone()).or_default() += 1;
                    if (400..500).contains(code) {
                        inner.object(format!("answered {code} though all was well: {what} ({id}): {reason}"));
                    }
                }
            }
        }
        inner.all.add(counts);
        for name in names(faults) {
            inner.rows.entry(name).or_default().add(counts);
        }
    }

    /// Something is as it must not be.
    pub(crate) fn object(&self, what: String) {
        self.inner().object(what);
    }

    /// What came in while it may: the checker looks away.
    pub(crate) fn excuse(&self, object: String) {
        self.inner().excused.insert(object);
    }

    pub(crate) fn is_excused(&self, object: &str) -> bool {
        self.inner().excused.contains(object)
    }

    pub(crate) fn looked_at(&self, objects: usize) {
        self.inner().looked_at += objects as u64;
    }

    /// Whether to go on: a few wrong things are enough.
    pub(crate) fn is_clean(&self) -> bool {
        self.inner().wrong.len() < ENOUGH
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        self.inner().wrong.clone()
    }

    pub(crate) fn denied(&self) -> Vec<Denial> {
        self.inner().denied.clone()
    }

    pub(crate) fn due(&self, id: &str) -> Option<Due> {
        self.inner().asked.get(id).copied()
    }

    pub(crate) fn table(&self) -> String {
        let inner = self.inner();
        let mut table = String::from("| meanwhile | requests | stored | denied | unconfirmed | failed |\n");
        table.push_str("|---|---|---|---|---|---|\n");
        let rows = inner.rows.iter().map(|(name, counts)| (*name, *counts));
        for (name, counts) in rows.chain([("in all", inner.all)]) {
            let Counts { stored, denied, unconfirmed, failed } = counts;
            let all = stored + denied + unconfirmed + failed;
            let _ = writeln!(table, "| {name} | {all} | {stored} | {denied} | {unconfirmed} | {failed} |");
        }
        let _ = writeln!(table, "\nwhy they failed: {:?}", inner.reasons);
        let _ = writeln!(table, "failed though all was well: {:?}", inner.unwell);
        let _ = write!(
            table,
            "stored objects looked at: {}; let in while the team's policy was broken: {}",
            inner.looked_at,
            inner.excused.len()
        );
        table
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn object(&mut self, what: String) {
        crate::say(&format!("WRONG: {what}"));
        self.wrong.push(what);
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.denied += other.denied;
        self.unconfirmed += other.unconfirmed;
        self.failed += other.failed;
    }
}
