//! A real Kubernetes control plane for end-to-end tests and for the demo: etcd, kube-apiserver and
//! kube-controller-manager on 127.0.0.1, in a temporary directory. There is no kubelet and no
//! scheduler, so Pods are made but stay Pending.
//!
//! Both programs include this file by `#[path = "controlplane/harness.rs"] mod controlplane;`.

#![allow(dead_code, unused_imports, reason = "each program that includes this file uses a part of it")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::panic,
    reason = "a test that cannot get its control plane is to fail loudly"
)]

mod binaries;
mod credentials;
mod kubectl;
mod plimsoll;
mod process;
mod relay;
mod scratch;
mod servers;
mod systems;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use serde_json::json;

use self::credentials::Credentials;
use self::relay::Relay;
pub(crate) use self::{
    binaries::{Binaries, cache_dir, helm, keda_crds, kube_score, report_crds},
    kubectl::{Run, wait_until},
    plimsoll::{Plimsoll, http_get},
    process::{NO_PROXY, Supervised, free_port, say},
    relay::Heard,
    scratch::ScratchDir,
    systems::{Manifest, SYSTEMS, manifests},
    write::{Answer, Target, Write},
};

/// How long a server may take until it is ready. An idle machine needs 3 seconds, a busy one much
/// more, and a server that has ended is noticed at once.
const START: Duration = Duration::from_secs(180);

/// The name of the API server's process and log.
const APISERVER: &str = "kube-apiserver";

/// Keeps a question that a server took before it could answer it from being waited for: the server
/// would let it hang for a minute.
const SOON: &str = "--request-timeout=5s";

/// The audit policy of the plane that tests share: who wrote which workload, and what webhooks said of it.
const WRITES: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [
    {"level": "Metadata", "verbs": ["create", "update", "patch"], "resources": [{"group": "apps", "resources": ["deployments"]}]},
    {"level": "None"}]}"#;

/// What a control plane is to be like.
#[derive(Clone)]
pub(crate) struct Options {
    /// Whether the built-in controllers run. Without them nothing makes ReplicaSets and Pods, and
    /// aggregated roles stay empty, but the plane takes less time and memory.
    pub(crate) controller_manager: bool,
    /// More flags for kube-apiserver; they come last, and the last one counts.
    pub(crate) apiserver_args: Vec<String>,
    /// More flags for kube-controller-manager, likewise.
    pub(crate) controller_manager_args: Vec<String>,
    /// An audit policy; what it records is in [`ControlPlane::audit_log`].
    pub(crate) audit_policy: Option<String>,
    /// Hears of every write once [`ControlPlane::ask_cut_off`] was called, and what it would have come to
    /// where no webhook answers. Without it there is no second API server.
    pub(crate) heard: Option<Heard>,
    /// Hears what is going on when it takes a while: the first build, above all.
    pub(crate) progress: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_manager: true,
            apiserver_args: Vec::new(),
            controller_manager_args: Vec::new(),
            audit_policy: None,
            heard: None,
            progress: say,
        }
    }
}

/// A running control plane. Dropping it ends it; the end of the process, however it comes, does too.
pub(crate) struct ControlPlane {
    // Fields are dropped in this order: who talks to a server goes before the server does.
    controller_manager: Option<Supervised>,
    relay: Option<Relay>,
    cut_off: Option<Supervised>,
    apiserver: Supervised,
    etcd: Supervised,
    etcd_url: String,
    port: u16,
    url: String,
    cut_off_url: String,
    options: Options,
    credentials: Credentials,
    binaries: Binaries,
    scratch: ScratchDir,
}

impl ControlPlane {
    /// Starts a control plane and returns when it is of use. The programs are built if need be.
    pub(crate) fn start(options: Options) -> anyhow::Result<Self> {
        let options = &options;
        let binaries = Binaries::ensure(&options.progress)?;
        let mut attempts = 1..=4;
        loop {
            let result = Self::try_start(options, &binaries);
            // Ports are free when we pick them, and may be somebody else's when a server wants them.
            // Only the server's own words tell that failure from others.
            let clash = |error: &anyhow::Error| format!("{error:#}").contains("address already in use");
            attempts.next();
            if attempts.is_empty() || !result.as_ref().err().is_some_and(clash) {
                return result;
            }
        }
    }

