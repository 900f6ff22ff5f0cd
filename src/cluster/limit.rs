//! How many live reads there may be: a storm of denials must not become a storm of reads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;

/// A bound on reads at a time and on reads a second, after a burst.
pub(super) struct Limit {
    at_once: Arc<Semaphore>,
    pace: Mutex<Pace>,
    /// How long a read may be made to wait.
    patience: Duration,
}

impl Limit {
    pub(super) fn new(at_once: usize, per_second: u32, burst: u32, patience: Duration) -> Self {
        let pace = Mutex::new(Pace::new(per_second, burst, Instant::now()));
        Self { at_once: Arc::new(Semaphore::new(at_once)), pace, patience }
    }

    /// Waits for a read's turn; `None` at once if that won't come in time. The permit lasts as long
    /// as the read.
    pub(super) async fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let turn = self.take_turn()?;
        sleep_until(turn).await;
        // The semaphore is never closed.
        Arc::clone(&self.at_once).acquire_owned().await.ok()
    }

    fn take_turn(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = pace.next().max(now);
        if turn - now > self.patience {
            return None;
        }
        pace.take(now);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn after_a_burst_reads_come_one_by_one_and_no_later_than_anybody_waits() {
        let limit = Limit::new(1_000, 10, 5, SECOND);
        let began = Instant::now();
        let permits = join_all((0..100).map(|_| limit.admit())).await;
        // Five at once, then ten in the second that they may wait.
        assert_eq!(permits.iter().flatten().count(), 15);
        assert_eq!(began.elapsed().as_millis(), 1_000);
        tokio::time::sleep(SECOND).await;
        let permits = join_all((0..100).map(|_| limit.admit())).await;
        assert_eq!(permits.iter().flatten().count(), 15, "the burst is back");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_under_way_at_a_time() {
        let limit = Limit::new(2, 1_000, 1_000, SECOND);
        let (first, _second) = (limit.admit().await, limit.admit().await);
        let third = limit.admit();
        let mut third = std::pin::pin!(third);
        assert!(tokio::time::timeout(SECOND, third.as_mut()).await.is_err());
        drop(first);
        assert!(third.await.is_some());
    }
}
