//! The installation: objects, replicas, and the Service that leads to them.

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Value, json};

use crate::controlplane::{ControlPlane, Options, Run, Supervised, free_port, helm, say, wait_until};
use crate::{SOON, plimsoll};

pub(crate) const NAMESPACE: &str = "plimsoll-system";
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/plimsoll");

pub(crate) struct Installation {
    pub(crate) plane: ControlPlane,
    pub(crate) replicas: Vec<Replica>,
    /// How many replicas the chart asks for.
    pub(crate) wanted: usize,
    args: Vec<String>,
    kubeconfig: PathBuf,
    address: IpAddr,
    started: u32,
}

pub(crate) struct Replica {
    pub(crate) process: Supervised,
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) ops: u16,
    /// Whether it is an endpoint.
    pub(crate) is_ready: bool,
}

/// The installation, for one test at a time.
pub(crate) fn installation() -> MutexGuard<'static, Installation> {
    static INSTALLATION: OnceLock<Mutex<Installation>> = OnceLock::new();
    let installation = INSTALLATION.get_or_init(|| Mutex::new(Installation::start()));
    // A test that failed before is reported by itself.
    installation.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Installation {
    fn start() -> Self {
        let options = Options {
            // The API server picks one of a Service's endpoints itself, as it does where nodes can't be
            // reached by cluster addresses. There is no kube-proxy here to do it.
            apiserver_args: vec!["--enable-aggregator-routing=true".to_owned()],
            ..Options::default()
        };
        let plane = ControlPlane::start(options).expect("a control plane");
        plane.install_keda().expect("KEDA's CRDs");
        let mut installation = Self::on(plane);
        for _ in 0..installation.wanted {
            installation.add();
        }
        installation.wait_until_ready();
        installation.wait_until_called();
        installation
    }

    /// The chart's objects on a control plane, and no replica yet.
    pub(crate) fn on(plane: ControlPlane) -> Self {
        run_helm(&plane, &["install", "plimsoll", "--create-namespace"]);

        let get = ["get", "deployment", "plimsoll", "-n", NAMESPACE, "-o", "json"];
        let deployment = plane.kubectl("admin", &get).json();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().expect("the container has arguments");
        let args = args.iter().map(|arg| arg.as_str().expect("arguments are text").to_owned()).collect();
        let kubeconfig = account(&plane, "plimsoll");
        let wanted = deployment["spec"]["replicas"].as_u64().expect("a count");
        let wanted = usize::try_from(wanted).expect("a small count");
        Self { plane, replicas: Vec::new(), wanted, args, kubeconfig, address: address(), started: 0 }
    }

    /// helm, with the chart and its namespace.
    pub(crate) fn helm(&self, args: &[&str]) {
        run_helm(&self.plane, args);
    }

    /// Ends every replica.
    pub(crate) fn stop_all(&mut self) {
        for index in 0..self.replicas.len() {
            self.set_endpoint(index, false);
        }
        for replica in &self.replicas {
            replica.process.signal("KILL");
        }
        self.replicas.clear();
    }

    /// Starts another replica; it is not an endpoint yet.
    pub(crate) fn add(&mut self) {
        let kubeconfig = self.kubeconfig.clone();
        self.add_with(&kubeconfig, |_| Vec::new(), &[]);
    }

    /// The same, with another kubeconfig, more arguments by its name, and more in its environment.
    pub(crate) fn add_with(
        &mut self,
        kubeconfig: &Path,
        more: impl FnOnce(&str) -> Vec<String>,
        envs: &[(&str, &str)],
    ) {
        self.started += 1;
        let (name, port, ops) = (format!("plimsoll-{}", self.started), free_port(), free_port());
        // In a cluster each pod has an address of its own; here they share one.
        let (listen, ops_listen) = (format!("{}:{port}", self.address), format!("127.0.0.1:{ops}"));
        let mut args: Vec<&str> = Vec::new();
        for arg in &self.args {
            args.push(match arg.as_str() {
                "0.0.0.0:8443" => &listen,
                "0.0.0.0:8080" => &ops_listen,
                other => other,
            });
        }
        args.extend(["--kubeconfig", kubeconfig.to_str().expect("a path in UTF-8")]);
        let more = more(&name);
        args.extend(more.iter().map(String::as_str));
        let process = self.plane.spawn(&name, plimsoll(), &args, envs).expect("a replica");
        self.replicas.push(Replica { process, name, port, ops, is_ready: false });
    }

    /// Does what the kubelets and the endpoint controller do: asks every replica whether it is ready,
    /// and writes it into the Service's endpoints.
    pub(crate) fn probe(&mut self) {
        for index in 0..self.replicas.len() {
            let is_ready = self.replicas[index].get("/readyz").starts_with("HTTP/1.1 200");
            if is_ready != self.replicas[index].is_ready {
                self.set_endpoint(index, is_ready);
            }
        }
    }

    /// Writes one replica's endpoint. Each has a slice of its own, since a slice has but one port.
    pub(crate) fn set_endpoint(&mut self, index: usize, is_ready: bool) {
        self.replicas[index].is_ready = is_ready;
        let slice = self.endpoint(&self.replicas[index].name, self.replicas[index].port, is_ready);
        self.plane.apply_manifest(&slice.to_string()).expect_ok("an endpoint should be written");
    }

    /// The EndpointSlice of one replica.
    pub(crate) fn endpoint(&self, name: &str, port: u16, is_ready: bool) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {
                    "kubernetes.io/service-name": "plimsoll",
                    "endpointslice.kubernetes.io/managed-by": "plimsoll-tests",
                },
            },
            "addressType": "IPv4",
            "ports": [{"name": "webhook", "port": port, "protocol": "TCP"}],
            "endpoints": if is_ready { json!([{"addresses": [self.address.to_string()]}]) } else { json!([]) },
        })
    }

    /// Waits until every replica is ready and an endpoint.
    pub(crate) fn wait_until_ready(&mut self) {
        wait_until("all replicas ready", SOON, || {
            for replica in &self.replicas {
                assert!(replica.process.ended().is_none(), "a replica ended: {}", replica.process.tail(20));
            }
            self.probe();
            self.replicas.iter().all(|replica| replica.is_ready)
        });
    }

    /// Waits until the API server calls, for the namespaces that it should call for.
    pub(crate) fn wait_until_called(&self) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "probe", "labels": {"environment": "production"}}});
        self.plane.apply_manifest(&namespace.to_string());
        self.wait_until_governed("probe");
    }

    /// Creates (without storing) a Deployment that production doesn't allow.
    pub(crate) fn create_one(&self, namespace: &str) -> Run {
        let create = ["create", "deployment", "one", "--image=probe", "--replicas=1"];
        self.plane.kubectl("admin", &[&create[..], &["--dry-run=server", "-n", namespace]].concat())
    }

    /// Ends the first replica as the kubelet does: no endpoint any more, and SIGTERM at the same time.
    pub(crate) fn terminate_oldest(&mut self) -> Replica {
        self.set_endpoint(0, false);
        let replica = self.replicas.remove(0);
        replica.process.signal("TERM");
        replica
    }

    /// One object as JSON.
    pub(crate) fn get(&self, namespace: &str, kind: &str, name: &str) -> Value {
        self.plane.kubectl("admin", &["get", kind, name, "-n", namespace, "-o", "json"]).json()
    }

    /// One object of its own.
    pub(crate) fn own(&self, kind: &str, name: &str) -> Value {
        self.get(NAMESPACE, kind, name)
    }

    /// A namespace that the shipped policies govern.
    pub(crate) fn production(&self, prefix: &str) -> String {
        let namespace = self.plane.namespace(prefix, &[("environment", "production")]);
        self.wait_until_governed(&namespace);
        namespace
    }

    /// Waits until the replicas know that a namespace is production.
    pub(crate) fn wait_until_governed(&self, namespace: &str) {
        wait_until("a denial", SOON, || self.create_one(namespace).stderr.contains("min-replicas"));
    }

    /// One number of the API server's metrics, summed over its labels.
    pub(crate) fn apiserver_metric(&self, name: &str) -> f64 {
        let metrics = self.plane.kubectl("admin", &["get", "--raw", "/metrics"]).expect_ok("metrics");
        let lines = metrics.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Replica {
    /// The answer to a GET on the ops port, or why there is none.
    pub(crate) fn get(&self, path: &str) -> String {
        crate::controlplane::http_get(self.ops, path).unwrap_or_else(|error| error.to_string())
    }
}

fn run_helm(plane: &ControlPlane, args: &[&str]) {
    let mut command = Command::new(helm(&say).expect("helm"));
    plane.point_here(&mut command, "admin");
    command.args(args).args([CHART, "--namespace", NAMESPACE]);
    Run::of(command, "").expect_ok("helm should do it");
}

/// A kubeconfig with the token of a service account of the chart's.
pub(crate) fn account(plane: &ControlPlane, name: &str) -> PathBuf {
    account_by(plane, name, plane.url(), name)
}

/// The same, with the API server reached elsewhere, in a file of another name.
pub(crate) fn account_by(plane: &ControlPlane, name: &str, server: &str, file: &str) -> PathBuf {
    let token = plane.kubectl("admin", &["create", "token", name, "-n", NAMESPACE]).expect_ok("a token");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "plane", "cluster": {"server": server, "certificate-authority": plane.ca()}}],
        "users": [{"name": name, "user": {"token": token.trim()}}],
        "contexts": [{"name": name, "context": {"cluster": "plane", "user": name}}],
        "current-context": name,
    });
    let path = plane.dir().join(format!("{file}.account.kubeconfig"));
    std::fs::write(&path, config.to_string()).expect("a kubeconfig is written");
    path
}

/// An address of this machine that an endpoint may have: the API server refuses loopback addresses.
fn address() -> IpAddr {
    // Where that is allowed the loopback device gets one, from the range for benchmarks (RFC 2544).
    let own = IpAddr::from([198, 18, 71, 1]);
    let _ = Command::new("ip").args(["addr", "add", "198.18.71.1/32", "dev", "lo"]).output();
    if UdpSocket::bind((own, 0)).is_ok() {
        return own;
    }
    // Nothing is sent: connecting a UDP socket only looks up the route.
    let route = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    route().expect("an address of this machine").ip()
}
