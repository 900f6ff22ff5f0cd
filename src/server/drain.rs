//! The way from serving to gone, and the signals that start it.
//!
//! The API server keeps its connections to a terminating pod and never repeats a POST whose
//! connection was closed under it. So a shutdown begins with a time in which everything is served
//! as before, but each answer ends its connection; only then are new connections refused and what
//! is in flight awaited.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    /// Requests are served and connections kept.
    Serving,
    /// Requests are served, and each answer ends its connection.
    Draining,
    /// New connections are refused; what is in flight is finished.
    Closing,
}

/// Tells every connection about the stage. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Drain(watch::Sender<Stage>);

impl Drain {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Stage::Serving))
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.0.send_replace(stage);
    }

    /// Whether an answer given now should end its connection.
    pub(super) fn is_draining(&self) -> bool {
        *self.0.borrow() >= Stage::Draining
    }

    /// Returns once new connections are refused.
    pub(super) async fn closing(&self) {
        // This handle keeps the sender alive, so waiting can't fail.
        let _ = self.0.subscribe().wait_for(|stage| *stage >= Stage::Closing).await;
    }
}

/// The signals that ask the process to end: SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens for the signals; from here on they don't end the process by themselves. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// If the operating system refuses the handlers.
    pub fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
