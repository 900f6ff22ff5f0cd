//! The audit log on real files, file systems and pipes, and in processes that are killed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

#[path = "audit_log/command.rs"]
mod command;
#[path = "audit_log/processes.rs"]
mod processes;
#[path = "support/small_disk.rs"]
mod small_disk;
#[path = "audit_log/support.rs"]
mod support;

use std::fs;
use std::future::Future;
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use plimsoll::audit::{AuditError, AuditLog, Decision, Health, Level, Record, Rotation, Settings};

use small_disk::SmallDisk;
use support::{Found, later, open, record, settings, write, write_at_once};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_writers_write_a_thousand_whole_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let log = open(&path);
    let uids = write_at_once(&log, 1000).await;

    let found = Found::in_file(&path);
    assert_eq!((found.uids.len(), found.broken), (1000, 0));
    found.assert_each_once(&uids);
    assert!(log.healthy());
    assert_eq!((log.counts().written, log.counts().errors), (1000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_load_loses_and_splits_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let rotation = Rotation { max_bytes: 10_000, keep: 1000 };
    let log = AuditLog::open(Settings { rotation, ..settings(&path) }).unwrap();
    let uids = write_at_once(&log, 2000).await;

    let found = Found::in_all_files(&path);
    assert_eq!((found.uids.len(), found.broken), (2000, 0));
    found.assert_each_once(&uids);
    let sizes: Vec<u64> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len() as u64, log.counts().rotations + 1);
    assert!(sizes.len() > 50);
    assert!(sizes.iter().all(|size| *size <= 10_000));
}

#[tokio::test]
async fn only_what_the_level_wants_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let log = AuditLog::open(Settings { level: Level::Denials, ..settings(&path) }).unwrap();
    let allowed = Record { decision: Decision::Allowed, ..record("allowed") };
    log.write(&allowed, later()).await.unwrap();
    write(&log, "denied").await.unwrap();
    let found = Found::in_file(&path);
    assert_eq!(found.uids.keys().collect::<Vec<_>>(), ["denied"]);
}

#[tokio::test]
async fn the_line_of_a_cancelled_waiter_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let log = open(&path);
    let cancelled = record("cancelled");
    {
        let mut waiting = std::pin::pin!(log.write(&cancelled, later()));
        // Polled once, so that it is queued, then dropped.
        let _ = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    write(&log, "after").await.unwrap();
    Found::in_file(&path).assert_each_once(&["cancelled".to_owned(), "after".to_owned()]);
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_refuses_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let log = open(&path);
    let records: Vec<_> = (0..500).map(|number| record(format!("uid-{number}"))).collect();
    for record in &records {
        let mut waiting = std::pin::pin!(log.write(record, later()));
        let _ = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    log.flush_and_close(later()).await.unwrap();
    Found::in_file(&path).assert_each_once(records.iter().map(|record| &record.uid));

    assert!(matches!(write(&log, "late").await, Err(AuditError::Closed)));
    assert!(matches!(log.health(), Health::Closed));
    log.flush_and_close(later()).await.unwrap();
}

#[tokio::test]
async fn a_deleted_file_is_created_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let log = open(&path);
    write(&log, "before").await.unwrap();
    fs::remove_file(&path).unwrap();
    write(&log, "after").await.unwrap();
    Found::in_file(&path).assert_each_once(&["after".to_owned()]);

    // With the directory gone there is nowhere to write, and that is said.
    fs::remove_dir_all(directory.path()).unwrap();
    assert!(matches!(write(&log, "lost").await, Err(AuditError::Write { .. })));
    assert!(matches!(log.health(), Health::Failing(_)));
    fs::create_dir(directory.path()).unwrap();
    write(&log, "back").await.unwrap();
    assert!(log.healthy());
    Found::in_file(&path).assert_each_once(&["back".to_owned()]);
    assert_eq!((log.counts().written, log.counts().errors), (3, 1));
}

#[tokio::test]
async fn reopening_leaves_a_renamed_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let renamed = directory.path().join("renamed");
    let seldom = Settings { check_every: Duration::from_secs(3600), ..settings(&path) };
    let log = AuditLog::open(seldom).unwrap();
    write(&log, "one").await.unwrap();
    fs::rename(&path, &renamed).unwrap();
    write(&log, "two").await.unwrap();
    assert!(!path.exists());
    log.reopen();
    write(&log, "three").await.unwrap();
    Found::in_file(&renamed).assert_each_once(&["one".to_owned(), "two".to_owned()]);
    Found::in_file(&path).assert_each_once(&["three".to_owned()]);
}

#[tokio::test]
async fn a_device_that_is_full_is_an_error_until_it_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    // The failure alone makes it open the path again.
    let seldom = Settings { check_every: Duration::from_secs(3600), ..settings(&path) };
    let log = AuditLog::open(seldom).unwrap();
    for _ in 0..3 {
        let Err(AuditError::Write { source, .. }) = write(&log, "lost").await else {
            panic!("it was written")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        assert!(!log.healthy());
    }
    fs::remove_file(&path).unwrap();
    write(&log, "healed").await.unwrap();
    assert!(log.healthy());
    assert_eq!((log.counts().written, log.counts().errors), (1, 3));
    Found::in_file(&path).assert_each_once(&["healed".to_owned()]);
}

#[test]
fn a_file_that_cannot_be_opened_fails_the_start() {
    let error = AuditLog::open(settings(Path::new("/nowhere/audit.log"))).unwrap_err();
    assert!(matches!(error, AuditError::Open { .. }));
    assert_eq!(error.to_string(), "failed to open the audit log /nowhere/audit.log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_heals() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let path = disk.path().join("audit.log");
    disk.fill(32 * 1024);
    let log = open(&path);
    let mut written = Vec::new();
    let mut refused = 0;
    for round in 0..100 {
        let batch = (0..16).map(|number| {
            let (log, uid) = (log.clone(), format!("{round}-{number}"));
            tokio::spawn(async move { (write(&log, uid.clone()).await, uid) })
        });
        for task in batch.collect::<Vec<_>>() {
            match task.await.unwrap() {
                (Ok(()), uid) => written.push(uid),
                (Err(AuditError::Write { source, .. }), _) => {
                    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                    refused += 1;
                }
                (Err(error), _) => panic!("{error}"),
            }
        }
    }
    assert!(refused > 0);
    assert!(!log.healthy());
    assert_eq!(log.counts().errors, refused);
    assert!(written.len() > 10);

    disk.clear();
    for uid in ["healed-1", "healed-2"] {
        write(&log, uid).await.unwrap();
        written.push(uid.to_owned());
    }
    assert!(log.healthy());
    let found = Found::in_file(&path);
    found.assert_each_once(&written);
    assert_eq!(found.uids.len(), written.len());
}
