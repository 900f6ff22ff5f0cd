//! A log as it grows, through rotation.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Line, Reader};

/// How many rotated files are looked through for the one that was read last.
const MOST_ROTATED: usize = 1000;

/// A log that is followed. Rotated away, it is read to its end; then come the files that were begun
/// since, however many.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    reader: Reader,
    open: Opened,
}

/// Which file is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Opened {
    device: u64,
    inode: u64,
}

impl Opened {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Follow {
    /// Opens the log at its beginning.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (reader, open) = open(path)?;
        Ok(Self { path: path.to_owned(), reader, open })
    }

    /// The next line; `None` where the log ends for now.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.reader.next_line()? {
                return Ok(Some(line));
            }
            let Some((reader, open)) = self.next_file()? else { return Ok(None) };
            // Between the last look and the rotation there may have been more.
            if let Some(line) = self.reader.next_line()? {
                return Ok(Some(line));
            }
            let last = self.reader.last_line();
            (self.reader, self.open) = (reader, open);
            if last.is_some() {
                return Ok(last);
            }
        }
    }

    /// The file that was begun after the open one; `None` while that is the newest. Each file on the
    /// way is opened before it is looked at, so a rotation meanwhile takes none away.
    fn next_file(&self) -> io::Result<Option<(Reader, Opened)>> {
        let mut newer = match found(&self.path)? {
            Some(newest) if newest.1 != self.open => newest,
            _ => return Ok(None),
        };
        for number in 1..=MOST_ROTATED {
            let mut name = OsString::from(&self.path);
            name.push(format!(".{number}"));
            match found(&PathBuf::from(name))? {
                Some(older) if older.1 != self.open => newer = older,
                Some(_) => return Ok(Some(newer)),
                // Rotated by somebody else, under other names, or gone: the newest is all there is.
                None => break,
            }
        }
        found(&self.path)
    }
}

fn found(path: &Path) -> io::Result<Option<(Reader, Opened)>> {
    match open(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<(Reader, Opened)> {
    let file = File::open(path)?;
    let open = Opened::of(&file.metadata()?);
    Ok((Reader::new(&path.display().to_string(), BufReader::new(file)), open))
}
