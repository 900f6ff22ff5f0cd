//! What `/readyz` and the metrics say of the caches and of the audit log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::audit::{self, AuditLog};
use crate::cluster::{Observer, WATCHED, WatchError};
use crate::metrics::Metrics;
use crate::object::Kind;
use crate::server::{Condition, Health};

/// Ready once every kind was listed. A cache that stops moving later is a notice and a metric, not
/// unreadiness: all replicas would be gone at once.
struct Caches {
    synced: HashMap<Kind, Condition>,
    moving: HashMap<Kind, Condition>,
    metrics: Arc<Metrics>,
}

/// Registers the caches' conditions.
pub(super) fn caches(health: &Health, metrics: &Arc<Metrics>) -> Arc<dyn Observer> {
    let conditions = |what: fn(&Health, String) -> Condition, name: &str| {
        WATCHED.iter().map(|kind| (*kind, what(health, format!("{name} {}", kind.plural())))).collect()
    };
    Arc::new(Caches {
        synced: conditions(Health::condition, "cache"),
        moving: conditions(Health::notice, "watch"),
        metrics: Arc::clone(metrics),
    })
}

impl Observer for Caches {
    fn synced(&self, kind: Kind) {
        if let Some(condition) = self.synced.get(&kind) {
            condition.set_ready();
        }
    }

    fn heard(&self, kind: Kind, objects: usize, at: Timestamp) {
        self.metrics.cache_objects(kind.as_str(), objects);
        self.metrics.cache_event(kind.as_str(), at.as_second());
        if let Some(condition) = self.moving.get(&kind) {
            condition.set_ready();
        }
    }

    fn failed(&self, kind: Kind, error: &WatchError) {
        if let Some(condition) = self.moving.get(&kind) {
            condition.set_not_ready(error.to_string());
        }
    }
}

/// Shows in `/readyz` how the audit log is doing. It gates nothing: denials are denials without it.
pub(super) async fn watch_audit(audit: AuditLog, notice: Condition) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        match audit.health() {
            audit::Health::Healthy => notice.set_ready(),
            health => notice.set_not_ready(format!("records can't be written, {health}")),
        }
    }
}
