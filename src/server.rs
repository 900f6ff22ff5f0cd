//! The two listeners: admission reviews over TLS, and what operators ask over plain HTTP.
//!
//! A request meets the modules in this order: `listener` (may this connection be open?), `tls` and
//! `certificate`, `webhook` (path, method, media type), `deadline`, `limits` (size and memory),
//! then the review itself. `drain` is how it all ends. Nothing here knows what is in a review.

mod certificate;
mod deadline;
mod drain;
mod health;
mod limits;
mod listener;
mod ops;
mod room;
mod tls;
mod webhook;

pub use certificate::{
    Authority, AuthorityError, Certificate, CertificateError, CertificateSource, FilesError, GenerateError,
    Generated, Inspection, Issued, PairError, PemError, generate, inspect,
};
pub use drain::Signals;
pub use health::{Condition, Health};
pub use tls::TlsError;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::DefaultAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use self::certificate::Keeper;
use self::drain::{Drain, Stage};
use self::limits::BodyReader;
use self::listener::Door;
use self::webhook::Webhook;
use crate::metrics::Metrics;
use crate::review::Review;

/// Operators, the kubelet and Prometheus together need a handful of connections.
const OPS_CONNECTIONS: usize = 64;
/// Nobody depends on keeping an idle connection to the ops port.
const OPS_IDLE: Duration = Duration::from_secs(30);

/// Where to listen and within which bounds. [`Config::new`] gives the defaults named at each field.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where admission reviews are answered, over TLS.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` are answered, over plain HTTP.
    pub ops_listen: SocketAddr,
    /// A PEM file with the authorities that client certificates must come from. None: clients need
    /// no certificate.
    pub client_ca: Option<PathBuf>,
    /// The largest body, in bytes: 32 MiB. An API server can send 28 MB, so less would be a way
    /// round us.
    pub body_limit: usize,
    /// What all bodies together may take, in bytes: 128 MiB, and beside it the first bytes of each.
    pub bytes_in_flight: usize,
    /// How many of each body's first bytes are not counted: 64 KiB. Few reviews are longer, so whoever
    /// sends many large bodies leaves room for those of others.
    pub first_bytes: usize,
    /// How many reviews may run at once: 256. Those over it are refused at once.
    pub reviews: u32,
    /// How many connections may be open: 1024. For one over it the one goes that has been idle for the
    /// longest; with a request on each it is dropped before its handshake.
    pub connections: usize,
    /// How long a TLS handshake may take: 10 s.
    pub handshake_timeout: Duration,
    /// How long a connection may wait for its next request's headers: 120 s. The API server keeps
    /// idle connections for 90 s and doesn't repeat a POST that meets a closed one, so this has to
    /// be longer.
    pub idle_timeout: Duration,
    /// How long a body may take to arrive: 10 s, and never longer than the request's deadline.
    pub body_timeout: Duration,
    /// How long a connection lasts on average, give or take a half: 10 min. Replicas share no load
    /// otherwise, because an API server goes on using the connections it has.
    pub connection_age: Duration,
    /// How long requests are still served after a shutdown has begun: 10 s, until every API server
    /// and proxy has learned that this endpoint is going.
    pub drain_time: Duration,
    /// How long what is in flight may take after that: 20 s.
    pub drain_deadline: Duration,
    /// How often certificate files are looked at: every 10 s.
    pub certificate_poll: Duration,
}

impl Config {
    /// The defaults for two addresses. Port 0 takes any free one, see [`Server::addresses`].
    pub fn new(listen: SocketAddr, ops_listen: SocketAddr) -> Self {
        Self {
            listen,
            ops_listen,
            client_ca: None,
            body_limit: 32 << 20,
            bytes_in_flight: 128 << 20,
            first_bytes: 64 << 10,
            reviews: 256,
            connections: 1024,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            body_timeout: Duration::from_secs(10),
            connection_age: Duration::from_secs(600),
            drain_time: Duration::from_secs(10),
            drain_deadline: Duration::from_secs(20),
            certificate_poll: Duration::from_secs(10),
        }
    }
}

/// Why there is no server, or no more.
#[derive(Debug, Error)]
pub enum ServerError {
    /// An address can't be listened on.
    #[error("failed to listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A part ended that should run until the shutdown.
    #[error("the server stopped by itself, which is a bug")]
    Stopped,
    /// A second signal came before the shutdown was complete. Requests may have been cut off.
    #[error("aborted by a second {0}")]
    Aborted(&'static str),
}

/// The addresses that a server is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For the API server.
    pub webhook: SocketAddr,
    /// For operators.
    pub ops: SocketAddr,
}

