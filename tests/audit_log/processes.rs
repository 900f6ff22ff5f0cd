//! Tests with a process of their own: killed, stuck, hung up on.
//!
//! They run this test binary again with a role in its environment; [`child_process`] is where such a
//! process starts.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use plimsoll::audit::{AuditError, AuditLog, Health, Rotation, Settings, reopen_on_hangup};
use tokio::time::Instant;

use crate::support::{Found, later, record, settings, write, write_at_once};

const ROLE: &str = "PLIMSOLL_AUDIT_TEST_ROLE";
const FILE: &str = "PLIMSOLL_AUDIT_TEST_FILE";

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    fn start(role: &str, file: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["processes::child_process", "--exact", "--nocapture", "--quiet"]).env(ROLE, role);
        if let Some(file) = file {
            command.env(FILE, file);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        Self { child, stdin }
    }

    /// The lines of standard output that the child wrote itself, the test harness' left out.
    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        lines(self.child.stdout.take().unwrap())
    }

    fn errors(&mut self) -> impl Iterator<Item = String> + use<> {
        lines(self.child.stderr.take().unwrap())
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn end(mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.child.wait().unwrap()
    }
}

fn lines(from: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(from)
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.starts_with('{') || line.starts_with("child: "))
        .map(|line| line.strip_prefix("child: ").map(str::to_owned).unwrap_or(line))
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    const ROUNDS: usize = 10;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut acknowledged = Vec::new();
    let mut broken = 0;
    for round in 0..ROUNDS {
        let mut process = Process::start("write-until-killed", Some(&path));
        let mut lines = process.lines();
        let moment = 1 + RandomState::new().hash_one(round) as usize % 3000;
        acknowledged.extend(lines.by_ref().take(moment));
        process.child.kill().unwrap();
        acknowledged.extend(lines);
        process.end();

        let found = Found::in_all_files(&path);
        found.assert_each_once(&acknowledged);
        assert!(found.broken <= broken + 1, "a kill tears one line at most");
        broken = found.broken;
    }
    assert!(acknowledged.len() >= ROUNDS);
}

#[test]
fn standard_output_is_the_log_when_there_is_no_file() {
    let mut process = Process::start("write-to-stdout", None);
    let mut found = Found::default();
    process.lines().for_each(|line| found.read(line.as_bytes()));
    assert_eq!((found.uids.len(), found.broken), (100, 0));
    assert!(process.end().success());
}

#[test]
fn a_reader_that_is_gone_is_an_error() {
    let mut process = Process::start("write-until-refused", None);
    let mut errors = process.errors();
    // The harness has had its say by then.
    assert_eq!(errors.next().unwrap(), "started");
    drop(process.child.stdout.take());
    assert_eq!(errors.collect::<Vec<_>>(), ["refused: BrokenPipe, healthy: false"]);
    assert!(process.end().success());
}

#[test]
fn a_reader_that_is_stuck_is_an_error_and_heals() {
    let mut process = Process::start("write-until-stalled", None);
    let mut errors = process.errors();
    assert_eq!(errors.next().unwrap(), "stalled");
    // Only now somebody reads.
    let mut found = Found::default();
    process.lines().for_each(|line| found.read(line.as_bytes()));
    assert_eq!(errors.collect::<Vec<_>>(), ["healed"]);
    assert!(process.end().success());
    assert_eq!(found.uids.get("last"), Some(&1));
    assert_eq!(found.broken, 0);
}

#[test]
fn closing_gives_up_at_its_deadline() {
    // Nobody reads standard output.
    assert!(Process::start("close-while-stalled", None).end().success());
}

#[test]
fn copies_for_standard_output_never_hold_up_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut process = Process::start("write-with-stuck-copies", Some(&path));
    // Nobody reads standard output.
    let errors: Vec<_> = process.errors().collect();
    assert_eq!(errors, ["written: 200, copies dropped: true"]);
    assert!(process.end().success());
    assert_eq!(Found::in_file(&path).uids.len(), 200);
}

#[test]
fn standard_output_gets_a_copy_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut process = Process::start("write-with-copies", Some(&path));
    let copies: Vec<_> = process.lines().take(100).collect();
    assert!(process.end().success());
    let file = fs::read_to_string(&path).unwrap();
    assert_eq!(file.lines().collect::<Vec<_>>(), copies);
}

