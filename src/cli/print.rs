//! Printing, for every command: whoever closes standard output has seen enough, and std's own macros
//! panic then.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::Context as _;

/// Prints as it is.
pub(super) fn plain(text: &str) -> anyhow::Result<()> {
    written(all(io::stdout(), text))
}

/// Prints, with colours where a terminal shows them; goes by NO_COLOR and CLICOLOR_FORCE, too.
pub(super) fn coloured(text: &str) -> anyhow::Result<()> {
    written(all(anstream::stdout(), text))
}

/// Prints a line to standard error. If nobody reads that either, nobody is to be told.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What became of printing. That the reader is gone, as `head` is after its lines, is no error: the
/// command goes on, and its exit code says what it found.
pub(super) fn written(outcome: io::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("failed to write to standard output"),
    }
}

/// Whether this is for want of a reader, so that there is no point in going on.
pub(super) fn is_closed(error: &anyhow::Error) -> bool {
    let io = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    let json = |error: &serde_json::Error| error.io_error_kind() == Some(ErrorKind::BrokenPipe);
    error.downcast_ref().is_some_and(io) || error.downcast_ref().is_some_and(json)
}

fn all(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}