/// A server that holds its addresses but does not accept yet.
pub struct Server {
    config: Config,
    addresses: Addresses,
    webhook_listener: TcpListener,
    ops_listener: TcpListener,
    tls: RustlsConfig,
    webhook: Arc<Webhook>,
    keeper: Keeper,
    health: Health,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Binds both addresses and sets TLS up. Registers the condition `certificate` and the notice
    /// `certificate renewal` with `health`.
    ///
    /// # Errors
    ///
    /// If an address can't be bound or the client authority can't be used.
    pub async fn bind(
        config: Config,
        certificate: Certificate,
        review: Arc<dyn Review>,
        health: Health,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ServerError> {
        let tls = tls::server_config(&certificate, config.client_ca.as_deref())?;
        let (webhook_listener, webhook_address) = listen(config.listen).await?;
        let (ops_listener, ops_address) = listen(config.ops_listen).await?;
        Ok(Self {
            addresses: Addresses { webhook: webhook_address, ops: ops_address },
            webhook_listener,
            ops_listener,
            tls: RustlsConfig::from_config(Arc::new(tls)),
            webhook: Arc::new(Webhook {
                review,
                bodies: BodyReader::new(&config),
                reviews: Arc::new(Semaphore::new(config.reviews as usize)),
                metrics: Arc::clone(&metrics),
            }),
            keeper: Keeper::new(certificate, &health, Arc::clone(&metrics)),
            config,
            health,
            metrics,
        })
    }

    /// Where this server can be reached.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What the webhook port answers with, for a connection of the caller's own: tests need neither a
    /// port nor a handshake for it.
    pub fn router(&self) -> axum::Router {
        webhook::router(Arc::clone(&self.webhook))
    }

    /// Serves until `shutdown` is ready, then drains: not ready at once, everything served for the
    /// drain time with `Connection: close` on each answer, then no new connections, and the end
    /// once every review is done or the drain deadline has passed. Dropping the returned future
    /// stops accepting at once.
    ///
    /// # Errors
    ///
    /// If the server stops before it is asked to.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { config, addresses, webhook_listener, ops_listener, tls, webhook, keeper, health, metrics } =
            self;
        let drain = Drain::new();
        let tls = RustlsAcceptor::new(tls).handshake_timeout(config.handshake_timeout);
        let age = Some(config.connection_age);
        let door = Door::new(tls, "webhook", config.connections, age, drain.clone(), Arc::clone(&metrics));
        let closing = Handle::new();
        let reviews = Arc::clone(&webhook.reviews);

        // Both sets end their tasks when they are dropped.
        let mut webhook_task = JoinSet::new();
        let server = accept_loop(webhook_listener, door, config.idle_timeout).handle(closing.clone());
        webhook_task.spawn(server.serve(webhook::router(webhook).into_make_service()));

        let mut other_tasks = JoinSet::new();
        // Operators ask to the very end, so the ops port has a drain of its own that never begins.
        let door =
            Door::new(DefaultAcceptor, "ops", OPS_CONNECTIONS, None, Drain::new(), Arc::clone(&metrics));
        let server = accept_loop(ops_listener, door, OPS_IDLE);
        let routes = ops::router(health.clone(), metrics);
        other_tasks.spawn(server.serve(routes.into_make_service()));
        other_tasks.spawn(async move {
            keeper.run(config.certificate_poll).await;
            Ok(())
        });
        info!(webhook = %addresses.webhook, ops = %addresses.ops, "serving");

        tokio::select! {
            () = shutdown => {}
            _ = webhook_task.join_next() => return Err(ServerError::Stopped),
            _ = other_tasks.join_next() => return Err(ServerError::Stopped),
        }

        health.set_draining();
        drain.enter(Stage::Draining);
        info!(seconds = config.drain_time.as_secs_f64(), "draining: not ready, still serving");
        sleep(config.drain_time).await;

        drain.enter(Stage::Closing);
        closing.graceful_shutdown(None);
        let finished = async {
            webhook_task.join_next().await;
            // With every permit in hand no review runs, those included whose client has gone.
            let _ = reviews.acquire_many(config.reviews).await;
        };
        if timeout_at(Instant::now() + config.drain_deadline, finished).await.is_err() {
            let unfinished = config.reviews as usize - reviews.available_permits();
            warn!(unfinished, "drain deadline passed, cutting off what is in flight");
            closing.shutdown();
        }
        info!("stopped");
        Ok(())
    }
}

/// Runs `server` until a signal begins its shutdown; a second one aborts it.
///
/// # Errors
///
/// As [`Server::run`], and [`ServerError::Aborted`] after a second signal, on which the process
/// should exit at once.
pub async fn run_until_signalled(server: Server, mut signals: Signals) -> Result<(), ServerError> {
    let (begin, begun) = oneshot::channel();
    let mut begin = Some(begin);
    let mut running = pin!(server.run(async {
        // The sender is kept until it is used, so this can't fail before.
        let _ = begun.await;
    }));
    loop {
        tokio::select! {
            ended = &mut running => return ended,
            signal = signals.next() => match begin.take() {
                Some(begin) => {
                    info!(signal, "shutdown requested; once more to abort");
                    let _ = begin.send(());
                }
                None => return Err(ServerError::Aborted(signal)),
            },
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| ServerError::Bind { address, source })
}

/// An accept loop, ready to serve. hyper runs its header timeout between requests too, so it is
/// what ends idle connections; and without a timer it would not run at all.
fn accept_loop<A>(
    listener: TcpListener,
    door: Door<A>,
    idle_timeout: Duration,
) -> axum_server::Server<SocketAddr, Door<A>> {
    let mut server = axum_server::Server::from_listener(listener).acceptor(door).http1_only();
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(idle_timeout);
    server
}
