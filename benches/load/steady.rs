//! Plimsoll alone under a steady load of every kind, for as long as it takes to see whether it grows.

use std::time::{Duration, Instant};

use super::client::Client;
use super::kernel;
use super::process::Process;
use super::reviews;
use super::servers::{Files, Server};

/// How many requests a second.
const RATE: f64 = 400.0;
/// How long each kind of request has its turn.
const TURN: Duration = Duration::from_secs(1);
/// How many connections there are. They are opened anew for each turn, as API servers come and go.
const CONNECTIONS: usize = 16;

/// Prints the server's memory twenty times in the time there is.
pub(crate) fn watch(length: Duration) -> anyhow::Result<()> {
    let files = Files::generate()?;
    let process = Process::start(Server::Plimsoll, &files)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (started, cases) = (Instant::now(), reviews::all());
    let (mut next, mut requests, mut slowest) = (Duration::ZERO, 0, Duration::ZERO);
    println!("| minutes | requests | resident KiB | of which anonymous | slowest answer so far, ms |");
    println!("|---|---|---|---|---|");
    for case in cases.iter().cycle() {
        let elapsed = started.elapsed();
        if elapsed >= next {
            let [resident, anonymous] =
                ["VmRSS", "RssAnon"].map(|field| kernel::kibibytes(process.pid(), field));
            let (minutes, slowest) = (elapsed.as_secs_f64() / 60.0, slowest.as_secs_f64() * 1e3);
            println!("| {minutes:.1} | {requests} | {resident} | {anonymous} | {slowest:.0} |");
            next += length / 20;
        }
        if elapsed >= length {
            return Ok(());
        }
        let mut client = runtime.block_on(Client::connect(process.address, &files, case, CONNECTIONS))?;
        let latencies = runtime.block_on(client.paced(RATE, TURN))?;
        requests += latencies.len();
        slowest = latencies.into_iter().max().unwrap_or_default().max(slowest);
    }
    Ok(())
}
