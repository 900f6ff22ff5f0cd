//! What goes wrong around it: the API server restarts, its store stands still.

use std::time::Duration;

use crate::controlplane::wait_until;
use crate::installation::Replica;
use crate::{SOON, installation};

/// How long the store stands still.
const PAUSE: Duration = Duration::from_secs(30);

/// One number of a replica's metrics.
fn metric(replica: &Replica, name: &str) -> f64 {
    let metrics = replica.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

fn deployments(replica: &Replica) -> f64 {
    metric(replica, r#"plimsoll_cache_objects{kind="Deployment"}"#)
}

fn last_heard(replica: &Replica) -> f64 {
    metric(replica, r#"plimsoll_cache_last_event_timestamp_seconds{kind="Deployment"}"#)
}

fn is_ready(replica: &Replica) -> bool {
    replica.get("/readyz").starts_with("HTTP/1.1 200")
}

#[test]
fn an_api_server_that_restarts_is_watched_again() {
    let mut installation = installation();
    let namespace = installation.production("restarted");
    let crate::Stage { plane, replicas, .. } = &mut *installation;
    let cut_off = |replica: &Replica| {
        let readiness = replica.get("/readyz");
        assert!(readiness.starts_with("HTTP/1.1 200"), "no replica may go for this: {readiness}");
        readiness.lines().any(|line| line.starts_with("watch ") && !line.contains(": ok"))
    };
    let meanwhile = || wait_until("every replica to notice", SOON, || replicas.iter().all(cut_off));
    plane.restart_apiserver(meanwhile).expect("the API server starts again");

    // Whatever comes now reaches every cache, by the same processes.
    let before: Vec<f64> = installation.replicas.iter().map(deployments).collect();
    let create = ["create", "deployment", "two", "--image=x", "--replicas=2", "-n", &namespace];
    wait_until("a Deployment", SOON, || installation.plane.kubectl("admin", &create).status_ok);
    wait_until("every cache to have it", SOON, || {
        installation.replicas.iter().zip(&before).all(|(replica, before)| deployments(replica) > *before)
    });
    wait_until("every watch to be well", SOON, || !installation.replicas.iter().any(cut_off));
    assert!(installation.create_one(&namespace).stderr.contains("min-replicas"));
    for replica in &installation.replicas {
        assert!(replica.process.ended().is_none());
    }
}

#[test]
fn a_store_that_stands_still_stops_nobody_for_longer() {
    let installation = installation();
    let namespace = installation.production("paused");
    let etcd = installation.plane.etcd();
    etcd.signal("STOP");
    let heard: Vec<f64> = installation.replicas.iter().map(last_heard).collect();
    std::thread::sleep(PAUSE);
    // The alarm's metric stands still with the store, and nobody is taken out of service for that.
    for (replica, heard) in installation.replicas.iter().zip(&heard) {
        assert!(is_ready(replica), "{}", replica.get("/readyz"));
        assert!(last_heard(replica) <= *heard + 1.0, "nothing can have been heard");
    }
    etcd.signal("CONT");
    let create = ["create", "deployment", "two", "--image=x", "--replicas=2", "-n", &namespace];
    wait_until("a Deployment", SOON, || installation.plane.kubectl("admin", &create).status_ok);
    wait_until("every replica to hear of it", SOON, || {
        installation.replicas.iter().zip(&heard).all(|(replica, heard)| last_heard(replica) > *heard + 1.0)
    });
    assert!(installation.create_one(&namespace).stderr.contains("min-replicas"));
    for replica in &installation.replicas {
        assert!(replica.process.ended().is_none());
    }
}

#[test]
fn a_configuration_that_is_deleted_is_an_alarm() {
    let installation = installation();
    let namespace = installation.production("unregistered");
    let webhooks =
        |replica: &Replica| metric(replica, r#"plimsoll_webhooks{kind="ValidatingWebhookConfiguration"}"#);
    let delete = ["delete", "validatingwebhookconfiguration", "plimsoll"];
    installation.plane.kubectl("admin", &delete).expect_ok("whoever may, may");
    wait_until("every replica to know", SOON, || installation.replicas.iter().all(|r| webhooks(r) == 0.0));
    wait_until("the gate to be open", SOON, || installation.create_one(&namespace).status_ok);
    installation.helm(&["upgrade", "plimsoll"]);
    wait_until("every replica to know", SOON, || installation.replicas.iter().all(|r| webhooks(r) > 0.0));
    installation.wait_until_governed(&namespace);
}
