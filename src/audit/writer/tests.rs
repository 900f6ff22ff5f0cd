use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedSender};

use super::*;
use crate::audit::Rotation;

type Outcome = oneshot::Receiver<Result<(), AuditError>>;

/// A writer that doesn't run yet, so that a test decides what has queued up when it does.
fn writer(path: &Path) -> (Writer, UnboundedSender<Message>) {
    let shared = Arc::new(Shared::new());
    let seldom = Duration::from_secs(3600);
    let sink = Sink::file(path.to_owned(), Rotation::default(), seldom, Arc::clone(&shared)).unwrap();
    let (send, queue) = mpsc::unbounded_channel();
    (Writer { name: "test".into(), sink, copies: None, queue, shared }, send)
}

fn queue(send: &UnboundedSender<Message>, line: &str) -> Outcome {
    let (written, outcome) = oneshot::channel();
    let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    send.send(Message::Line(Entry { line: line.into(), written, room })).unwrap_or_else(|_| panic!("closed"));
    outcome
}

#[test]
fn a_queue_is_written_in_order_and_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (path, renamed) = (directory.path().join("audit.log"), directory.path().join("renamed"));
    let (writer, send) = writer(&path);
    let mut outcomes = vec![queue(&send, "1\n"), queue(&send, "2\n")];
    fs::rename(&path, &renamed).unwrap();
    send.send(Message::Reopen).unwrap_or_else(|_| panic!("closed"));
    outcomes.push(queue(&send, "3\n"));
    let (reply, mut closed) = oneshot::channel();
    send.send(Message::Close(reply)).unwrap_or_else(|_| panic!("closed"));
    // Queued after the end was announced and before it was heard: it counts.
    outcomes.push(queue(&send, "4\n"));

    writer.run();
    assert_eq!(fs::read_to_string(renamed).unwrap(), "1\n2\n");
    assert_eq!(fs::read_to_string(path).unwrap(), "3\n4\n");
    for mut outcome in outcomes {
        outcome.try_recv().unwrap().unwrap();
    }
    assert!(closed.try_recv().unwrap().is_none());
    assert!(send.is_closed());
}

#[test]
fn a_line_that_a_stale_handle_refuses_goes_to_a_fresh_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    symlink("/dev/full", &path).unwrap();
    let (writer, send) = writer(&path);
    fs::remove_file(&path).unwrap();
    let mut outcome = queue(&send, "1\n");
    drop(send);
    let shared = Arc::clone(&writer.shared);
    writer.run();
    outcome.try_recv().unwrap().unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "1\n");
    assert_eq!((shared.counts().written, shared.counts().errors), (1, 0));
}

#[test]
fn every_waiter_of_a_failed_write_hears_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    symlink("/dev/full", &path).unwrap();
    let (writer, send) = writer(&path);
    let outcomes = [queue(&send, "1\n"), queue(&send, "2\n")];
    drop(send);
    let shared = Arc::clone(&writer.shared);
    writer.run();
    for mut outcome in outcomes {
        let Err(AuditError::Write { source, .. }) = outcome.try_recv().unwrap() else { panic!("written") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!((shared.counts().written, shared.counts().errors), (0, 2));
}
