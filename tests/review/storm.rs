//! A storm of denials is no storm of reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use futures::future::join_all;
use plimsoll::cluster::{Cluster, LiveReads};
use plimsoll::metrics::Metrics;
use plimsoll::object::Kind;
use plimsoll::review::Live;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::support::{Stage, production, request};

const STORM: usize = 1_000;

/// An API server in which nothing is, and what it was asked.
struct Server {
    /// How long it takes for an answer.
    takes: Duration,
    reads: AtomicUsize,
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl Server {
    /// Serves, and gives the way to read from it.
    async fn start(self: &Arc<Self>, metrics: &Arc<Metrics>) -> Arc<dyn Live> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::clone(self);
        let router = Router::new().fallback(move |uri: Uri| async move { server.answer(&uri).await });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = json!({"clusters": [{"name": "c", "cluster": {"server": url}}],
            "contexts": [{"name": "a", "context": {"cluster": "c"}}], "current-context": "a"});
        std::fs::write(file.path(), config.to_string()).unwrap();
        let cluster = Cluster::connect(Some(file.path())).await.unwrap();
        Arc::new(LiveReads::new(cluster, Arc::clone(metrics)))
    }

    async fn answer(&self, uri: &Uri) -> (StatusCode, String) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(self.at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        // Also over when whoever asked has gone.
        let _one = Ends(&self.at_once);
        sleep(self.takes).await;
        match uri.path().rsplit('/').next() {
            Some("shop") => (StatusCode::OK, production().1.to_string()),
            Some(name) if name.starts_with("web-") => (StatusCode::NOT_FOUND, String::new()),
            _ => (StatusCode::OK, json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string()),
        }
    }
}

struct Ends<'a>(&'a AtomicUsize);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends as many requests at once, and returns what was read, how long it took, and the answers.
fn storm(takes: Duration, review: impl Fn(usize) -> Value) -> (Arc<Server>, Duration, Vec<Value>, String) {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The server has threads of its own: it is not to be slow because the reviewer is busy.
    let (servers, runtime) = (runtime(), runtime());
    let (reads, at_once, most) = Default::default();
    let server = Arc::new(Server { takes, reads, at_once, most });
    let metrics = Arc::new(Metrics::new("test"));
    let live = servers.block_on(server.start(&metrics));
    let stage = Stage::with(None, live, &metrics);
    let cached = vec![production()];
    stage.know(&cached);
    let began = Instant::now();
    let answers = (0..STORM).map(|number| runtime.spawn(stage.send(&review(number))));
    let answers = runtime.block_on(join_all(answers.collect::<Vec<_>>()));
    let answers = answers.into_iter().map(|answer| serde_json::from_slice(&answer.unwrap().body).unwrap());
    (server, began.elapsed(), answers.collect(), metrics.encode())
}

fn count(metrics: &str, line: &str) -> usize {
    metrics.lines().find_map(|l| l.strip_prefix(line)).map_or(0, |number| number.trim().parse().unwrap())
}

#[test]
fn denials_that_rest_on_the_same_share_their_reads() {
    const TAKES: Duration = Duration::from_millis(50);
    let deployment = |number: usize| {
        let object = json!({"metadata": {"name": format!("web-{number}")}, "spec": {"replicas": 1,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}}}});
        request(Kind::Deployment, "", &object, None)
    };
    let (server, took, answers, metrics) = storm(TAKES, deployment);
    let denied = answers.iter().filter(|answer| answer["response"]["allowed"] == false).count();
    assert_eq!(denied, STORM);
    // The namespace, its HPAs and its ScaledObjects: of each one read after the other.
    let reads = server.reads.load(Ordering::Relaxed);
    let bound = 3 * (took.as_millis() / TAKES.as_millis() + 2);
    assert!(reads as u128 <= bound, "{reads} reads in {took:?}");
    let shared = count(&metrics, r#"plimsoll_live_reads_total{outcome="shared"}"#);
    assert!(shared > 0, "{shared} waited for another's read, {reads} were sent");
}

#[test]
fn denials_that_rest_on_different_things_are_limited_and_stay_denials() {
    let scale = |number: usize| {
        let scale = |replicas: i64| {
            json!({"metadata": {"name": format!("web-{number}"), "resourceVersion": "7"},
                "spec": {"replicas": replicas}})
        };
        request(Kind::Deployment, "scale", &scale(1), Some(&scale(3)))
    };
    let (server, took, answers, metrics) = storm(Duration::from_millis(400), scale);
    let (reads, most) = (server.reads.load(Ordering::Relaxed), server.most.load(Ordering::Relaxed));
    // The server learns a moment later than we do that somebody has given up.
    let bound = 300.0 + 300.0 * took.as_secs_f64() + 1.0;
    assert!(reads as f64 <= bound && most <= 2 * 32, "{reads} reads in {took:?}, {most} at once");
    assert!(answers.iter().all(|answer| answer["response"]["allowed"] == false));
    // Whatever was not read for lack of time says so.
    let is_unsure = |answer: &&Value| {
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        message.contains("could not be confirmed")
    };
    let unsure = answers.iter().filter(is_unsure).count();
    assert!(STORM - unsure <= reads, "{reads} reads can't have confirmed {} workloads", STORM - unsure);
    assert_eq!(count(&metrics, r#"plimsoll_confirmations_total{outcome="unconfirmed"}"#), unsure);
}
