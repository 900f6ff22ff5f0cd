//! The thread that owns the authoritative sink.
//!
//! It takes whatever has queued up while it was writing and hands it to the sink in one write: under
//! load many requests share a system call, without load none waits for company.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::AuditError;
use super::copies::Copies;
use super::sink::Sink;
use super::state::Shared;

/// How many bytes one write takes at most.
const BATCH: usize = 1024 * 1024;

/// How many messages are taken from the queue at once.
const MESSAGES: usize = 4096;

pub(super) enum Message {
    /// Write a line.
    Line(Entry),
    /// Open the file anew, between the lines queued before and those queued after.
    Reopen,
    /// Write what is queued and end. The answer says how to wait for the last copies.
    Close(oneshot::Sender<Option<oneshot::Receiver<()>>>),
}

pub(super) struct Entry {
    pub(super) line: Vec<u8>,
    pub(super) written: oneshot::Sender<Result<(), AuditError>>,
    /// The line's share of the queue, given back when it leaves it.
    pub(super) room: OwnedSemaphorePermit,
}

pub(super) struct Writer {
    pub(super) name: Arc<str>,
    pub(super) sink: Sink,
    pub(super) copies: Option<Copies>,
    pub(super) queue: UnboundedReceiver<Message>,
    pub(super) shared: Arc<Shared>,
}

impl Writer {
    /// Runs until the log is closed or its last handle is gone, and everything queued is written.
    pub(super) fn run(mut self) {
        let mut messages = Vec::new();
        let mut closing = Vec::new();
        while self.queue.blocking_recv_many(&mut messages, MESSAGES) > 0 {
            let mut lines = VecDeque::new();
            for message in messages.drain(..) {
                match message {
                    Message::Line(entry) => lines.push_back(entry),
                    Message::Reopen => {
                        self.commit(std::mem::take(&mut lines));
                        self.reopen();
                    }
                    Message::Close(reply) => {
                        self.queue.close();
                        closing.push(reply);
                    }
                }
            }
            self.commit(lines);
        }
        let mut copies = self.copies.take().map(Copies::finish);
        for reply in closing {
            // Whoever closed the log may have stopped waiting.
            let _ = reply.send(copies.take());
        }
    }

    /// Writes the lines in as few writes as the file's size allows and tells their waiters.
    fn commit(&mut self, mut lines: VecDeque<Entry>) {
        let mut buffer = Vec::new();
        let mut retries = u8::from(self.sink.can_reopen());
        while !lines.is_empty() {
            self.shared.begin();
            let (whole, error) = self.write(&lines, &mut buffer);
            self.shared.end();

            if whole > 0 {
                self.shared.wrote(whole as u64);
            }
            for entry in lines.drain(..whole) {
                self.answer(entry, Ok(()));
            }
            match error {
                None => {}
                // A stale handle is no reason to lose lines that a fresh one may take.
                Some(_) if retries > 0 => retries -= 1,
                Some(source) => return self.fail(lines, source),
            }
        }
    }

    /// Writes from the front of `lines`; returns how many are there as a whole, and what stopped it.
    fn write(&mut self, lines: &VecDeque<Entry>, buffer: &mut Vec<u8>) -> (usize, Option<io::Error>) {
        let first = lines.front().map_or(0, |entry| entry.line.len());
        if let Err(error) = self.sink.prepare(first) {
            return (0, Some(error));
        }
        let room = usize::try_from(self.sink.room()).map_or(BATCH, |room| room.min(BATCH));
        buffer.clear();
        for entry in lines {
            if !buffer.is_empty() && buffer.len() + entry.line.len() > room {
                break;
            }
            buffer.extend_from_slice(&entry.line);
        }
        let (written, error) = self.sink.append(buffer);

        let mut end = 0;
        let whole = lines.iter().take_while(|entry| {
            end += entry.line.len();
            end <= written
        });
        (whole.count(), error)
    }

    fn fail(&mut self, lines: VecDeque<Entry>, source: io::Error) {
        let source = Arc::new(source);
        self.shared.failed(&source, lines.len() as u64);
        for entry in lines {
            let sink = Arc::clone(&self.name);
            self.answer(entry, Err(AuditError::Write { sink, source: Arc::clone(&source) }));
        }
    }

    fn answer(&mut self, entry: Entry, result: Result<(), AuditError>) {
        let Entry { line, written, room } = entry;
        drop(room);
        // A waiter that is gone changes nothing for its line.
        let _ = written.send(result);
        if let Some(copies) = &mut self.copies {
            copies.offer(line);
        }
    }

    fn reopen(&mut self) {
        match self.sink.reopen() {
            Ok(()) => tracing::info!(log = %self.name, "The audit log was opened again."),
            Err(error) => tracing::error!(%error, log = %self.name, "The audit log can't be opened again."),
        }
    }
}
