//! The policies in force: read at start, read again when their files change.
//!
//! Files are polled by content. A ConfigMap's files are replaced by swapping a symlink, which file
//! watches miss after the first time; reading a few small files every few seconds costs nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{error, info};

use super::load::{LoadError, embedded, from_texts};
use super::{Policy, load};
use crate::manifest::files::collect;

/// How often the files are read.
pub const POLL: Duration = Duration::from_secs(5);

/// The policies in force, shared with the requests that are judged by them.
#[derive(Clone, Debug)]
pub struct Policies {
    current: Arc<ArcSwap<Vec<Policy>>>,
    paths: Vec<PathBuf>,
}

impl Policies {
    /// Reads the policies of the given files and directories, or the shipped ones if there are none.
    ///
    /// # Errors
    /// When one of them isn't right: nothing is served with half a set.
    pub fn load(paths: Vec<PathBuf>) -> Result<Self, LoadError> {
        let policies = if paths.is_empty() { embedded()? } else { load::from_paths(&paths)? };
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(policies)), paths })
    }

    /// The policies in force.
    pub fn current(&self) -> Arc<Vec<Policy>> {
        self.current.load_full()
    }

    /// Reads the files again whenever they change. A bad set is refused as a whole: the last good one
    /// stays in force, and `report` is told.
    pub async fn keep_fresh(self, every: Duration, report: impl Fn(bool) + Send) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        let mut seen = collect(&self.paths).ok();
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let paths = self.paths.clone();
            let Ok(files) = tokio::task::spawn_blocking(move || collect(&paths)).await else { continue };
            let files = match files {
                Ok(files) if seen.as_ref() == Some(&files) => continue,
                Ok(files) => files,
                Err(error) if seen.is_some() => {
                    seen = None;
                    error!(%error, "Policies can't be read; the last good set stays in force.");
                    report(false);
                    continue;
                }
                Err(_) => continue,
            };
            match from_texts(&files) {
                Ok(policies) if policies.is_empty() => {
                    error!("The policy files hold no policy; the last good set stays in force.");
                    report(false);
                }
                Ok(policies) => {
                    info!(policies = policies.len(), "Policies reloaded.");
                    self.current.store(Arc::new(policies));
                    report(true);
                }
                Err(error) => {
                    error!(%error, "Policies are wrong; the last good set stays in force.");
                    report(false);
                }
            }
            seen = Some(files);
        }
    }
}
