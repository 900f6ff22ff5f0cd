//! One function for each target. Each takes any bytes, and fails if what comes of them is wrong.

mod duration;
mod fix;
mod http;
mod int_or_string;
mod manifest;
mod policy;
mod quantity;
mod review;
mod schedule;
mod selector;
mod waiver;

pub use duration::duration;
pub use fix::fix;
pub use http::http;
pub use int_or_string::int_or_string;
pub use manifest::manifest;
pub use policy::policy;
pub use quantity::quantity;
pub use review::review;
pub use schedule::schedule;
pub use selector::selector;
pub use waiver::waiver;

use super::seeds;

/// A target: its name, what it does with an input, and what to start from.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 11] = [
    Target { name: "duration", run: duration, seeds: seeds::durations },
    Target { name: "fix", run: fix, seeds: seeds::manifests },
    Target { name: "http", run: http, seeds: seeds::requests },
    Target { name: "int_or_string", run: int_or_string, seeds: seeds::counts },
    Target { name: "manifest", run: manifest, seeds: seeds::manifests },
    Target { name: "policy", run: policy, seeds: seeds::policies },
    Target { name: "quantity", run: quantity, seeds: seeds::quantities },
    Target { name: "review", run: review, seeds: seeds::reviews },
    Target { name: "schedule", run: schedule, seeds: seeds::schedules },
    Target { name: "selector", run: selector, seeds: seeds::selectors },
    Target { name: "waiver", run: waiver, seeds: seeds::waivers },
];

/// When everything is judged: what is found once is found again.
const NOW: &str = "2026-12-01T12:00:00Z";
