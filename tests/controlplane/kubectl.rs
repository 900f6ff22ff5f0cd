//! What a test does with a control plane, and what a user would type: kubectl, as one of the users.

use std::{
    fmt,
    io::Write,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::{
    ControlPlane,
    process::{NO_PROXY, random_hex},
};

/// How one run of kubectl (or another client) ended.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Whether it exited with 0.
    pub(crate) status_ok: bool,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    /// What it wrote to stderr: errors, and warnings from the API server.
    pub(crate) stderr: String,
}

impl Run {
    /// Runs `command`, feeding it `input`, and waits for it.
    pub(crate) fn of(mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("failed to run {command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let output = thread::scope(|scope| {
            // On a thread of its own: a child that writes much before it reads would block both
            // sides. One that does not read at all is no failure either.
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            child.wait_with_output()
        });
        let output = output.unwrap_or_else(|error| panic!("failed to wait for {command:?}: {error}"));
        Self {
            status_ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its stdout; panics with everything it said, and with `why` it should have worked, if it
    /// failed.
    #[track_caller]
    pub(crate) fn expect_ok(self, why: &str) -> String {
        assert!(self.status_ok, "{why}, but:\n{self}");
        self.stdout
    }

    /// Its stderr; panics with everything it said if it did not fail.
    #[track_caller]
    pub(crate) fn expect_refused(self, why: &str) -> String {
        assert!(!self.status_ok, "{why}, but it succeeded:\n{self}");
        self.stderr
    }

    /// Its stdout as JSON, for `-o json`.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.expect_ok("a command whose JSON is wanted should succeed");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("expected JSON, found {error}:\n{text}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.stdout, self.stderr)
    }
}

impl ControlPlane {
    /// kubectl as `user`, ready to be given arguments: it knows this plane and nothing of what the
    /// environment or the home directory says about others.
    pub(crate) fn kubectl_command(&self, user: &str) -> Command {
        let mut command = Command::new(&self.binaries().kubectl);
        self.point_here(&mut command, user);
        command
    }

    /// Sets up any client of the API server (kubectl, helm, `plimsoll scan`) to be `user` here.
    pub(crate) fn point_here(&self, command: &mut Command, user: &str) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["KUBE", "HELM_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&*name);
            }
        }
        for (name, _) in NO_PROXY {
            command.env_remove(name);
        }
        command
            .env("KUBECONFIG", self.kubeconfig(user))
            // Discovery is cached here and kuberc, Helm's caches and plugins are looked for here.
            .env("HOME", self.dir())
            .env("KUBECACHEDIR", self.dir().join("kubectl-cache"))
            .env("KUBERC", "off")
            // Warnings are yellow on a terminal that says it can.
            .env("TERM", "dumb");
        for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
    }

    /// Runs kubectl as `user`.
    pub(crate) fn kubectl(&self, user: &str, args: &[&str]) -> Run {
        self.kubectl_stdin(user, args, "")
    }

    /// Runs kubectl as `user` with `input` on its stdin, for `-f -`.
    pub(crate) fn kubectl_stdin(&self, user: &str, args: &[&str], input: &str) -> Run {
        let mut command = self.kubectl_command(user);
        command.args(args);
        let run = Run::of(command, input);
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        run
    }

    /// Applies manifests, YAML or JSON, as admin and on the server's side, so that large CRDs (their
    /// text does not fit into an annotation) work too.
    pub(crate) fn apply_manifest(&self, text: &str) -> Run {
        self.kubectl_stdin("admin", &["apply", "--server-side", "--force-conflicts", "-f", "-"], text)
    }

    /// Makes a namespace called `prefix` and something unique, with `labels`, in which pods can be
    /// made right away: its default service account is there.
    #[track_caller]
    pub(crate) fn namespace(&self, prefix: &str, labels: &[(&str, &str)]) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The random part: several test processes may share one plane.
        let random = random_hex(2).expect("the system gives random bytes");
        let name = format!("{prefix}-{random}-{count}");
        let labels: Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        });
        self.kubectl_stdin("admin", &["create", "-f", "-"], &manifest.to_string())
            .expect_ok("admin should be able to create a namespace");
        if self.has_controllers() {
            wait_until(&format!("the default service account of {name}"), Duration::from_secs(20), || {
                self.kubectl("admin", &["get", "serviceaccount", "default", "-n", &name]).status_ok
            });
        } else {
            self.kubectl("admin", &["create", "serviceaccount", "default", "-n", &name])
                .expect_ok("admin should be able to create a service account");
        }
        name
    }
}

/// Asks `done` until it says yes; panics, naming `what` was waited for, if it does not in time.
#[track_caller]
pub(crate) fn wait_until(what: &str, timeout: Duration, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < timeout, "still no {what} after {} s", timeout.as_secs_f32());
        thread::sleep(Duration::from_millis(50));
    }
}
