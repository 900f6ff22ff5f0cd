//! The audit log: one line for every decision, there before its answer.
//!
//! [`AuditLog::write`] returns once write(2) has taken the record's line, so a process that is killed
//! after it loses nothing that a user saw. One thread writes for all requests, many lines at a time.
//!
//! One sink is authoritative: the file if there is one, else standard output. When it fails, writes
//! return errors, [`AuditLog::health`] says so, and every later write tries anew: the log heals by
//! itself. What a request is worth without its record is for `review` to decide.
//!
//! A reader meets at most one broken line where a process was killed or a disk filled up, and skips
//! empty lines: whatever follows half a line starts on a fresh one.

mod copies;
pub mod filter;
mod level;
mod line;
pub mod read;
mod record;
pub mod report;
mod rotate;
mod sink;
mod state;
pub mod summary;
mod writer;

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

pub use self::level::{Level, UnknownLevel};
pub use self::line::MAX_LINE;
pub use self::record::{
    Authorization, Decision, Finding, PatchOperation, Record, Resource, Schema, Truncated, User, Waiver,
    WaiverChange, Workload,
};
pub use self::rotate::Rotation;
pub use self::state::{Counts, Health};
pub use crate::verdict::{Action, Change, State};

use self::copies::Copies;
use self::sink::Sink;
use self::state::Shared;
use self::writer::{Entry, Message, Writer};

/// How long closing waits for standard output's copies once the authoritative log is complete.
const LAST_COPIES: Duration = Duration::from_millis(250);

/// Hears of every record that is to be in the log, before it is. It neither waits nor fails.
pub trait Tap: fmt::Debug + Send + Sync {
    /// One record and its line, without the line's end.
    fn hear(&self, record: &Record, line: &str);
}

/// Where the log goes and what goes into it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The authoritative file; without one it is standard output.
    pub file: Option<PathBuf>,
    /// Which records are written.
    pub level: Level,
    /// How the file is rotated.
    pub rotation: Rotation,
    /// Whether standard output gets a copy of what goes to the file.
    pub copy_to_stdout: bool,
    /// How many bytes may wait to be written before `write` waits itself.
    pub queue_bytes: usize,
    /// Who else hears of the records.
    pub tap: Option<Arc<dyn Tap>>,
    /// How often to look whether the path still names the file that is open.
    pub check_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: None,
            level: Level::default(),
            rotation: Rotation::default(),
            copy_to_stdout: true,
            queue_bytes: 8 * 1024 * 1024,
            tap: None,
            check_every: Duration::from_secs(1),
        }
    }
}

