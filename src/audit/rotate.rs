//! Rotation by size and count: `FILE` becomes `FILE.1`, `FILE.1` becomes `FILE.2` and so on.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// When the file is rotated, and how many rotated files are kept. A zero in either turns it off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// The size that the file doesn't exceed.
    pub max_bytes: u64,
    /// How many rotated files are kept beside the current one.
    pub keep: usize,
}

impl Rotation {
    pub(super) fn is_on(&self) -> bool {
        self.max_bytes > 0 && self.keep > 0
    }
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: 100 * 1024 * 1024, keep: 10 }
    }
}

/// Frees the name `path` by shifting every rotated file up by one; the oldest beyond `keep` goes.
///
/// Only the files below the first gap move. So a shift that fails halfway leaves a gap which the
/// next one fills, and repeated failures never push out files that nothing replaces.
pub(super) fn shift(path: &Path, keep: usize) -> io::Result<()> {
    let mut last = 1;
    while last < keep && numbered(path, last).try_exists()? {
        last += 1;
    }
    for number in (1..last).rev() {
        fs::rename(numbered(path, number), numbered(path, number + 1))?;
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_all_numbers_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for round in 0..5 {
            fs::write(&path, round.to_string()).unwrap();
            shift(&path, 3).unwrap();
        }
        let read = |number| fs::read_to_string(numbered(&path, number)).unwrap();
        assert_eq!([read(1), read(2), read(3)], ["4", "3", "2"]);
        assert!(!numbered(&path, 4).exists());
        assert!(!path.exists());
    }

    #[test]
    fn a_gap_is_filled_and_what_lies_beyond_it_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for name in ["log", "log.1", "log.3"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        shift(&path, 3).unwrap();
        let read = |number| fs::read_to_string(numbered(&path, number)).unwrap();
        assert_eq!([read(1), read(2), read(3)], ["log", "log.1", "log.3"]);
    }

    #[test]
    fn a_shift_that_fails_loses_nothing_however_often_it_is_tried() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for name in ["log.1", "log.2", "log.3"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        for _ in 0..5 {
            // There is no file to rotate: the last rename fails.
            assert!(shift(&path, 4).is_err());
        }
        let read = |number| fs::read_to_string(numbered(&path, number)).unwrap();
        assert_eq!([read(2), read(3), read(4)], ["log.1", "log.2", "log.3"]);
    }
}
