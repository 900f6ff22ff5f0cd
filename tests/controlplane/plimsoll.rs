//! Plimsoll in front of a control plane: a process of its own outside the cluster, registered by the
//! chart's own webhook configurations.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{ControlPlane, Supervised, free_port, helm};

/// How long it may take until Plimsoll is ready, and until the apiserver calls it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The namespace in which it is tried out whether the apiserver calls.
const PROBE: &str = "plimsoll-probe";

/// A running Plimsoll.
pub(crate) struct Plimsoll {
    /// Its process; dropping it ends it.
    pub(crate) process: Supervised,
    /// Where it records decisions.
    pub(crate) audit_log: PathBuf,
    /// The port that the apiserver calls.
    pub(crate) port: u16,
    ops: u16,
}

impl Plimsoll {
    /// Starts `program`, which takes Plimsoll's arguments, and waits until it is ready.
    pub(crate) fn start(plane: &ControlPlane, program: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let (port, ops) = (free_port(), free_port());
        let audit_log = plane.dir().join(format!("decisions-{port}.jsonl"));
        let (listen, ops_listen) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{ops}"));
        let kubeconfig = plane.direct_kubeconfig();
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path is no UTF-8");
        let (kubeconfig, log) = (text(&kubeconfig)?, text(&audit_log)?);
        let mut args = vec!["serve", "--listen", &listen, "--ops-listen", &ops_listen];
        args.extend(["--kubeconfig", &kubeconfig, "--audit-log", &log, "--drain-seconds", "0"]);
        args.extend(more);
        let process = plane.spawn("plimsoll", program, &args, &[])?;
        let plimsoll = Self { process, audit_log, port, ops };
        plimsoll.wait_until_ready()?;
        Ok(plimsoll)
    }

    /// Registers it with the apiserver, by the chart with these values beside the URL, and waits until
    /// both webhooks are called.
    pub(crate) fn register(
        &self,
        plane: &ControlPlane,
        values: &[&str],
        progress: &dyn Fn(&str),
    ) -> anyhow::Result<()> {
        let url = format!("webhook.url=https://127.0.0.1:{}", self.port);
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/plimsoll");
        let mut template = std::process::Command::new(helm(&progress)?);
        template.args(["template", "plimsoll", chart, "--set", &url]);
        let rendered = template.args(values.iter().flat_map(|value| ["--set", value])).output()?;
        if !rendered.status.success() {
            bail!("helm template failed: {}", String::from_utf8_lossy(&rendered.stderr));
        }
        let run = plane.apply_manifest(&String::from_utf8(rendered.stdout)?);
        if !run.status_ok {
            bail!("failed to register Plimsoll: {run}");
        }
        let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": PROBE, "labels": {"environment": "production"}}});
        plane.apply_manifest(&namespace.to_string());
        let began = Instant::now();
        while !self.is_called(plane) {
            if began.elapsed() > PATIENCE {
                bail!(
                    "the apiserver doesn't call Plimsoll:\n{}\n{}",
                    self.readiness(),
                    self.process.tail(20)
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        plane.ask_cut_off(&["create", "deployment", "probe", "--image=probe", "--replicas=2", "-n", PROBE]);
        Ok(())
    }

    /// Whether what one replica gets is a denial, and what a container lacks is filled in.
    fn is_called(&self, plane: &ControlPlane) -> bool {
        let create = |replicas: &str| {
            let replicas = format!("--replicas={replicas}");
            let create = ["create", "deployment", "probe", "--image=probe", &replicas];
            let args = [&create[..], &["--dry-run=server", "-o", "json", "-n", PROBE]].concat();
            plane.kubectl("admin", &args)
        };
        let (one, two) = (create("1"), create("2"));
        let made: Value = serde_json::from_str(&two.stdout).unwrap_or_default();
        let filled = made.pointer("/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem");
        one.stderr.contains("min-replicas") && filled == Some(&Value::Bool(true))
    }

    /// The lines of its audit log.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit_log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What `/readyz` says.
    pub(crate) fn readiness(&self) -> String {
        self.get("/readyz").unwrap_or_else(|error| error.to_string())
    }

    /// The answer to a GET on the ops port, headers included.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<String> {
        http_get(self.ops, path)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        while !self.readiness().starts_with("HTTP/1.1 200") {
            if self.process.ended().is_some() || began.elapsed() > PATIENCE {
                bail!("Plimsoll is not ready:\n{}\n{}", self.readiness(), self.process.tail(20));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// The answer to a GET on a port of 127.0.0.1, headers included.
pub(crate) fn http_get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
