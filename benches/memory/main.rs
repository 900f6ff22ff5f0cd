//! The memory that a large cluster takes.
//!
//! `cargo bench --bench memory` counts what the allocator gives out for each kind of fact.
//! `cargo bench --bench memory -- --cluster` starts a real control plane, fills it and says how large
//! `plimsoll serve` is in front of it, at most while it lists and when it has come to rest; with
//! `--namespaces 1` everything is in one namespace.

// Clippy's leave for tests doesn't reach benchmarks; one that can't go on is to fail loudly.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod cluster;
#[path = "../../tests/controlplane/harness.rs"]
mod controlplane;
#[path = "../support/kernel.rs"]
#[allow(dead_code, reason = "of use to several benchmarks")]
mod kernel;
mod objects;

use std::alloc::System;

use clap::Parser;
use plimsoll::facts::{Fact, Facts};
use plimsoll::object::Object;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use objects::SHARES;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Parser)]
struct Args {
    /// Fill a real control plane and look at a real server.
    #[arg(long)]
    cluster: bool,
    /// How many Deployments; half as many autoscalers and budgets, as many claims.
    #[arg(long, default_value_t = 10_000)]
    deployments: usize,
    /// Over how many namespaces they are spread.
    #[arg(long, default_value_t = 50)]
    namespaces: usize,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.cluster {
        return cluster::measure(args.deployments, args.namespaces);
    }
    println!("{:<24} {:>7} {:>12} {:>18} {:>10}", "kind", "objects", "bytes each", "allocations each", "KiB");
    let facts = Facts::default();
    let before = held();
    for share in SHARES {
        let count = share.of(args.deployments);
        let kind_before = held();
        for index in 0..count {
            let namespace = objects::namespace(index, args.namespaces);
            let text = share.object(index, &namespace).to_string();
            let fact = Fact::project(&Object::read(share.kind, &text)?).expect("a kind that is kept");
            facts.update(&namespace, |facts| facts.insert(fact));
        }
        print(share.kind.as_str(), count, kind_before);
    }
    print("all", SHARES.iter().map(|share| share.of(args.deployments)).sum(), before);
    Ok(())
}

/// The bytes and allocations that the process holds.
fn held() -> (usize, usize) {
    let stats = ALLOCATOR.stats();
    (stats.bytes_allocated - stats.bytes_deallocated, stats.allocations - stats.deallocations)
}

fn print(name: &str, objects: usize, before: (usize, usize)) {
    let now = held();
    let (bytes, allocations) = (now.0 - before.0, now.1 - before.1);
    let each = |total: usize| total as f64 / objects as f64;
    let (bytes_each, allocations_each) = (each(bytes), each(allocations));
    println!("{name:<24} {objects:>7} {bytes_each:>12.0} {allocations_each:>18.1} {:>10}", bytes / 1024);
}
