//! What the tests write, and a reader for what they find.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use plimsoll::audit::{
    Action, AuditError, AuditLog, Decision, Finding, Level, Record, Resource, Schema, Settings, State,
    Truncated, User,
};
use tokio::time::Instant;

/// Far longer than anything takes. No test waits for it to pass.
pub(crate) fn later() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

pub(crate) fn record(uid: impl Into<String>) -> Record {
    Record {
        schema: Schema::V1,
        time: "2026-11-21T10:15:30Z".parse().unwrap(),
        uid: uid.into(),
        decision: Decision::Denied,
        operation: "CREATE".to_owned(),
        dry_run: false,
        user: User { name: "jane".to_owned(), groups: vec!["system:authenticated".to_owned()] },
        resource: Resource {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: Some("imp".to_owned()),
            name: "consumer-customer".to_owned(),
            ..Resource::default()
        },
        workload: None,
        policies: vec!["production".to_owned()],
        findings: vec![Finding {
            rule: "min-replicas".to_owned(),
            action: Action::Deny,
            state: State::New,
            path: "spec.replicas".to_owned(),
            observed: Some("1".to_owned()),
            required: Some("2".to_owned()),
            message: "min-replicas: Deployment imp/consumer-customer has 1 replica".to_owned(),
            waiver: None,
        }],
        waivers: Vec::new(),
        patch: Vec::new(),
        duration_micros: 150,
        instance: "plimsoll-0".to_owned(),
        truncated: Truncated::default(),
        exempt: false,
    }
}

/// A log that writes to `path` alone and looks at every write whether the path still names its file.
pub(crate) fn settings(path: &Path) -> Settings {
    Settings {
        file: Some(path.to_owned()),
        level: Level::All,
        copy_to_stdout: false,
        check_every: Duration::ZERO,
        ..Settings::default()
    }
}

pub(crate) fn open(path: &Path) -> AuditLog {
    AuditLog::open(settings(path)).unwrap()
}

pub(crate) async fn write(log: &AuditLog, uid: impl Into<String>) -> Result<(), AuditError> {
    log.write(&record(uid), later()).await
}

/// What a reader finds in the log and its rotated files: records by uid, and broken lines.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) uids: HashMap<String, usize>,
    pub(crate) broken: usize,
}

impl Found {
    pub(crate) fn in_file(path: &Path) -> Self {
        let mut found = Self::default();
        found.read(&fs::read(path).unwrap());
        found
    }

    pub(crate) fn in_all_files(path: &Path) -> Self {
        let mut found = Self::default();
        for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
            found.read(&fs::read(entry.unwrap().path()).unwrap());
        }
        found
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Record>(line) {
                Ok(record) => *self.uids.entry(record.uid).or_default() += 1,
                Err(_) => self.broken += 1,
            }
        }
    }

    pub(crate) fn assert_each_once<'a>(&self, uids: impl IntoIterator<Item = &'a String>) {
        for uid in uids {
            assert_eq!(self.uids.get(uid), Some(&1), "{uid}");
        }
        assert!(self.uids.values().all(|times| *times == 1));
    }
}

pub(crate) async fn write_at_once(log: &AuditLog, count: usize) -> Vec<String> {
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move {
                let uid = format!("uid-{number}");
                write(&log, uid.clone()).await.map(|()| uid)
            })
        })
        .collect();
    let mut uids = Vec::new();
    for task in tasks {
        uids.push(task.await.unwrap().unwrap());
    }
    uids
}
