//! A server in a process of its own, pinned to a core, and what the kernel says of it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::kernel;
use super::servers::{Files, Server};

/// The core that the servers run on.
pub(crate) const SERVER_CORE: usize = 0;
/// The core that the load comes from.
pub(crate) const LOAD_CORE: usize = 1;

/// Pins this process to a core, if there are two. Whether it did.
pub(crate) fn pin(core: usize) -> bool {
    let is_there =
        sched_getaffinity(None).is_ok_and(|cores| cores.is_set(SERVER_CORE) && cores.is_set(LOAD_CORE));
    let mut set = CpuSet::new();
    set.set(core);
    is_there && sched_setaffinity(None, &set).is_ok()
}

/// A running server. It ends when this is dropped.
pub(crate) struct Process {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(server: Server, files: &Files) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        server.ask_for(&mut command, files);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("standard output is piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("{server:?} said {line:?}"))?;
        Ok(Self { server, address, child })
    }

    /// How long all its threads have run so far.
    pub(crate) fn busy(&self) -> Duration {
        kernel::busy(self.pid())
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory.
    pub(crate) fn resident_kib(&self) -> u64 {
        kernel::kibibytes(self.pid(), "VmRSS")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