    /// The control plane that all tests of a process share, started by whoever asks first. It is
    /// never dropped; the end of the process ends it. `heard` hears of every write.
    pub(crate) fn shared(heard: Heard) -> &'static Self {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                let audit_policy = Some(WRITES.to_owned());
                Self::start(Options { audit_policy, heard: Some(heard), ..Options::default() })
                    .map_err(|error| format!("{error:#}"))
            })
            .as_ref()
            .unwrap_or_else(|error| panic!("failed to start a control plane: {error}"))
    }

    fn try_start(options: &Options, binaries: &Binaries) -> anyhow::Result<Self> {
        let scratch = ScratchDir::new("plimsoll-plane")?;
        let credentials = Credentials::create(scratch.path())?;
        let etcd_url = format!("http://127.0.0.1:{}", free_port());
        let etcd = servers::etcd(&scratch, &etcd_url, binaries)?;

        let port = free_port();
        let direct = format!("https://127.0.0.1:{port}");
        let apiserver =
            servers::apiserver(APISERVER, &scratch, &credentials, &etcd_url, port, options, binaries)?;
        let port_2 = free_port();
        let cut_off_url = format!("https://127.0.0.1:{port_2}");
        let (mut relay, mut cut_off) = (None, None);
        if let Some(heard) = options.heard {
            let mut flags = options.apiserver_args.clone();
            flags.extend(relay::cut_off(scratch.path())?);
            let options = Options { audit_policy: None, apiserver_args: flags, ..options.clone() };
            let name = "kube-apiserver-cut-off";
            cut_off = Some(servers::apiserver(
                name,
                &scratch,
                &credentials,
                &etcd_url,
                port_2,
                &options,
                binaries,
            )?);
            relay = Some(Relay::start(&credentials, &direct, &cut_off_url, heard)?);
        }
        let url = relay.as_ref().map_or(&*direct, Relay::url).to_owned();
        credentials.write_kubeconfigs(&url, &direct)?;
        let mut plane = Self {
            controller_manager: None,
            relay,
            cut_off,
            apiserver,
            etcd,
            etcd_url,
            port,
            url,
            cut_off_url,
            options: options.clone(),
            credentials,
            binaries: binaries.clone(),
            scratch,
        };
        let ready = ["get", "--raw", "/readyz", SOON];
        plane.wait_for("kube-apiserver to be ready", || plane.kubectl("admin", &ready))?;
        if plane.relay.is_some() {
            plane.wait_for("the other kube-apiserver to be ready", || plane.cut_off(&ready))?;
        }
        plane.bind_developers(options)?;
        if options.controller_manager {
            let manager = servers::controller_manager(&plane.scratch, &plane.credentials, options, binaries)?;
            plane.controller_manager = Some(manager);
            // The first shows that the controllers run. The second is what a role is good for: the
            // rules of `edit` are put together by a controller.
            let account = ["get", "serviceaccount", "default", "-n", "default", SOON];
            plane.wait_for("the default service account", || plane.kubectl("admin", &account))?;
            let edit = ["auth", "can-i", "create", "deployments.apps", "-n", "default", SOON];
            plane.wait_for("the role `edit` to have its rules", || plane.kubectl("alice", &edit))?;
        }
        Ok(plane)
    }

    /// Lets `alice` and `bob` do what a service team may: what the built-in role `edit` says.
    fn bind_developers(&self, options: &Options) -> anyhow::Result<()> {
        // Without controllers `edit` is empty; these are the roles that it is put together from.
        let parts = ["system:aggregate-to-edit", "system:aggregate-to-view"];
        let roles = if options.controller_manager { &["edit"][..] } else { &parts };
        let api_group = "rbac.authorization.k8s.io";
        let bindings: Vec<_> = roles
            .iter()
            .map(|role| {
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": { "name": format!("developers-{}", role.replace(':', "-")) },
                    "roleRef": { "apiGroup": api_group, "kind": "ClusterRole", "name": role },
                    "subjects": [{ "apiGroup": api_group, "kind": "Group", "name": "developers" }],
                })
            })
            .collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": bindings });
        let run = self.apply_manifest(&list.to_string());
        if !run.status_ok {
            bail!("failed to bind the group developers: {run}");
        }
        Ok(())
    }

    /// Asks until the answer is a success, for as long as every server runs.
    fn wait_for(&self, what: &str, ask: impl Fn() -> Run) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let run = ask();
            if run.status_ok {
                return Ok(());
            }
            for server in self.servers() {
                check(server)?;
            }
            if began.elapsed() > START {
                let waited = began.elapsed().as_secs();
                let log = self.controller_manager.as_ref().unwrap_or(&self.apiserver).tail(30);
                bail!(
                    "waited {waited} s for {what}; the last answer was:\n{run}\nand the log ends with:\n{log}"
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The kubeconfig of `admin`, `alice` or `bob`.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.credentials.kubeconfig(user)
    }

    /// The kubeconfig by which the admin reaches the API server itself, relay or not.
    pub(crate) fn direct_kubeconfig(&self) -> PathBuf {
        self.credentials.direct_kubeconfig()
    }

    /// From now on every write is first tried where no webhook answers, and heard of. `probe` is a write
    /// that is refused there as soon as that server has seen the webhooks' registration.
    #[track_caller]
    pub(crate) fn ask_cut_off(&self, probe: &[&str]) {
        let Some(relay) = &self.relay else { return };
        let probe = [probe, &["--dry-run=server"]].concat();
        wait_until("a refusal where no webhook answers", START, || {
            self.cut_off(&probe).stderr.contains("failed calling webhook")
        });
        relay.ask();
    }

    /// kubectl as the admin of the API server that reaches no webhook.
    fn cut_off(&self, args: &[&str]) -> Run {
        let mut command = self.kubectl_command("admin");
        command.args(["--server", &self.cut_off_url]).args(args);
        Run::of(command, "")
    }

    /// What those who hear of writes complained about.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.relay.as_ref().map(Relay::complaints).unwrap_or_default()
    }

    /// The bearer token of `admin`, `alice` or `bob`.
    pub(crate) fn token(&self, user: &str) -> &str {
        self.credentials.token(user)
    }

    /// Where the API server listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority, as a PEM file, that signed the API server's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.credentials.path("ca.crt")
    }

    /// The plane's temporary directory; what is put there goes away with it.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Where the events that `Options::audit_policy` asks for are, one JSON document a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.dir().join("audit.jsonl")
    }

    /// The programs that it runs on.
    pub(crate) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Whether the built-in controllers run.
    pub(crate) fn has_controllers(&self) -> bool {
        self.controller_manager.is_some()
    }

    /// Kills the API server, calls `meanwhile`, and starts it anew where and as it was.
    pub(crate) fn restart_apiserver(&mut self, meanwhile: impl FnOnce()) -> anyhow::Result<()> {
        self.kill_apiserver();
        meanwhile();
        self.start_apiserver()?;
        let ready = ["get", "--raw", "/readyz", SOON];
        self.wait_for("kube-apiserver to be ready again", || self.kubectl("admin", &ready))
    }

    /// Kills the API server.
    pub(crate) fn kill_apiserver(&self) {
        self.apiserver.signal("KILL");
        self.apiserver.wait(START);
    }

    /// Starts a killed API server anew where and as it was, and doesn't wait for it.
    pub(crate) fn start_apiserver(&mut self) -> anyhow::Result<()> {
        let Self { scratch, credentials, etcd_url, port, options, binaries, .. } = &*self;
        self.apiserver =
            servers::apiserver(APISERVER, scratch, credentials, etcd_url, *port, options, binaries)?;
        Ok(())
    }

    /// The API server.
    pub(crate) fn apiserver(&self) -> &Supervised {
        &self.apiserver
    }

    /// The store.
    pub(crate) fn etcd(&self) -> &Supervised {
        &self.etcd
    }

    /// Where the store listens.
    pub(crate) fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    /// The servers: their pids, logs, and what it takes to disturb them.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Supervised> {
        let others = [self.cut_off.as_ref(), self.controller_manager.as_ref()];
        [&self.etcd, &self.apiserver].into_iter().chain(others.into_iter().flatten())
    }

    /// Starts a program (Plimsoll itself, for one) with its log in [`ControlPlane::dir`], which
    /// stays for as long as the program runs.
    pub(crate) fn spawn(
        &self,
        name: &str,
        program: &Path,
        args: &[&str],
        envs: &[(&str, &str)],
    ) -> anyhow::Result<Supervised> {
        self.scratch.spawn(name, program, args, envs)
    }
}

/// Fails with the end of its log if a server has ended.
fn check(server: &Supervised) -> anyhow::Result<()> {
    if let Some(status) = server.ended() {
        bail!("{} ended with {status}; its log ends with:\n{}", server.name(), server.tail(30));
    }
    Ok(())
}
