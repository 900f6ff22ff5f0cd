//! Plimsoll's server under load, beside two servers that judge nothing.
//!
//! `cargo bench --bench load` starts all of them on one core, each with the same certificate, puts
//! the load on another core, and prints ratios of figures that were taken in turns, so that what
//! else the machine does hits all alike. The floor runs twice: how far its ratio to itself is from
//! 1 is the noise of the run.

// Clippy's leave for tests doesn't reach benchmarks; one that can't go on is to fail loudly.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod client;
#[path = "../support/floor.rs"]
mod floor;
#[path = "../support/kernel.rs"]
mod kernel;
mod process;
mod report;
mod reviews;
mod servers;
mod steady;

use std::time::Duration;

use clap::Parser;

use client::Client;
use process::Process;
use report::{Figures, Table};
use reviews::Case;
use servers::Server;

/// How many connections are kept busy: as many as a busy API server holds to one replica.
const CONNECTIONS: usize = 16;

#[derive(Debug, Parser)]
struct Args {
    /// How often every server gets its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn lasts, in milliseconds.
    #[arg(long, default_value_t = 500)]
    turn: u64,
    /// Instead of comparing, load Plimsoll alone for so many seconds and watch its memory.
    #[arg(long, value_name = "SECONDS")]
    steady: Option<u64>,
    /// Only the cases whose name contains this.
    #[arg(default_value = "")]
    filter: String,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    if let Some(server) = Server::asked_for() {
        return servers::serve(server);
    }
    let args = Args::parse();
    if let Some(seconds) = args.steady {
        return steady::watch(Duration::from_secs(seconds));
    }
    let is_pinned = process::pin(process::LOAD_CORE);
    let certificate = servers::Files::generate()?;
    let names = [Server::Plimsoll, Server::Floor, Server::FloorAgain, Server::HardFloor];
    let processes = names.map(|server| Process::start(server, &certificate).expect("a server starts"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let turn = Duration::from_millis(args.turn);
    if !is_pinned {
        println!("There are not two cores to pin to: these figures are worth little.");
    }
    println!("{} rounds of {} ms each, {CONNECTIONS} connections\n", args.rounds, args.turn);
    let mut table = Table::default();
    for case in reviews::all().iter().filter(|case| case.name.contains(&args.filter)) {
        runtime.block_on(check(case, &processes, &certificate))?;
        // First what each can do at most, then how long an answer takes at half of what the slower one
        // of the two can do: a queue that only grows says nothing about an answer.
        let most =
            runtime.block_on(rounds(&args, &processes, &certificate, case, CONNECTIONS, |client| {
                Box::pin(client.closed_loop(turn))
            }))?;
        let rate = report::rate(&most[0]).min(report::rate(&most[1])) / 2.0;
        let paced =
            runtime.block_on(rounds(&args, &processes, &certificate, case, CONNECTIONS, |client| {
                Box::pin(client.paced(rate, turn))
            }))?;
        let alone = runtime.block_on(rounds(&args, &processes, &certificate, case, 1, |client| {
            Box::pin(client.closed_loop(turn))
        }))?;
        table.add(case, &most, &paced, &alone);
    }
    table.print();
    println!("\nMemory after the load: {} KiB resident (Plimsoll).", processes[0].resident_kib());
    Ok(())
}

/// Every server answers as it should before it is timed.
async fn check(case: &Case, processes: &[Process; 4], files: &servers::Files) -> anyhow::Result<()> {
    for process in processes {
        let mut client = Client::connect(process.address, files, case, 1).await?;
        let answer = client.answer().await?;
        anyhow::ensure!(answer["response"]["uid"].is_string(), "{}: {answer}", case.name);
        if process.server == Server::Plimsoll {
            anyhow::ensure!(answer["response"]["allowed"] == case.is_allowed, "{}: {answer}", case.name);
            anyhow::ensure!(
                answer["response"]["patch"].is_string() == case.is_patched,
                "{}: {answer}",
                case.name
            );
        }
    }
    Ok(())
}

type Turn<'a> = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<Vec<Duration>>> + 'a>>;

/// Gives every server its turns, each round beginning with another one.
async fn rounds(
    args: &Args,
    processes: &[Process; 4],
    files: &servers::Files,
    case: &Case,
    connections: usize,
    turn: impl for<'a> Fn(&'a mut Client) -> Turn<'a>,
) -> anyhow::Result<[Vec<Figures>; 4]> {
    let mut figures: [Vec<Figures>; 4] = Default::default();
    for round in 0..args.rounds {
        for position in 0..processes.len() {
            let index = (round + position) % processes.len();
            let process = &processes[index];
            let mut client = Client::connect(process.address, files, case, connections).await?;
            // Connections and caches warm up outside of what is timed.
            client.closed_loop(Duration::from_millis(50)).await?;
            let (busy, started) = (process.busy(), std::time::Instant::now());
            let latencies = turn(&mut client).await?;
            figures[index].push(Figures::new(latencies, started.elapsed(), process.busy() - busy));
        }
    }
    Ok(figures)
}
