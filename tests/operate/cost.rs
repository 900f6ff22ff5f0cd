//! What an apply costs each process, which is what bounds how many a machine takes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::installation::Installation;
use crate::load::Load;

/// The kernel counts the time of processes in these, for whoever looks from outside.
const TICKS_A_SECOND: f64 = 100.0;

/// Milliseconds of CPU for each apply while nothing else happens, by process; the clients are this one.
pub(crate) fn of_an_apply(installation: &Installation, load: &Load, span: Duration) -> String {
    let (before, applied) = (ticks(installation), load.applied());
    std::thread::sleep(span);
    let applied = load.applied() - applied;
    let mut words: Vec<String> = Vec::new();
    for (name, after) in ticks(installation) {
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let each = (after - before[&name]) as f64 * 1000.0 / TICKS_A_SECOND / applied.max(1) as f64;
        words.push(format!("{name} {each:.1} ms"));
    }
    format!("CPU for an apply: {}", words.join(", "))
}

fn ticks(installation: &Installation) -> BTreeMap<String, u64> {
    let servers = installation.plane.servers().map(|server| (server.name(), server.pid()));
    let replicas = installation.replicas.iter().map(|replica| ("plimsoll", replica.process.pid()));
    let mut ticks = BTreeMap::new();
    for (name, pid) in servers.chain(replicas).chain([("clients", std::process::id())]) {
        *ticks.entry(name.to_owned()).or_default() += of_process(pid);
    }
    ticks
}

/// In user and in kernel mode.
fn of_process(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // The second field is a name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ").expect("a stat has a name");
    rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a count")).sum()
}
