//! Where lines go: a file that is rotated by size, or standard output.
//!
//! Everything here blocks and runs on a thread of its own. Lines are handed to write(2) without a
//! buffer in between, so what was written survives the process however it ends.

#[cfg(test)]
mod tests;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::rotate::{self, Rotation};
use super::state::Shared;

/// How long a descriptor that was made non-blocking by someone else may refuse bytes.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long after a failed rotation the next one is tried.
const ROTATION_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Sink {
    place: Place,
    open: Option<Open>,
    checked: Instant,
    rotation_failed: Option<Instant>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Place {
    Stdout,
    File { path: PathBuf, rotation: Rotation, check_every: Duration },
}

#[derive(Debug)]
struct Open {
    file: File,
    id: Id,
    /// Only regular files are rotated: a device or a pipe has no size.
    regular: bool,
    size: u64,
    /// The last line lacks its end; the next one has to start on a fresh line.
    torn: bool,
}

/// Device and inode: which file it is, whatever its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Id(u64, u64);

impl Sink {
    pub(super) fn stdout(shared: Arc<Shared>) -> io::Result<Self> {
        Self::open(Place::Stdout, shared)
    }

    pub(super) fn file(
        path: PathBuf,
        rotation: Rotation,
        check_every: Duration,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        Self::open(Place::File { path, rotation, check_every }, shared)
    }

    fn open(place: Place, shared: Arc<Shared>) -> io::Result<Self> {
        let open = Some(place.open()?);
        Ok(Self { place, open, checked: Instant::now(), rotation_failed: None, shared })
    }

    /// Whether both write to the same file.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        matches!((&self.open, &other.open), (Some(a), Some(b)) if a.id == b.id)
    }

    /// Whether a fresh descriptor may succeed where the last one failed.
    pub(super) fn can_reopen(&self) -> bool {
        matches!(self.place, Place::File { .. })
    }

    /// Makes ready for a line of `next` bytes: opened again after a failure, the right file under the
    /// path, rotated if the line would exceed its size.
    pub(super) fn prepare(&mut self, next: usize) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.place.open()?);
            self.checked = Instant::now();
        }
        let Place::File { check_every, .. } = &self.place else { return Ok(()) };
        if self.checked.elapsed() >= *check_every {
            self.reopen()?;
        }
        if self.is_full(next) {
            // Another process may have rotated it meanwhile; only the file under the path is renamed.
            self.reopen()?;
            if self.is_full(next) {
                self.rotate();
            }
        }
        Ok(())
    }

    /// A file without lines takes any line, however long.
    fn is_full(&self, next: usize) -> bool {
        self.open.as_ref().is_some_and(|open| open.size > 0) && next as u64 > self.room()
    }

    /// How many more bytes the file takes before it has to be rotated.
    pub(super) fn room(&self) -> u64 {
        match (&self.place, &self.open) {
            (Place::File { rotation, .. }, Some(open))
                if open.regular && rotation.is_on() && !self.rotation_pauses() =>
            {
                rotation.max_bytes.saturating_sub(open.size)
            }
            _ => u64::MAX,
        }
    }

    /// Goes back to the file that the path names now, creating it if there is none.
    ///
    /// When that fails, a file that was only renamed is kept: it still has a name under which its
    /// lines are found. A deleted one is not.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let Place::File { path, .. } = &self.place else { return Ok(()) };
        self.checked = Instant::now();
        if let Some(open) = &mut self.open
            && let Ok(metadata) = fs::metadata(path)
            && Id::of(&metadata) == open.id
        {
            open.size = metadata.len();
            return Ok(());
        }
        match (self.place.open(), &self.open) {
            (Ok(open), _) => self.open = Some(open),
            (Err(error), Some(open)) if open.has_name() => {
                tracing::warn!(%error, "The audit log can't be opened again; the renamed file is kept.");
            }
            (Err(error), _) => {
                self.open = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Failing to rotate costs no line: the current file is kept, larger than it should be.
    fn rotate(&mut self) {
        let Place::File { path, rotation, .. } = &self.place else { return };
        match rotate::shift(path, rotation.keep).and_then(|()| self.place.open()) {
            Ok(open) => {
                self.open = Some(open);
                self.rotation_failed = None;
                self.shared.rotations.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.rotation_failed = Some(Instant::now());
                self.shared.rotation_errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "The audit log can't be rotated; the current file is kept.");
            }
        }
    }

    fn rotation_pauses(&self) -> bool {
        self.rotation_failed.is_some_and(|failed| failed.elapsed() < ROTATION_PAUSE)
    }

    /// Writes whole lines; returns how many of their bytes were written and what stopped the rest.
    pub(super) fn append(&mut self, lines: &[u8]) -> (usize, Option<io::Error>) {
        let Some(open) = &mut self.open else { return (0, Some(io::ErrorKind::NotConnected.into())) };
        let (written, error) = open.append(lines);
        if error.is_some() && self.can_reopen() {
            self.open = None;
        }
        (written, error)
    }
}

impl Place {
    fn open(&self) -> io::Result<Open> {
        match self {
            Self::Stdout => {
                let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                let metadata = file.metadata()?;
                // It can't be read back: a file that has something may end in half a line.
                Ok(Open { torn: metadata.is_file() && metadata.len() > 0, ..Open::new(file, &metadata) })
            }
            Self::File { path, .. } => {
                // A pipe that nobody reads would block here, unless it is opened for reading too.
                let pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
                let file = OpenOptions::new().read(pipe).append(true).create(true).mode(0o640).open(path)?;
                let metadata = file.metadata()?;
                Ok(Open { torn: ends_torn(path, &metadata), ..Open::new(file, &metadata) })
            }
        }
    }
}

impl Open {
    fn new(file: File, metadata: &Metadata) -> Self {
        Self { file, id: Id::of(metadata), regular: metadata.is_file(), size: metadata.len(), torn: false }
    }

    fn has_name(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
    }

    fn append(&mut self, lines: &[u8]) -> (usize, Option<io::Error>) {
        if !self.torn {
            let (written, error) = write(&mut self.file, lines);
            self.wrote(lines, written);
            return (written, error);
        }
        let fresh = [b"\n", lines].concat();
        let (written, error) = write(&mut self.file, &fresh);
        if written > 0 {
            self.wrote(&fresh, written);
        }
        (written.saturating_sub(1), error)
    }

    fn wrote(&mut self, bytes: &[u8], written: usize) {
        self.size += written as u64;
        if let Some(last) = written.checked_sub(1).and_then(|last| bytes.get(last)) {
            self.torn = *last != b'\n';
        }
    }
}

impl Id {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Whether the file's last line lacks its end, as after a crash. When in doubt it does: an empty
/// line does no harm, two records on one line lose both.
fn ends_torn(path: &Path, metadata: &Metadata) -> bool {
    let Some(last) = metadata.len().checked_sub(1).filter(|_| metadata.is_file()) else { return false };
    let mut end = [0];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut end, last));
    read.is_err() || end != *b"\n"
}

/// Like `write_all`, but tells how far it came.
fn write(out: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    let mut refused = None;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                written += count;
                refused = None;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if refused.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    return (written, Some(error));
                }
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}
