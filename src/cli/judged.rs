//! What of a cluster is judged, and what is judged already where its author writes it.

use std::collections::HashSet;

use serde::Deserialize;

use crate::engine;
use crate::object::{Kind, Metadata, Text, nullable};

/// The kinds that are judged: those that the chart registers. What makes others comes before what it
/// makes.
pub(super) const JUDGED: [Kind; 11] = [
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::CronJob,
    Kind::ReplicationController,
    Kind::ReplicaSet,
    Kind::Job,
    Kind::HorizontalPodAutoscaler,
    Kind::PodDisruptionBudget,
    Kind::ScaledObject,
    Kind::Pod,
];

/// What makes other objects. Of each only the uid is kept.
#[derive(Default)]
pub(super) struct Makers(HashSet<(Kind, String)>);

impl Makers {
    /// Whether an object is judged for itself: neither made by one that was passed in before, nor
    /// over. An owner reference counts only if such an owner is there, since anybody can write one.
    /// So what makes others has to come before what it makes.
    pub(super) fn judges(&mut self, kind: Kind, text: &str) -> bool {
        // What can't be read is told by whoever judges it.
        let Ok(head) = serde_json::from_str::<Head<'_>>(text) else { return true };
        if let Some(uid) = head.metadata.uid.as_deref().filter(|_| engine::makes_others(kind)) {
            self.0.insert((kind, uid.to_owned()));
        }
        let maker = engine::maker(kind, &head.metadata);
        let is_made = maker.is_some_and(|(kind, owner)| self.0.contains(&(kind, owner.uid.to_string())));
        !is_made && !head.status.is_over(kind)
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    metadata: Metadata<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    status: Status<'a>,
}

#[derive(Default, Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    phase: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    conditions: Vec<Condition<'a>>,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    name: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
}

impl Status<'_> {
    /// Whether it is a Job or Pod that has run to its end: it runs no more, and nobody can change it.
    fn is_over(&self, kind: Kind) -> bool {
        let ended = |condition: &Condition<'_>| {
            matches!(&*condition.name, "Complete" | "Failed") && &*condition.status == "True"
        };
        match kind {
            Kind::Job => self.conditions.iter().any(ended),
            Kind::Pod => matches!(self.phase.as_deref(), Some("Succeeded" | "Failed")),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, rest: &str) -> String {
        format!(r#"{{"metadata": {{"name": "x", "uid": "{uid}"{rest}"#)
    }

    fn made_by(kind: &str, uid: &str) -> String {
        let owner = format!(
            r#"{{"apiVersion": "batch/v1", "kind": "{kind}", "name": "x", "uid": "{uid}", "controller": true}}"#
        );
        object("job", &format!(r#", "ownerReferences": [{owner}]}}}}"#))
    }

    #[test]
    fn what_was_made_is_not_judged_again_but_an_owner_has_to_be_there() {
        let mut makers = Makers::default();
        assert!(makers.judges(Kind::CronJob, &object("cron", "}}")));
        assert!(!makers.judges(Kind::Job, &made_by("CronJob", "cron")));
        assert!(makers.judges(Kind::Job, &made_by("CronJob", "another")), "no such owner");
        assert!(makers.judges(Kind::Job, &made_by("Workflow", "cron")), "nothing that is judged itself");
        assert!(makers.judges(Kind::Deployment, &made_by("CronJob", "cron")), "none makes Deployments");
    }

    #[test]
    fn what_is_over_is_not_judged() {
        let mut makers = Makers::default();
        let job = |condition: &str| {
            object(
                "a",
                &format!(
                    r#"}}, "status": {{"conditions": [{{"type": "{condition}", "status": "True"}}]}}}}"#
                ),
            )
        };
        assert!(!makers.judges(Kind::Job, &job("Complete")) && !makers.judges(Kind::Job, &job("Failed")));
        assert!(makers.judges(Kind::Job, &job("Suspended")));
        let pod = |phase: &str| object("a", &format!(r#"}}, "status": {{"phase": "{phase}"}}}}"#));
        assert!(!makers.judges(Kind::Pod, &pod("Succeeded")) && makers.judges(Kind::Pod, &pod("Running")));
    }
}