/// Why a record is not in the log, or not known to be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The log could not be opened at the start.
    #[error("failed to open the audit log {sink}")]
    Open {
        /// The file's path, or `stdout`.
        sink: Arc<str>,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The line was not written.
    #[error("failed to write to the audit log {sink}")]
    Write {
        /// The file's path, or `stdout`.
        sink: Arc<str>,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The line was not even queued.
    #[error("the audit log's queue stayed full until the deadline")]
    QueueFull,
    /// The line is queued and will be written if the sink ever takes it.
    #[error("the audit log did not confirm the line before the deadline")]
    Unconfirmed,
    /// The log takes no more lines.
    #[error("the audit log is closed")]
    Closed,
}

/// A handle to the log; clones share it. The log ends when it is closed or the last handle is gone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    level: Level,
    tap: Option<Arc<dyn Tap>>,
    queue: UnboundedSender<Message>,
    /// One permit for each byte that may wait.
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl AuditLog {
    /// Opens the sink and starts its thread.
    pub fn open(settings: Settings) -> Result<Self, AuditError> {
        let name: Arc<str> =
            settings.file.as_ref().map_or_else(|| "stdout".into(), |path| path.display().to_string().into());
        let shared = Arc::new(Shared::new());
        let (queue, messages) = mpsc::unbounded_channel();
        let log = Self {
            level: settings.level,
            tap: settings.tap,
            queue,
            room: Arc::new(Semaphore::new(settings.queue_bytes.clamp(MAX_LINE, Semaphore::MAX_PERMITS))),
            shared: Arc::clone(&shared),
        };
        let start = || -> io::Result<()> {
            let stdout = Sink::stdout(Arc::clone(&shared));
            let (sink, copies) = match settings.file {
                None => (stdout?, None),
                Some(path) => {
                    let sink =
                        Sink::file(path, settings.rotation, settings.check_every, Arc::clone(&shared))?;
                    let stdout =
                        stdout.ok().filter(|stdout| settings.copy_to_stdout && !stdout.is_same_file(&sink));
                    let copies =
                        stdout.map(|stdout| Copies::start(stdout, Arc::clone(&shared))).transpose()?;
                    (sink, copies)
                }
            };
            let writer = Writer { name: Arc::clone(&name), sink, copies, queue: messages, shared };
            thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
            Ok(())
        };
        match start() {
            Ok(()) => Ok(log),
            Err(source) => Err(AuditError::Open { sink: name, source: Arc::new(source) }),
        }
    }

    /// Writes `record` if the level wants it; returns once write(2) has taken its line.
    ///
    /// The wait ends at `deadline`, whatever the sink does. Once the line is queued, which happens
    /// at the first poll while there is room, dropping the future doesn't take it back.
    pub async fn write(&self, record: &Record, deadline: Instant) -> Result<(), AuditError> {
        if !self.level.wants(record) {
            return Ok(());
        }
        let line = record.to_line();
        if let (Some(tap), Ok(line)) = (&self.tap, str::from_utf8(&line)) {
            tap.hear(record, line.trim_end());
        }
        let size = u32::try_from(line.len()).unwrap_or(u32::MAX);
        // Awaiting alone may yield though there is room: tokio makes busy tasks yield now and then.
        let room = match Arc::clone(&self.room).try_acquire_many_owned(size) {
            Ok(room) => room,
            Err(_) => match timeout_at(deadline, Arc::clone(&self.room).acquire_many_owned(size)).await {
                Ok(Ok(room)) => room,
                Ok(Err(_closed)) => return self.miss(AuditError::Closed),
                Err(_elapsed) => return self.miss(AuditError::QueueFull),
            },
        };
        let (written, outcome) = oneshot::channel();
        if self.queue.send(Message::Line(Entry { line, written, room })).is_err() {
            return self.miss(AuditError::Closed);
        }
        match timeout_at(deadline, outcome).await {
            Ok(Ok(result)) => result,
            // The thread is gone, which only a bug in it explains.
            Ok(Err(_gone)) => self.miss(AuditError::Closed),
            Err(_elapsed) => self.miss(AuditError::Unconfirmed),
        }
    }

    fn miss(&self, error: AuditError) -> Result<(), AuditError> {
        self.shared.missed(1);
        Err(error)
    }

    /// Opens the file anew, after it was renamed or deleted. Lines queued before still go to the old one.
    pub fn reopen(&self) {
        // A log that is closed has nothing to open.
        let _ = self.queue.send(Message::Reopen);
    }

    /// Which records are written.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// How the authoritative sink is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.queue.is_closed() { Health::Closed } else { self.shared.health() }
    }

    /// Whether records reach the authoritative sink, as far as is known.
    #[must_use]
    pub fn healthy(&self) -> bool {
        matches!(self.health(), Health::Healthy)
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Takes no more lines, writes those that are queued and ends the thread.
    ///
    /// Past `deadline` it is given up; the thread then ends with the process.
    pub async fn flush_and_close(&self, deadline: Instant) -> Result<(), AuditError> {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).is_err() {
            return Ok(());
        }
        match timeout_at(deadline, closed).await {
            Ok(Ok(Some(copies))) => {
                // They are best effort to the last.
                let _ = timeout_at(deadline.min(Instant::now() + LAST_COPIES), copies).await;
                Ok(())
            }
            Ok(Ok(None)) => Ok(()),
            Ok(Err(_gone)) => Err(AuditError::Closed),
            Err(_elapsed) => Err(AuditError::Unconfirmed),
        }
    }
}

/// Opens the log anew at every SIGHUP, for as long as it is polled.
pub async fn reopen_on_hangup(log: AuditLog) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    while hangups.recv().await.is_some() {
        log.reopen();
    }
    Ok(())
}

/// The name of this replica: the host's, which in a pod is the pod's.
#[must_use]
pub fn default_instance() -> String {
    std::env::var("HOSTNAME")
        .or_else(|_| fs::read_to_string("/proc/sys/kernel/hostname"))
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
