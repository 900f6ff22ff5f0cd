//! Child processes that do not outlive the program that started them.
//!
//! A test can fail, panic, be interrupted or be killed outright, and none of these may leave an
//! etcd behind. No code of ours runs after SIGKILL, so each child runs under a few lines of `sh`
//! whose standard input is a pipe that only this process holds open: when this process is gone,
//! for whatever reason, the kernel closes the pipe, the shell reads its end and kills the child.
//! std opens pipes close-on-exec, so no other child of ours keeps one open by accident.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

/// `$1` takes the child's stderr, `$2` its stdout, the rest is its command line.
///
/// The shell tells the child's pid, then passes on its exit status (128 + n after signal n). The
/// subshell is the watchdog: once the pipe ends it asks politely, and after two seconds kills the
/// whole process group, itself included.
const SUPERVISOR: &str = r#"
log=$1 out=$2
shift 2
exec 3<&0 </dev/null
"$@" 3<&- 2>>"$log" >>"$out" &
child=$!
echo "$child"
exec >/dev/null
(
    while read -r _; do :; done <&3
    kill -TERM "$child"
    tries=20
    while [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1 2>/dev/null 3<&-
    done
    kill -KILL 0
) &
watchdog=$!
exec 3<&-
wait "$child"
status=$?
kill "$watchdog"
wait "$watchdog"
exit "$status"
"#;

/// How often a wait looks again.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Environment for a child that must not talk to a loopback or cluster address through a proxy.
/// Go and libcurl take an empty variable for an absent one.
pub(crate) const NO_PROXY: [(&str, &str); 6] = [
    ("HTTP_PROXY", ""),
    ("HTTPS_PROXY", ""),
    ("ALL_PROXY", ""),
    ("http_proxy", ""),
    ("https_proxy", ""),
    ("all_proxy", ""),
];

/// A running program that ends with this process at the latest, and with this value if not before.
pub(crate) struct Supervised {
    name: String,
    pid: u32,
    log: PathBuf,
    stdout: PathBuf,
    shell: Mutex<Child>,
    /// Held for its closing only: the end of this pipe is what kills the child.
    _lifeline: ChildStdin,
}

impl Supervised {
    /// Starts `program`. Its stderr is appended to `log` and its stdout to `log` with the extension
    /// `out`; its stdin is empty. It gets this process's environment with `envs` set on top.
    pub(crate) fn spawn(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        envs: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh");
        shell.stderr(Stdio::null());
        Self::start(name, shell, program, args, envs, log)
    }

    /// [`Supervised::spawn`] under a `shell` whose stderr is already set.
    pub(super) fn start(
        name: &str,
        mut shell: Command,
        program: &Path,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        envs: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let stdout = log.with_extension("out");
        shell
            .args(["-c", SUPERVISOR, "supervisor"])
            .args([log, &stdout, program])
            .args(args)
            .envs(envs.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C goes to the whole foreground group; the child is to hear of it from us.
            .process_group(0);
        let mut child = shell.spawn().with_context(|| format!("failed to run sh for {name}"))?;
        let lifeline = child.stdin.take().context("the supervisor has no stdin")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("the supervisor has no stdout")?).read_line(&mut line)?;
        let pid = line.trim().parse().with_context(|| format!("failed to start {name}: no pid"))?;
        Ok(Self {
            name: name.to_owned(),
            pid,
            log: log.to_owned(),
            stdout,
            shell: Mutex::new(child),
            _lifeline: lifeline,
        })
    }

    /// The name given to `spawn`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The pid of the program itself, not of its supervisor.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its stderr goes.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    /// Where its stdout goes.
    pub(crate) fn stdout_path(&self) -> &Path {
        &self.stdout
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        read_lossy(&self.log)
    }

    /// What it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// The last lines of stderr, and of stdout if there are any: what an error should quote.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let mut text = String::new();
        for path in [&self.stdout, &self.log] {
            let all = read_lossy(path);
            let skipped = all.lines().count().saturating_sub(lines);
            for line in all.lines().skip(skipped) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }

    /// Sends a signal by name (`"TERM"`, `"HUP"`, `"STOP"`), unless the program has ended.
    pub(crate) fn signal(&self, signal: &str) {
        let mut shell = self.shell();
        // The pid is the program's for as long as its supervisor is there to reap it.
        if let Ok(None) = shell.try_wait() {
            // The shell's own `kill`: not every machine has one as a program.
            let script = r#"kill -s "$1" "$2""#;
            let _ = Command::new("sh")
                .args(["-c", script, "kill", signal, &self.pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// How it ended, if it has: a code of 128 + n stands for signal n.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.shell().try_wait().ok().flatten()
    }

    /// Waits until it has ended, and says how; `None` when it still runs after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.ended();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            thread::sleep(POLL);
        }
    }

    /// TERM, then KILL for one that is still there after `grace`. Returns once it is gone.
    pub(crate) fn stop(&self, grace: Duration) -> Option<ExitStatus> {
        self.signal("TERM");
        // A stopped process does not see TERM until it is continued.
        self.signal("CONT");
        self.wait(grace).or_else(|| {
            self.signal("KILL");
            self.wait(Duration::from_secs(5))
        })
    }

    fn shell(&self) -> MutexGuard<'_, Child> {
        // A panic elsewhere leaves the child as it was.
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(10));
    }
}

/// A TCP port of 127.0.0.1 that nobody listens on now, and that this process was not told before.
/// Another process can still take it first, so whoever listens there has to be ready to try again.
pub(crate) fn free_port() -> u16 {
    static TOLD: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback device has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        if told.insert(port) {
            return port;
        }
    }
}

/// `bytes` random bytes from the system, in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a line to stderr past libtest's capture: a first build takes minutes, and whoever runs
/// `cargo test` should see why.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
