//! Faults at random, alone and together, while people write what may be stored and what may not, and a
//! checker that knows which is which.
//!
//! The plan of faults and the requests come from a seed (`PLIMSOLL_CHAOS_SEED`; printed, otherwise drawn);
//! `PLIMSOLL_CHAOS` is for how many seconds. What must become of a request is known by how it was made,
//! and what may lie in the store is judged by a few lines of the checker's own: neither asks Plimsoll.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "../controlplane/harness.rs"]
mod controlplane;

#[allow(dead_code, reason = "the other tests of an installation use the rest")]
#[path = "../operate/installation.rs"]
mod installation;

#[path = "../support/small_disk.rs"]
mod small_disk;

mod apiserver;
mod cluster;
mod faults;
mod machine;
mod oracle;
mod records;
mod requests;
mod rest;
mod storms;
mod tally;
mod weather;
mod wire;
mod writers;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::ApiServer;
use cluster::Cluster;
use controlplane::say;
use storms::{Draws, Storms};
use tally::Tally;
use weather::Weather;
use writers::Writers;

/// What a controller or a replica does in a second at most is waited for this long.
const SOON: Duration = Duration::from_secs(60);

/// How long the storms last if nobody says.
const SHORT: u64 = 15;

/// The program under test.
fn plimsoll() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_plimsoll"))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} should be a number, found {text:?}")))
}

#[test]
fn what_is_wrong_is_never_stored_and_what_is_right_never_refused() {
    let seed = number("PLIMSOLL_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()) ^ now());
    let length = Duration::from_secs(number("PLIMSOLL_CHAOS").unwrap_or(SHORT));
    say(&format!("chaos: PLIMSOLL_CHAOS_SEED={seed} PLIMSOLL_CHAOS={}", length.as_secs()));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (weather, tally) = (Arc::new(Weather::default()), Arc::new(Tally::default()));
    let mut cluster = Cluster::start(runtime.handle().clone(), Arc::clone(&weather), Arc::clone(&tally));
    let api = ApiServer::of(&cluster.installation.plane, runtime.handle());
    rest::prepare(&runtime, &api, &mut cluster);

    let mut storms = Storms::new(seed, cluster.possible());
    let writers = Writers::start(runtime.handle(), &api, seed, &weather, &tally);
    let mut calm = Draws::new(seed, u64::MAX);
    let began = Instant::now();
    cluster.rest(Duration::from_secs(2));
    while began.elapsed() < length && tally.is_clean() {
        let (storm, at) = (storms.next(), began.elapsed());
        cluster.weather_the(&storm);
        let recovery = cluster.recover();
        say(&format!("at {at:.0?}: {}; well again after {recovery:.1?}", storms::told(&storm)));
        weather.settle();
        cluster.rest(Duration::from_millis(2000 + calm.below(3000)));
        runtime.block_on(rest::look_at_the_store(&api, &tally));
    }
    runtime.block_on(writers.stop());

    runtime.block_on(rest::decide_right_at_once(&api, &tally));
    runtime.block_on(rest::look_at_the_store(&api, &tally));
    runtime.block_on(rest::a_policy_is_taken_up(&api, &tally));
    let logs = cluster.end();
    let records = records::reconcile(&logs, cluster.installation.plane.dir(), &tally);
    say(&format!("{}\n{records}\n{}", tally.table(), cluster.told()));
    let wrong = tally.wrong();
    assert!(wrong.is_empty(), "seed {seed}: {} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970");
    u64::from(since.subsec_nanos())
}
