//! The chart's own installation on a real control plane: its objects installed by helm, its replicas
//! started with its arguments and its service account's token, and reached through its Service.
//!
//! One installation for all; each test has it to itself and leaves it as it found it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail loudly"
)]

#[path = "../controlplane/harness.rs"]
mod controlplane;

#[path = "../e2e/systems.rs"]
mod systems;

mod account;
mod certificates;
mod cost;
mod doctor;
mod faults;
mod installation;
mod load;
mod outage;
mod policies;
mod restarts;
mod scan;

use std::path::Path;
use std::time::Duration;

use installation::{Installation as Stage, installation, installation as stage};

/// What a controller or a replica does in a second at most is waited for this long.
const SOON: Duration = Duration::from_secs(60);

/// The program under test.
fn plimsoll() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_plimsoll"))
}
