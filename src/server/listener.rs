//! Between axum-server's accept loop and the router: what is decided for each connection.
//!
//! axum-server does what a listener of our own would have to do again: handshakes run in the
//! connection's task and under a timeout, a shutdown lets requests in flight finish up to a
//! deadline, and its hyper builder takes the timer without which hyper has no header timeout. What
//! it lacks fits into its `Accept` trait: a cap on connections, TCP_NODELAY, failed handshakes that
//! can be seen, an age at which connections end. It swallows errors of accept(2) with a pause of 50
//! ms; with connections capped those are rare enough to live with.
//!
//! When as many connections are open as may be, the one that has been idle for the longest goes, see
//! `room`. A connection that finds a request on every other is dropped before its handshake: letting it wait
//! would cost the API server its whole timeout, while a closed connection lets the failure policy decide
//! at once.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderValue, Response, header};
use axum_server::accept::Accept;
use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::Service;
use tracing::debug;

use super::drain::Drain;
use super::room::{Guarded, Place, Room};
use crate::metrics::{Metrics, Shed};

/// Wraps an acceptor (TLS for the webhook, none for the ops port) with the decisions of this
/// module.
#[derive(Clone, Debug)]
pub(super) struct Door<A> {
    inner: A,
    /// The listener's name in metrics and logs.
    name: &'static str,
    /// A place for each connection that may be open.
    room: Room,
    /// How long a connection is kept on average, or `None` for ever.
    age: Option<Duration>,
    drain: Drain,
    metrics: Arc<Metrics>,
}

impl<A> Door<A> {
    pub(super) fn new(
        inner: A,
        name: &'static str,
        connections: usize,
        age: Option<Duration>,
        drain: Drain,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { inner, name, room: Room::new(connections), age, drain, metrics }
    }

    /// Takes a place for a connection, or `None` if none is to be had.
    fn admit(&self) -> Option<Connection> {
        let entered = self.room.enter();
        if entered.as_ref().is_none_or(|(_, somebody_went)| *somebody_went) {
            self.metrics.shed(Shed::Connections);
        }
        let (place, _) = entered?;
        self.metrics.connection_opened(self.name);
        Some(Connection {
            listener: self.name,
            ends: self.age.map(|age| Instant::now() + jittered(age)),
            drain: self.drain.clone(),
            metrics: Arc::clone(&self.metrics),
            place,
        })
    }
}

impl<A, S> Accept<TcpStream, S> for Door<A>
where
    A: Accept<TcpStream, S> + Clone + Send + Sync + 'static,
    A::Future: Send,
    A::Stream: Send,
    A::Service: Send,
    S: Send + 'static,
{
    type Stream = Guarded<A::Stream>;
    type Service = Tracked<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let door = self.clone();
        Box::pin(async move {
            let peer = stream.peer_addr()?;
            let Some(connection) = door.admit() else {
                debug!(listener = door.name, %peer, "connection dropped: as many are open as may be");
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            stream.set_nodelay(true)?;
            let accepted = tokio::select! {
                accepted = door.inner.accept(stream, service) => accepted,
                // Whoever is still shaking hands has sent no request, so nothing is lost by not
                // waiting.
                () = door.drain.closing() => return Err(io::ErrorKind::ConnectionAborted.into()),
                () = connection.place.sent_away() => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            match accepted {
                Ok((stream, service)) => {
                    let stream = connection.place.guard(stream);
                    Ok((stream, Tracked { service, connection: Arc::new(connection) }))
                }
                Err(error) => {
                    door.metrics.handshake_failed();
                    debug!(listener = door.name, %peer, %error, "handshake failed");
                    Err(error)
                }
            }
        })
    }
}

/// One open connection. Dropping it gives its place to another.
#[derive(Debug)]
struct Connection {
    listener: &'static str,
    ends: Option<Instant>,
    drain: Drain,
    metrics: Arc<Metrics>,
    place: Place,
}

impl Connection {
    /// Whether the answer about to be sent should be the connection's last.
    fn is_over(&self) -> bool {
        self.drain.is_draining() || self.ends.is_some_and(|end| Instant::now() >= end)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connection_closed(self.listener);
    }
}

/// A connection's service. It lives as long as the connection and ends it with `Connection: close`,
/// which unlike closing an idle connection can't meet a request that is already on its way.
#[derive(Clone, Debug)]
pub(super) struct Tracked<S> {
    service: S,
    connection: Arc<Connection>,
}

impl<S, R, B> Service<R> for Tracked<S>
where
    S: Service<R, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let answer = self.service.call(request);
        let connection = Arc::clone(&self.connection);
        let in_time = connection.place.set_busy();
        Box::pin(async move {
            let answered = answer.await;
            connection.place.set_idle();
            let mut response = answered?;
            // Asked only now: a shutdown may have begun while the request was judged.
            if connection.is_over() || !in_time {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

/// `age`, give or take a half, so that connections opened together don't end together.
fn jittered(age: Duration) -> Duration {
    // Each RandomState hashes with other keys, which is randomness enough for this.
    let permille = RandomState::new().hash_one(0) % 1001;
    age / 2 + age.mul_f64(permille as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_and_stay_within_half_of_the_mean() {
        let mean = Duration::from_secs(600);
        let ages: Vec<_> = (0..200).map(|_| jittered(mean)).collect();
        assert!(ages.iter().all(|age| (mean / 2..=mean * 3 / 2).contains(age)), "{ages:?}");
        assert!(ages.iter().any(|age| *age < mean) && ages.iter().any(|age| *age > mean), "{ages:?}");
    }
}
