//! How many files may be open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Takes as many as the process may have. Runtimes leave it at 1024 for the sake of programs that can't
/// handle more, which is less than the connections that are served, and then nothing can be opened,
/// the audit log included.
pub(super) fn take_all() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "The limit on open files stays as it is.");
    }
}
