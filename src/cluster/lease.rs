//! Who of several replicas does what only one should: a Lease, held and renewed.
//!
//! As client-go's `tools/leaderelection` does it: another's Lease is taken once it hasn't changed for
//! its duration by our own clock, so that clocks needn't agree, and every write names the version
//! that it replaces. Nothing that a verdict depends on waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::{Cluster, brief, request};

/// How long a Lease that nobody renews is respected.
const DURATION: Duration = Duration::from_secs(15);
/// How long its holder goes on without having been able to renew it; less, so that there are never two.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often it is renewed, or looked at.
const RETRY: Duration = Duration::from_secs(3);

/// Whether this replica leads. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Leadership(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    leads: AtomicBool,
    changed: Notify,
}

impl Leadership {
    /// Whether this replica leads right now.
    pub fn is_leader(&self) -> bool {
        self.0.leads.load(Ordering::Acquire)
    }

    /// Returns after the next change.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn set(&self, leads: bool) {
        if self.0.leads.swap(leads, Ordering::AcqRel) != leads {
            info!(leads, "leadership");
            self.0.changed.notify_waiters();
            self.0.changed.notify_one();
        }
    }
}

/// The running election. Dropping it ends it, and with it this replica's leadership, which the others
/// notice after 15 s.
pub struct Election {
    task: JoinHandle<()>,
    leadership: Leadership,
}

impl Election {
    /// Stands for election under this identity, which no other replica may have.
    pub fn start(cluster: &Cluster, namespace: &str, name: &str, identity: String) -> Self {
        let leadership = Leadership::default();
        let candidate = Candidate {
            leases: Api::namespaced(cluster.client().clone(), namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity,
            seen: None,
            renewed: None,
        };
        let task = tokio::spawn(candidate.run(leadership.clone()));
        Self { task, leadership }
    }

    /// Whether this replica leads.
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.task.abort();
        self.leadership.set(false);
    }
}

struct Candidate {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    identity: String,
    /// The version of the Lease that was last seen, and since when.
    seen: Option<(String, Instant)>,
    /// When it was last this replica's for certain.
    renewed: Option<Instant>,
}

impl Candidate {
    async fn run(mut self, leadership: Leadership) {
        loop {
            let asked = Instant::now();
            match timeout(RENEW_WITHIN / 2, self.try_once()).await {
                Ok(Ok(true)) => self.renewed = Some(asked),
                Ok(Ok(false)) => self.renewed = None,
                Ok(Err(error)) => debug!(error = brief(&error), "the lease could not be renewed"),
                Err(_) => debug!("the lease could not be renewed in time"),
            }
            leadership.set(self.renewed.is_some_and(|at| at.elapsed() < RENEW_WITHIN));
            sleep(RETRY).await;
        }
    }

    /// Whether the Lease is this replica's now.
    async fn try_once(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            let created = self.leases.create(&PostParams::default(), &self.lease(None)).await;
            return match created {
                // Without the namespace there is nobody to share with, and nobody else to do it.
                Err(error) if request::is_status(&error, 404) => Ok(true),
                created => written(created),
            };
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder != self.identity && !holder.is_empty() {
            let since = match &self.seen {
                Some((seen, since)) if *seen == version => *since,
                _ => Instant::now(),
            };
            self.seen = Some((version, since));
            if since.elapsed() < DURATION {
                return Ok(false);
            }
        }
        let replaced =
            self.leases.replace(&self.name, &PostParams::default(), &self.lease(Some(lease))).await;
        written(replaced)
    }

    fn lease(&self, current: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = current.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let is_own = old.holder_identity.as_deref() == Some(&self.identity);
        let metadata = current.map_or_else(
            || ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata,
        );
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if is_own { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(!is_own)),
            ..old
        };
        Lease { metadata, spec: Some(spec) }
    }
}

fn written(result: kube::Result<Lease>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        // Somebody else was faster.
        Err(error) if request::is_status(&error, 409) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::scripted::scripted;

    fn lease(holder: &str, version: &str) -> (u16, String) {
        (
            200,
            format!(
                r#"{{"metadata":{{"name":"plimsoll","resourceVersion":"{version}"}},
                "spec":{{"holderIdentity":"{holder}","leaseTransitions":4}}}}"#
            ),
        )
    }

    fn candidate(cluster: &Cluster) -> Candidate {
        Candidate {
            leases: Api::namespaced(cluster.client().clone(), "ns"),
            namespace: "ns".to_owned(),
            name: "plimsoll".to_owned(),
            identity: "me".to_owned(),
            seen: None,
            renewed: None,
        }
    }

    fn status(code: u16) -> (u16, String) {
        let reason = if code == 404 { "NotFound" } else { "Other" };
        (code, format!(r#"{{"status":"Failure","message":"x","reason":"{reason}","code":{code}}}"#))
    }

    #[tokio::test]
    async fn the_first_to_create_it_leads_and_keeps_its_term() {
        let answers = vec![status(404), lease("me", "1"), lease("me", "1"), lease("me", "2")];
        let (cluster, asked) = scripted(answers);
        let mut me = candidate(&cluster);
        assert!(me.try_once().await.unwrap());
        assert!(me.try_once().await.unwrap());
        let sent: Lease = serde_json::from_str(&asked.lock().unwrap()[3].1).unwrap();
        assert_eq!(sent.metadata.resource_version.as_deref(), Some("1"));
        assert_eq!(sent.spec.unwrap().lease_transitions, Some(4));
    }

    #[tokio::test]
    async fn who_is_slower_does_not_lead() {
        let answers = vec![status(404), status(409), lease("", "1"), status(409), status(500)];
        let (cluster, _) = scripted(answers);
        let mut me = candidate(&cluster);
        assert!(!me.try_once().await.unwrap());
        assert!(!me.try_once().await.unwrap());
        me.try_once().await.unwrap_err();
    }

    #[tokio::test]
    async fn without_the_namespace_everybody_is_alone() {
        let (cluster, _) = scripted(vec![status(404), status(404)]);
        assert!(candidate(&cluster).try_once().await.unwrap());
    }

    #[tokio::test]
    async fn anothers_lease_is_taken_only_when_it_has_not_moved_for_its_duration() {
        let answers = vec![lease("other", "1"), lease("other", "2"), lease("other", "2"), lease("me", "3")];
        let (cluster, asked) = scripted(answers);
        let mut me = candidate(&cluster);
        let long_ago = Instant::now().checked_sub(DURATION).unwrap();
        assert!(!me.try_once().await.unwrap());
        me.seen = Some(("1".to_owned(), long_ago));
        assert!(!me.try_once().await.unwrap(), "it has moved since");
        me.seen = Some(("2".to_owned(), long_ago));
        assert!(me.try_once().await.unwrap());
        let sent: Lease = serde_json::from_str(&asked.lock().unwrap()[3].1).unwrap();
        assert_eq!(sent.spec.unwrap().lease_transitions, Some(5));
    }
}
