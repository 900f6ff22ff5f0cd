//! Watches: one for each kind of fact, each in a task of its own.

mod cache;
mod follow;

use std::sync::Arc;

use jiff::Timestamp;
use thiserror::Error;
use tokio::task::JoinSet;

use self::follow::Watch;
use super::{Cluster, brief};
use crate::facts::Facts;
use crate::object::Kind;

/// The kinds that are watched.
pub const WATCHED: [Kind; 7] = [
    Kind::Namespace,
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::HorizontalPodAutoscaler,
    Kind::PodDisruptionBudget,
    Kind::PersistentVolumeClaim,
    Kind::ScaledObject,
];

/// Kinds that no verdict about another object rests on. Only those of them are kept that carry
/// waivers, to be counted and told of before they end; nothing waits for these watches.
pub(super) const CARRIERS: [Kind; 2] = [Kind::CronJob, Kind::DaemonSet];

/// Is told how the watches fare. Called from their tasks, so it must not block.
pub trait Observer: Send + Sync + 'static {
    /// The kind has been listed for the first time, or the cluster is known not to have it.
    fn synced(&self, kind: Kind);

    /// The API server was heard of: a list, a change or a bookmark. So many objects are known now.
    fn heard(&self, kind: Kind, objects: usize, at: Timestamp);

    /// The watch was interrupted and will try again. It has been logged already.
    fn failed(&self, kind: Kind, error: &WatchError);
}

/// Why a watch was interrupted.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The list failed.
    #[error("failed to list: {}", brief(.0))]
    List(#[source] kube::Error),
    /// The watch couldn't be started.
    #[error("failed to start watching: {}", brief(.0))]
    Start(#[source] kube::Error),
    /// The watch broke off.
    #[error("failed to go on watching: {}", brief(.0))]
    Broken(#[source] kube::Error),
    /// The API server gave up the watch; with code 410 because it no longer knows the changes since then.
    #[error("the API server gave up the watch: {message}")]
    GivenUp {
        /// An HTTP status.
        code: u16,
        /// The API server's words.
        message: String,
    },
    /// Nothing came, not even an end.
    #[error("the API server fell silent")]
    Silent,
    /// The watch ended as soon as it began.
    #[error("the watch ended at once")]
    TooShort,
    /// The API server knows less than it did.
    #[error("the API server has gone back in time, from version {0} to {1}")]
    Reverted(String, String),
}

/// The running watches. Dropping them ends them; the facts stay as they are.
pub struct Watches {
    tasks: JoinSet<()>,
}

impl Watches {
    /// Starts to fill the facts and to keep them true.
    pub fn start(cluster: &Cluster, facts: &Arc<Facts>, observer: &Arc<dyn Observer>) -> Self {
        let mut tasks = JoinSet::new();
        for kind in WATCHED.into_iter().chain(CARRIERS) {
            let watch = Watch::new(cluster.client().clone(), kind, Arc::clone(facts), Arc::clone(observer));
            tasks.spawn(watch.run());
        }
        Self { tasks }
    }

    /// Waits until a watch ends, which none does but by a defect of ours. A cache that is stale for
    /// ever is worse than a restart, so whoever started the watches should end when they do.
    pub async fn ended(&mut self) {
        let _ = self.tasks.join_next().await;
    }
}
