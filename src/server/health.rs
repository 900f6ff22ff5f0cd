//! Is the process ready? A list of named conditions that their owners set.
//!
//! A condition gates readiness; a notice is only shown, for what should alarm somebody but must not
//! take all replicas out of service at once. What is not set yet is not ready, so that nothing is
//! served by accident.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The conditions of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    draining: bool,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    gates: bool,
    /// Why it isn't ready, or `None` if it is.
    trouble: Option<String>,
}

/// The handle with which its owner sets one condition or notice.
#[derive(Clone, Debug)]
pub struct Condition {
    health: Health,
    name: String,
}

impl Health {
    /// No conditions yet, which counts as ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a condition without which the process isn't ready. It starts as not ready,
    /// "starting".
    ///
    /// Asking for the same name again gives a handle to the same condition.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        self.register(name.into(), true, Some("starting".to_owned()))
    }

    /// Registers something that `/readyz` shows but that doesn't gate readiness. It starts as fine.
    pub fn notice(&self, name: impl Into<String>) -> Condition {
        self.register(name.into(), false, None)
    }

    fn register(&self, name: String, gates: bool, trouble: Option<String>) -> Condition {
        let mut state = self.lock();
        if !state.entries.iter().any(|e| e.name == name) {
            state.entries.push(Entry { name: name.clone(), gates, trouble });
        }
        Condition { health: self.clone(), name }
    }

    /// From here on the process is not ready, whatever the conditions say.
    pub fn set_draining(&self) {
        self.lock().draining = true;
    }

    /// Whether requests should be sent here.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        !state.draining && state.entries.iter().all(|e| !e.gates || e.trouble.is_none())
    }

    /// One line for each condition, in the order in which they were registered.
    pub fn report(&self) -> String {
        let state = self.lock();
        let mut report = String::new();
        if state.draining {
            report.push_str("shutdown: draining\n");
        }
        for entry in &state.entries {
            let (trouble, suffix) = match &entry.trouble {
                None => ("ok", ""),
                Some(trouble) if entry.gates => (trouble.as_str(), ""),
                Some(trouble) => (trouble.as_str(), " (informational)"),
            };
            // Writing to a String can't fail.
            let _ = writeln!(report, "{}: {trouble}{suffix}", entry.name);
        }
        report
    }

    /// A panic elsewhere can't leave the list half-written, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// All is well.
    pub fn set_ready(&self) {
        self.set(None);
    }

    /// It isn't, and `/readyz` says why; one short line.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, trouble: Option<String>) {
        let mut state = self.health.lock();
        if let Some(entry) = state.entries.iter_mut().find(|e| e.name == self.name) {
            entry.trouble = trouble;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_every_condition_is() {
        let health = Health::new();
        let policies = health.condition("policies");
        let cache = health.condition("cache deployments");
        policies.set_ready();
        cache.set_not_ready("syncing");
        assert!(!health.is_ready());
        assert_eq!(health.report(), "policies: ok\ncache deployments: syncing\n");
        cache.set_ready();
        assert!(health.is_ready());
    }

    #[test]
    fn a_condition_nobody_has_set_is_not_ready() {
        let health = Health::new();
        let _unset = health.condition("policies");
        assert!(!health.is_ready());
        assert_eq!(health.report(), "policies: starting\n");
    }

    #[test]
    fn a_notice_is_shown_and_does_not_gate() {
        let health = Health::new();
        health.notice("audit log").set_not_ready("disk full");
        assert!(health.is_ready());
        assert_eq!(health.report(), "audit log: disk full (informational)\n");
    }

    #[test]
    fn draining_overrules_everything() {
        let health = Health::new();
        health.condition("policies").set_ready();
        health.set_draining();
        assert!(!health.is_ready());
        assert_eq!(health.report(), "shutdown: draining\npolicies: ok\n");
    }
}
