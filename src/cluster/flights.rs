//! Reads that are shared: who asks for what is about to be read waits for that answer.
//!
//! A read that is under way is not joined. The API server may have answered it before whoever asks now
//! wrote what they expect to be seen (an autoscaler, say, and then the workload that it saves), and
//! confirming a denial by such an answer would be no better than the cache. So a read takes passengers
//! until it is sent, and the next one for the same waits for it to come back: however many ask at once,
//! one read is under way and all others wait for the one after it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::timeout;

/// How long the next read waits for one that is under way. An answer that takes longer may never come,
/// and those who wait have little time.
const PATIENCE: Duration = Duration::from_millis(100);

/// A read that several wait for. It goes on as long as anybody does.
pub(super) type Flight<T> = Shared<BoxFuture<'static, T>>;

/// The reads that are about to be sent or under way, by what they read.
pub(super) struct Flights<K, T: Clone> {
    board: Arc<Mutex<Board<K, T>>>,
}

struct Board<K, T: Clone> {
    entries: HashMap<K, Entry<T>>,
    count: u64,
}

struct Entry<T: Clone> {
    number: u64,
    flight: WeakShared<BoxFuture<'static, T>>,
    has_left: bool,
}

/// A place on the board, given up when the flight ends or nobody waits for it any more.
pub(super) struct Place<K: Eq + Hash, T: Clone> {
    board: Arc<Mutex<Board<K, T>>>,
    key: K,
    number: u64,
}

impl<K: Clone + Eq + Hash + Send + 'static, T: Clone + Send + Sync + 'static> Flights<K, T> {
    pub(super) fn new() -> Self {
        Self { board: Arc::new(Mutex::new(Board { entries: HashMap::new(), count: 0 })) }
    }

    /// The next read of something, and whether somebody else waits for it already. `read` is called at
    /// once if nobody does; its future has to say by [`Place::leave`] when it is sent.
    pub(super) fn next<F>(&self, key: &K, read: impl FnOnce(Place<K, T>) -> F) -> (Flight<T>, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let known = board.entries.get(key).and_then(|entry| Some((entry.flight.upgrade()?, entry.has_left)));
        let under_way = match known {
            Some((flight, false)) => return (flight, true),
            Some((flight, true)) => Some(flight),
            None => None,
        };
        board.count += 1;
        let number = board.count;
        let place = Place { board: Arc::clone(&self.board), key: key.clone(), number };
        let read = read(place);
        let flight = async move {
            if let Some(under_way) = under_way {
                // Its answer is for others, and so is its failure to come.
                let _ = timeout(PATIENCE, under_way).await;
            }
            read.await
        };
        let flight = flight.boxed().shared();
        if let Some(flight) = flight.downgrade() {
            board.entries.insert(key.clone(), Entry { number, flight, has_left: false });
        }
        (flight, false)
    }
}

impl<K: Eq + Hash, T: Clone> Place<K, T> {
    /// From now on whoever asks waits for the next one.
    pub(super) fn leave(&self) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = board.entries.get_mut(&self.key).filter(|entry| entry.number == self.number) {
            entry.has_left = true;
        }
    }
}

impl<K: Eq + Hash, T: Clone> Drop for Place<K, T> {
    fn drop(&mut self) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        if board.entries.get(&self.key).is_some_and(|entry| entry.number == self.number) {
            board.entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::time::sleep;

    use super::*;

    /// Reads that take a second, the answer being the number of the read.
    struct Reads {
        flights: Flights<&'static str, usize>,
        sent: Arc<AtomicUsize>,
        takes: Duration,
    }

    impl Reads {
        fn new(takes: Duration) -> Self {
            Self { flights: Flights::new(), sent: Arc::default(), takes }
        }

        fn next(&self, key: &'static str) -> (Flight<usize>, bool) {
            let (sent, takes) = (Arc::clone(&self.sent), self.takes);
            self.flights.next(&key, |place| async move {
                place.leave();
                let number = sent.fetch_add(1, Ordering::Relaxed) + 1;
                sleep(takes).await;
                number
            })
        }

        fn sent(&self) -> usize {
            self.sent.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_at_once_are_two_reads() {
        let reads = Reads::new(Duration::from_millis(10));
        let (first, _) = reads.next("a");
        let first = tokio::spawn(first);
        tokio::task::yield_now().await;
        assert_eq!(reads.sent(), 1);
        let others: Vec<_> = (0..1_000).map(|_| reads.next("a")).collect();
        assert_eq!(others.iter().filter(|(_, shared)| *shared).count(), 999);
        let answers = join_all(others.into_iter().map(|(flight, _)| flight)).await;
        // What began before they asked is for the first alone.
        assert_eq!((first.await.unwrap(), reads.sent()), (1, 2));
        assert!(answers.iter().all(|answer| *answer == 2));
        assert!(reads.flights.board.lock().unwrap().entries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_holds_up_nobody_for_long() {
        let reads = Reads::new(Duration::from_secs(3_600));
        let hanging = tokio::spawn(reads.next("a").0);
        tokio::task::yield_now().await;
        let (next, _) = reads.next("a");
        let _ = timeout(PATIENCE * 2, next).await;
        assert_eq!(reads.sent(), 2);
        hanging.abort();
    }

    #[tokio::test]
    async fn different_things_are_read_at_once_and_nothing_is_left_of_what_nobody_waits_for() {
        let reads = Reads::new(Duration::from_secs(3_600));
        let (a, b) = (tokio::spawn(reads.next("a").0), tokio::spawn(reads.next("b").0));
        tokio::task::yield_now().await;
        assert_eq!(reads.sent(), 2);
        a.abort();
        b.abort();
        let _ = (a.await, b.await);
        assert!(reads.flights.board.lock().unwrap().entries.is_empty());
    }
}
