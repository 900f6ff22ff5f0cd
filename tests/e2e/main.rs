//! End to end: a real kube-apiserver, etcd and controller manager, kubectl, and Plimsoll's own binary.
//!
//! All tests share one control plane and one Plimsoll; each has a namespace of its own. Whatever they write
//! is first tried where no Plimsoll answers: see `while_down`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "../controlplane/harness.rs"]
mod controlplane;

mod agree;
mod audit;
mod availability;
mod concurrency;
mod doctor;
mod existing;
mod hardening;
mod owned;
mod scan;
mod schedules;
mod stability;
mod systems;
mod waivers;
mod while_down;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use controlplane::{ControlPlane, Plimsoll, say, wait_until};
use serde_json::Value;

/// What waits for a watch to deliver waits this long at most; it takes milliseconds.
const SOON: Duration = Duration::from_secs(30);

/// The shipped policies, and those for namespaces that some tests label.
const POLICIES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/policies"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/policies"),
];

/// The control plane with Plimsoll in front of it.
struct Stage {
    plane: &'static ControlPlane,
    plimsoll: Plimsoll,
}

/// The stage that all tests share.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let plane = ControlPlane::shared(while_down::heard);
        let program = Path::new(env!("CARGO_BIN_EXE_plimsoll"));
        let args = [&["--policies"][..], &POLICIES].concat();
        let plimsoll = Plimsoll::start(plane, program, &args).expect("Plimsoll starts");
        plimsoll.register(plane, &["webhook.pods=true"], &say).expect("the apiserver calls Plimsoll");
        // Its watch has to start when they come.
        assert!(!plane.kubectl("admin", &["get", "crd", "scaledobjects.keda.sh"]).status_ok, "no KEDA yet");
        plane.install_keda().expect("KEDA's CRDs");
        Stage { plane, plimsoll }
    })
}

impl Stage {
    /// A namespace that the shipped policies govern.
    fn production(&self, prefix: &str) -> String {
        let namespace = self.plane.namespace(prefix, &[("environment", "production")]);
        self.wait_until_governed(&namespace);
        namespace
    }

    /// Waits until Plimsoll knows that a namespace is production.
    fn wait_until_governed(&self, namespace: &str) {
        let args = ["create", "deployment", "governed", "--image=x", "--dry-run=server", "-n", namespace];
        wait_until("Plimsoll to know the namespace", SOON, || !self.plane.kubectl("admin", &args).status_ok);
    }

    /// One object as JSON.
    fn get(&self, namespace: &str, kind: &str, name: &str) -> Value {
        self.plane.kubectl("admin", &["get", kind, name, "-n", namespace, "-o", "json"]).json()
    }

    /// Waits until the deployment controller has made a deployment's first ReplicaSet.
    fn wait_for_replica_set(&self, namespace: &str) {
        wait_until("a ReplicaSet", SOON, || self.replica_sets(namespace) > 0);
    }

    /// Waits until the controller has seen the newest spec, and says how many ReplicaSets there are.
    fn settled_replica_sets(&self, namespace: &str, name: &str) -> usize {
        wait_until("the controller to have seen the spec", SOON, || {
            let deployment = self.get(namespace, "deployment", name);
            deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        });
        self.replica_sets(namespace)
    }

    fn replica_sets(&self, namespace: &str) -> usize {
        let list = self.plane.kubectl("admin", &["get", "replicasets", "-n", namespace, "-o", "json"]).json();
        list["items"].as_array().map_or(0, Vec::len)
    }
}

/// A Deployment as JSON, with a spec of one's own laid over.
fn deployment(name: &str, replicas: Option<i64>, image: &str) -> String {
    let mut object = serde_json::json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object.to_string()
}
