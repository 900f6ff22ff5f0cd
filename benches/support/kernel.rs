//! What the kernel says of a process.

use std::fs;
use std::time::Duration;

/// How long all its threads have run so far.
pub(crate) fn busy(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process has threads");
    let run = |task: std::io::Result<fs::DirEntry>| {
        // Documentation/scheduler/sched-stats.rst: nanoseconds on the processor come first.
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(run).sum())
}

/// A field of its `status` that is in KiB, such as `VmRSS`; 0 once it has ended.
pub(crate) fn kibibytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
