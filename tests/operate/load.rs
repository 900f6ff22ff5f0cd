//! Load: people who apply Deployments, many a second, all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::controlplane::say;
use crate::installation::Installation;

/// How many people apply at a time.
const PEOPLE: usize = 16;

/// Appliers at work. They stop when they are asked for the result.
pub(crate) struct Load {
    runtime: Runtime,
    people: JoinSet<()>,
    stop: Arc<AtomicBool>,
    applied: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    began: Instant,
    fail_open: f64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Applies that were answered as they should be.
    pub(crate) applied: usize,
    /// The answers to the others.
    pub(crate) failures: Vec<String>,
    /// Calls that failed without anybody being told, since their entry says Ignore.
    pub(crate) fail_open: f64,
    /// How many a second.
    pub(crate) rate: f64,
}

impl Load {
    /// Starts to apply Deployments in the namespace, so many a second as far as the machine goes.
    pub(crate) fn start(installation: &Installation, namespace: &str, rate: u32) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let kubeconfig = Kubeconfig::read_from(installation.plane.kubeconfig("admin")).expect("a kubeconfig");
        let (stop, applied) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let mut people = JoinSet::new();
        let client = runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a config");
            kube::Client::try_from(config).expect("a client")
        });
        // Both webhooks are asked all the same, at more requests a second than a small machine can store.
        let dry_runs = std::env::var_os("PLIMSOLL_LOAD_DRY").is_some();
        let pause = Duration::from_secs(1) / rate * u32::try_from(PEOPLE).expect("few");
        for person in 0..PEOPLE {
            let (stop, applied, failures) = (Arc::clone(&stop), Arc::clone(&applied), Arc::clone(&failures));
            let resource = ApiResource {
                group: "apps".to_owned(),
                version: "v1".to_owned(),
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                plural: "deployments".to_owned(),
            };
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            people.spawn_on(
                async move {
                    let mut interval = tokio::time::interval(pause);
                    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    let name = format!("web-{person}");
                    for change in 0.. {
                        interval.tick().await;
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let mut params = PatchParams::apply("load").force();
                        params.dry_run = dry_runs && change > 0;
                        match api.patch(&name, &params, &Patch::Apply(&web(&name, change))).await {
                            Ok(_) => drop(applied.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => failures.lock().await.push(error.to_string()),
                        }
                    }
                },
                runtime.handle(),
            );
        }
        let fail_open = installation.apiserver_metric("apiserver_admission_webhook_fail_open_count");
        Self { runtime, people, stop, applied, failures, began: Instant::now(), fail_open }
    }

    /// How many have been applied so far.
    pub(crate) fn applied(&self) -> usize {
        self.applied.load(Ordering::Relaxed)
    }

    /// How many have failed so far.
    pub(crate) fn failed(&self) -> usize {
        self.runtime.block_on(async { self.failures.lock().await.len() })
    }

    /// Ends it.
    pub(crate) fn stop(mut self, installation: &Installation) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(async { while self.people.join_next().await.is_some() {} });
        let failures = self.runtime.block_on(async { std::mem::take(&mut *self.failures.lock().await) });
        let applied = self.applied.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = applied as f64 / self.began.elapsed().as_secs_f64();
        let fail_open = installation.apiserver_metric("apiserver_admission_webhook_fail_open_count");
        Outcome { applied, failures, fail_open: fail_open - self.fail_open, rate }
    }
}

impl Outcome {
    /// Tells people.
    pub(crate) fn say(&self, what: &str) {
        let Self { applied, failures, fail_open, rate } = self;
        let failed = failures.len();
        say(&format!(
            "{what}: {applied} applies, {rate:.0} a second, {failed} failed, {fail_open} let in unseen"
        ));
    }

    /// Fails if a single call failed, told or untold.
    #[track_caller]
    pub(crate) fn expect_nothing_failed(&self) {
        assert!(self.failures.is_empty() && self.fail_open == 0.0, "{self:?}");
    }
}

/// A Deployment that production allows, with what /mutate fills in left out.
fn web(name: &str, change: u64) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "annotations": {"example.com/change": change.to_string()}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web"}]},
            },
        },
    })
}
