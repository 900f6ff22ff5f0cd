//! Counts the waivers that the caches know of, and reminds of those that end soon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use crate::cluster::lease::Leadership;
use crate::cluster::{Events, Reminders};
use crate::engine::waivers::{Holder, Listed, Register};
use crate::facts::Facts;
use crate::metrics::Metrics;
use crate::object::Kind;
use crate::policy::Policy;
use crate::policy::reload::Policies;
use crate::verdict::Subject;

/// How often. It takes a look at each object that carries a waiver, and waivers end by themselves.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks after the waivers for ever. Every replica counts them; the one that leads reminds, by Events.
pub(super) async fn watch(
    policies: Policies,
    facts: Arc<Facts>,
    metrics: Arc<Metrics>,
    events: Option<(Events, Leadership)>,
) {
    let mut reminders = Reminders::default();
    let mut interval = interval(PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = Timestamp::now();
        let all = all(&policies.current(), &facts, now);
        metrics.waivers(&all);
        let Some((events, leadership)) = &events else { continue };
        if leadership.is_leader() {
            let uid = |listed: &Listed| {
                let facts = facts.namespace(listed.home());
                facts.uid(listed.subject.kind, &listed.subject.name).map(str::to_owned)
            };
            reminders.due(&all, uid, now).into_iter().for_each(|notice| events.tell(notice));
        }
    }
}

/// Every waiver that the facts hold. What is needed can't be told from them: a cache keeps no pod
/// templates and no schedules.
fn all(policies: &[Policy], facts: &Facts, now: Timestamp) -> Vec<Listed> {
    let snapshots = facts.namespaces();
    let labels = snapshots.iter().filter_map(|(name, facts)| Some((name.clone(), facts.labels.clone()?)));
    let namespaces: BTreeMap<_, _> = labels.collect();
    let holders = snapshots.iter().flat_map(|(namespace, facts)| {
        facts.carriers().map(move |(kind, carrier)| Holder {
            subject: Subject {
                kind,
                namespace: if kind == Kind::Namespace { String::new() } else { namespace.clone() },
                name: carrier.name.clone(),
            },
            labels: &carrier.labels,
            annotations: &carrier.annotations,
        })
    });
    Register { policies, namespaces: &namespaces, needed: None, now }.list(holders)
}