#[test]
fn a_hangup_opens_the_file_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut process = Process::start("write-on-demand", Some(&path));
    let mut lines = process.lines();
    let mut write = |process: &mut Process, uid: &str| {
        process.say(uid);
        assert_eq!(lines.next().unwrap(), "written");
    };
    write(&mut process, "one");
    fs::rename(&path, directory.path().join("renamed")).unwrap();
    write(&mut process, "two");
    assert!(!path.exists());

    let hangup = Command::new("kill").args(["-s", "HUP", &process.child.id().to_string()]).status();
    assert!(hangup.unwrap().success());
    let mut count = 0;
    while !path.exists() {
        write(&mut process, &format!("uid-{count}"));
        count += 1;
    }
    assert!(process.end().success());
    let found = Found::in_all_files(&path);
    assert_eq!((found.uids.len(), found.broken), (count + 2, 0));
}

/// Where a process with a role starts; without one there is nothing to test.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let file = std::env::var_os(FILE).map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match (role.as_str(), file) {
            ("write-until-killed", Some(file)) => write_until_killed(&file).await,
            ("write-to-stdout", None) => {
                let log = AuditLog::open(Settings::default()).unwrap();
                write_at_once(&log, 100).await;
            }
            ("write-until-refused", None) => write_until_refused().await,
            ("write-until-stalled", None) => write_until_stalled().await,
            ("close-while-stalled", None) => close_while_stalled().await,
            ("write-with-stuck-copies", Some(file)) => write_with_stuck_copies(file).await,
            ("write-with-copies", Some(file)) => {
                let log = AuditLog::open(Settings { file: Some(file), ..Settings::default() }).unwrap();
                write_at_once(&log, 100).await;
                // The parent closes standard input once it has read the copies.
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            }
            ("write-on-demand", Some(file)) => write_on_demand(&file).await,
            (role, file) => panic!("no such role: {role} with {file:?}"),
        }
    });
    // A stuck writer must not keep the process, nor the harness add to what was written.
    std::process::exit(0);
}

async fn write_until_killed(file: &Path) {
    // Small enough that kills come in the middle of rotations too.
    let rotation = Rotation { max_bytes: 100_000, keep: 1000 };
    let log = AuditLog::open(Settings { rotation, ..settings(file) }).unwrap();
    let process = std::process::id();
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let uid = format!("{process}-{task}-{number}");
                    write(&log, uid.clone()).await.unwrap();
                    println!("child: {uid}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn write_until_refused() {
    eprintln!("child: started");
    let log = AuditLog::open(Settings::default()).unwrap();
    loop {
        if let Err(AuditError::Write { source, .. }) = write(&log, "uid").await {
            eprintln!("child: refused: {:?}, healthy: {}", source.kind(), log.healthy());
            return;
        }
    }
}

/// Writes while nobody reads, until the log says that it is stalled and its queue is full.
async fn stalled() -> AuditLog {
    let log = AuditLog::open(Settings { queue_bytes: 0, ..Settings::default() }).unwrap();
    let mut full = false;
    let mut number = 0;
    while !full || !matches!(log.health(), Health::Stalled) {
        let soon = Instant::now() + Duration::from_millis(10);
        number += 1;
        match log.write(&record(format!("uid-{number}")), soon).await {
            Ok(()) | Err(AuditError::Unconfirmed) => {}
            Err(AuditError::QueueFull) => full = true,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(log.counts().errors > 0);
    log
}

async fn write_until_stalled() {
    let log = stalled().await;
    eprintln!("child: stalled");
    log.write(&record("last"), later()).await.unwrap();
    assert!(log.healthy());
    eprintln!("child: healed");
}

async fn close_while_stalled() {
    let log = stalled().await;
    let soon = Instant::now() + Duration::from_millis(10);
    assert!(matches!(log.flush_and_close(soon).await, Err(AuditError::Unconfirmed)));
}

async fn write_with_stuck_copies(file: PathBuf) {
    let log = AuditLog::open(Settings { file: Some(file), ..Settings::default() }).unwrap();
    let mut written = 0;
    for number in 0..200 {
        let mut record = record(format!("uid-{number}"));
        record.findings[0].message = "m".repeat(2000);
        record.findings = vec![record.findings[0].clone(); 30];
        log.write(&record, later()).await.unwrap();
        written += 1;
    }
    log.flush_and_close(later()).await.unwrap();
    eprintln!("child: written: {written}, copies dropped: {}", log.counts().copies_dropped > 0);
}

async fn write_on_demand(file: &Path) {
    // Nothing but the hangup makes it look at the path.
    let rotation = Rotation { max_bytes: 0, keep: 0 };
    let seldom = Duration::from_secs(3600);
    let log = AuditLog::open(Settings { rotation, check_every: seldom, ..settings(file) }).unwrap();
    let mut hangups = std::pin::pin!(reopen_on_hangup(log.clone()));
    let (send, mut demands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    loop {
        tokio::select! {
            biased;
            ended = &mut hangups => panic!("{ended:?}"),
            demand = demands.recv() => {
                let Some(uid) = demand else { return };
                write(&log, uid).await.unwrap();
                println!("child: written");
            }
        }
    }
}
