//! Who has a place: no more connections than may be open, and who has to go when all places are taken.
//!
//! Whoever is idle can be sent away: a connection that shakes hands, that has sent no request or half of
//! one's head, or that waits for the next one. When somebody comes and there is no place, the one that
//! has been idle for the longest goes. So nobody keeps the API server out by holding still, however
//! many connections they open; only one that a request is on keeps its place.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Places for connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The next turn's number.
    next: u64,
    /// Who is idle, by the turn since when.
    idle: BTreeMap<u64, Arc<Exit>>,
}

/// A connection's place. Dropping it gives it to another.
#[derive(Debug)]
pub(super) struct Place {
    room: Room,
    exit: Arc<Exit>,
    /// Since when it is idle, or [`BUSY`]. One that isn't among the idle is another's place already.
    /// Written while the room is locked.
    turn: AtomicU64,
}

/// The turn of a connection that a request is on; no counter gets there.
const BUSY: u64 = u64::MAX;

/// The way out for a connection that has to go.
#[derive(Debug, Default)]
pub(super) struct Exit {
    is_open: AtomicBool,
    waker: AtomicWaker,
}

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: places, next: 0, idle: BTreeMap::new() })))
    }

    /// A place, and whether somebody had to go for it; `None` if a request is on every connection.
    pub(super) fn enter(&self) -> Option<(Place, bool)> {
        let mut state = self.state();
        let leaver = if state.free > 0 {
            state.free -= 1;
            None
        } else {
            Some(state.idle.pop_first()?.1)
        };
        let exit = Arc::new(Exit::default());
        let turn = state.wait(&exit).into();
        drop(state);
        if let Some(leaver) = &leaver {
            leaver.open();
        }
        Some((Place { room: self.clone(), exit, turn }, leaver.is_some()))
    }

    /// Every change is whole, so a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, exit: &Arc<Exit>) -> u64 {
        let turn = self.next;
        self.next += 1;
        self.idle.insert(turn, Arc::clone(exit));
        turn
    }
}

impl Place {
    /// A request has come. Whether it was in time: one that comes too late is still answered, and is its
    /// connection's last.
    pub(super) fn set_busy(&self) -> bool {
        let mut state = self.room.state();
        let in_time = state.idle.remove(&self.turn.load(Relaxed)).is_some();
        if in_time {
            self.turn.store(BUSY, Relaxed);
        } else {
            self.exit.is_open.store(false, Relaxed);
        }
        in_time
    }

    /// Its answer is on the way.
    pub(super) fn set_idle(&self) {
        let mut state = self.room.state();
        if self.turn.load(Relaxed) == BUSY {
            self.turn.store(state.wait(&self.exit), Relaxed);
        }
    }

    /// Waits until the connection has to go.
    pub(super) async fn sent_away(&self) {
        poll_fn(|cx| self.exit.poll(cx)).await;
    }

    /// The connection's stream, which ends when it has to go.
    pub(super) fn guard<S>(&self, stream: S) -> Guarded<S> {
        Guarded { stream, exit: Arc::clone(&self.exit) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.room.state();
        let turn = self.turn.load(Relaxed);
        if turn == BUSY || state.idle.remove(&turn).is_some() {
            state.free += 1;
        }
    }
}

impl Exit {
    fn open(&self) {
        self.is_open.store(true, Release);
        self.waker.wake();
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.is_open.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A stream that ends once nothing is left to read and its connection has to go.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    exit: Arc<Exit>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            return Poll::Ready(read);
        }
        ready!(self.exit.poll(cx));
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(room: &Room) -> (Place, bool) {
        room.enter().unwrap()
    }

    #[test]
    fn who_has_been_idle_for_the_longest_goes() {
        let room = Room::new(2);
        let ((first, _), (second, _)) = (enter(&room), enter(&room));
        assert!(first.set_busy());
        first.set_idle();
        let (third, somebody_went) = enter(&room);
        assert!(somebody_went && second.exit.is_open.load(Relaxed) && !first.exit.is_open.load(Relaxed));
        assert!(first.set_busy() && third.set_busy());
        assert!(room.enter().is_none(), "a request is on both");
        // The place of who had to go is taken already.
        drop(second);
        assert!(room.enter().is_none());
        drop(third);
        let (_, somebody_went) = enter(&room);
        assert!(!somebody_went);
    }

    #[test]
    fn a_request_that_crosses_the_sending_away_is_answered() {
        let room = Room::new(1);
        let (first, _) = enter(&room);
        let (second, somebody_went) = enter(&room);
        assert!(somebody_went);
        assert!(!first.set_busy(), "its answer is the last");
        assert!(!first.exit.is_open.load(Relaxed), "but it comes");
        first.set_idle();
        drop(first);
        assert!(second.set_busy() && room.enter().is_none(), "there is one place");
    }
}
