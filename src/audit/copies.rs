//! Copies of the lines on standard output while a file is the authoritative log.
//!
//! Best effort on a thread of its own: a reader of standard output that is slow, stuck or gone costs
//! copies, which are counted, and never holds up the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::sink::Sink;
use super::state::Shared;

/// How many bytes may wait for standard output.
const WAITING: usize = 4 * 1024 * 1024;

/// How many bytes one write takes at most.
const BATCH: usize = 256 * 1024;

/// How often dropped copies are logged at most.
const WARN_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Copies {
    lines: Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    done: oneshot::Receiver<()>,
    shared: Arc<Shared>,
    warned: Option<Instant>,
}

impl Copies {
    pub(super) fn start(stdout: Sink, shared: Arc<Shared>) -> io::Result<Self> {
        let (lines, queue) = mpsc::channel();
        let (finished, done) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let copier = Copier { stdout, queue, waiting: Arc::clone(&waiting), shared: Arc::clone(&shared) };
        thread::Builder::new().name("audit-stdout".to_owned()).spawn(move || {
            copier.run();
            // Nobody may be waiting for the end.
            let _ = finished.send(());
        })?;
        Ok(Self { lines, waiting, done, shared, warned: None })
    }

    /// Takes a line, or drops it when too many wait already.
    pub(super) fn offer(&mut self, line: Vec<u8>) {
        let size = line.len();
        if self.waiting.load(Ordering::Relaxed) + size <= WAITING {
            self.waiting.fetch_add(size, Ordering::Relaxed);
            if self.lines.send(line).is_ok() {
                return;
            }
        }
        let dropped = self.shared.copies_dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if self.warned.is_none_or(|warned| warned.elapsed() > WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(dropped, "Standard output is slow; copies of audit records are dropped.");
        }
    }

    /// Lets the thread finish what waits; the receiver hears when it has.
    pub(super) fn finish(self) -> oneshot::Receiver<()> {
        self.done
    }
}

struct Copier {
    stdout: Sink,
    queue: Receiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

impl Copier {
    fn run(mut self) {
        let mut failing = false;
        while let Ok(mut batch) = self.queue.recv() {
            while batch.len() < BATCH
                && let Ok(line) = self.queue.try_recv()
            {
                batch.extend(line);
            }
            let (written, error) = self.stdout.append(&batch);
            self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
            if let Some(error) = error {
                let lost = batch.iter().skip(written).filter(|byte| **byte == b'\n').count();
                self.shared.copies_dropped.fetch_add(lost as u64, Ordering::Relaxed);
                if !failing {
                    tracing::warn!(%error, "Standard output takes no copies of audit records.");
                }
                failing = true;
            } else {
                failing = false;
            }
        }
    }
}
