//! Replicas that come and go while people apply.

use std::thread;
use std::time::{Duration, Instant};

use crate::controlplane::{say, wait_until};
use crate::load::Load;
use crate::{SOON, cost, installation};

/// Applies a second, unless `PLIMSOLL_LOAD` has another number.
const RATE: u32 = 100;

/// A number from the environment: what fits two cores and a test's patience is not all that a machine does.
fn set(name: &str) -> Option<u32> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|error| panic!("{name} should be a number: {error}")))
}

#[test]
fn a_rolling_restart_loses_no_call() {
    let mut installation = installation();
    let namespace = installation.plane.namespace("restarts", &[("environment", "production")]);
    let load = Load::start(&installation, &namespace, set("PLIMSOLL_LOAD").unwrap_or(RATE));
    wait_until("applies", SOON, || load.applied() > 100);
    say(&cost::of_an_apply(&installation, &load, Duration::from_secs(5)));
    // Each replica once, and again for as long as it should take.
    let (began, seconds) = (Instant::now(), set("PLIMSOLL_LOAD_SECONDS").unwrap_or(0));
    let mut left = installation.replicas.len();
    while left > 0 || began.elapsed() < Duration::from_secs(seconds.into()) {
        left = left.saturating_sub(1);
        // As the chart's Deployment does it: one more, and when that is ready the oldest goes.
        installation.add();
        installation.wait_until_ready();
        let gone = installation.terminate_oldest();
        let status = gone.process.wait(Duration::from_secs(45)).expect("it ends within its grace period");
        assert!(status.success(), "{status}: {}", gone.process.tail(20));
    }
    let outcome = load.stop(&installation);
    outcome.say("rolling restart");
    outcome.expect_nothing_failed();
}

#[test]
fn a_replica_that_is_killed_costs_what_was_on_its_way_to_it() {
    let mut installation = installation();
    let namespace = installation.plane.namespace("killed", &[("environment", "production")]);
    let load = Load::start(&installation, &namespace, RATE);
    wait_until("applies", SOON, || load.applied() > 100);
    installation.replicas[0].process.signal("KILL");
    // A kubelet sees within a second that a container has ended, and the endpoint goes.
    thread::sleep(Duration::from_secs(1));
    installation.set_endpoint(0, false);
    installation.replicas.remove(0);
    thread::sleep(Duration::from_secs(1));
    let (cost, seen) = (load.failed(), load.applied());
    installation.add();
    installation.wait_until_ready();
    wait_until("applies after that", SOON, || load.applied() > seen + 200);
    let outcome = load.stop(&installation);
    outcome.say("a replica killed");
    for failure in &outcome.failures {
        assert!(failure.contains("plimsoll.dev"), "it has to say who is missing: {failure}");
    }
    assert_eq!(outcome.failures.len(), cost, "once the endpoint is gone nothing fails: {outcome:?}");
}
