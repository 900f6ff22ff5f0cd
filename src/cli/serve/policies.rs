//! The cluster's policies on their way into force, and back into their status.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use serde_json::Value;
use tracing::{info, warn};

use crate::cluster::lease::Leadership;
use crate::cluster::policies::{Heard, PolicyObjects};
use crate::policy::reload::Policies;
use crate::server::Condition;

/// Follows the cluster's policies.
pub(super) struct Follower {
    pub(super) objects: PolicyObjects,
    pub(super) policies: Policies,
    pub(super) leadership: Leadership,
    /// Set once they were listed.
    pub(super) listed: Condition,
    /// Whether the watch moves, and whether every policy is in force as it stands.
    pub(super) notice: Condition,
}

/// An object as it was last heard of, and what is wrong with it.
struct Known {
    object: Value,
    problem: Option<String>,
}

impl Follower {
    /// Follows them for ever.
    pub(super) async fn run(self) {
        let mut known: BTreeMap<String, Known> = BTreeMap::new();
        let mut heard = self.objects.follow();
        loop {
            let touched = tokio::select! {
                heard = heard.next() => match heard {
                    Some(heard) => self.take(heard, &mut known),
                    None => return,
                },
                // Whoever leads from now on tells what the one before may have missed.
                () = self.leadership.changed() => known.keys().cloned().collect(),
            };
            if self.leadership.is_leader() {
                self.tell(touched, &known).await;
            }
        }
    }

    /// Puts in force what was heard, and returns the names that there is something to tell of.
    fn take(&self, heard: Heard, known: &mut BTreeMap<String, Known>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match heard {
            Heard::Applied(name, object) => {
                let is_new = known.get(&name).is_none_or(|old| old.object.get("spec") != object.get("spec"));
                let problem = self.policies.apply(&name, &object).err();
                match &problem {
                    Some(problem) => warn!(policy = name, problem, "the policy is not in force as it stands"),
                    None if is_new => info!(policy = name, "the policy is in force"),
                    None => {}
                }
                known.insert(name.clone(), Known { object, problem });
                touched.insert(name);
            }
            Heard::Deleted(name) => {
                known.remove(&name);
                let mut left = self.policies.objects();
                left.remove(&name);
                self.policies.retain(&left);
                info!(policy = name, "the policy is no longer in force");
            }
            Heard::Listed(names) => {
                known.retain(|name, _| names.contains(name));
                self.policies.retain(&names);
                self.listed.set_ready();
            }
            Heard::Failed(problem) => {
                self.notice.set_not_ready(problem);
                return touched;
            }
        }
        let bad = known.iter().find_map(|(name, known)| Some((name, known.problem.as_ref()?)));
        match bad {
            Some((name, problem)) => self.notice.set_not_ready(format!("{name}: {problem}")),
            None => self.notice.set_ready(),
        }
        touched
    }

    async fn tell(&self, names: BTreeSet<String>, known: &BTreeMap<String, Known>) {
        for name in names {
            let Some(Known { object, problem }) = known.get(&name) else { continue };
            if let Err(error) = self.objects.tell(object, problem.as_deref()).await {
                warn!(policy = name, error, "the policy's status could not be written");
            }
        }
    }
}
