//! A pair in two files that may change at any time, not quite at once.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use thiserror::Error;

use super::pair::{Pair, PairError};

/// Why a pair of files can't be served.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A file can't be read.
    #[error("failed to read {}", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("failed to use {}", .path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: PairError,
    },
    /// The files change faster than they can be read.
    #[error("{} changes all the time", .0.display())]
    Unsteady(PathBuf),
}

#[derive(Debug)]
pub(super) struct Files {
    cert: PathBuf,
    key: PathBuf,
    /// The bytes of the pair that is served.
    served: Option<Content>,
}

#[derive(Debug, Eq, PartialEq)]
struct Content {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    pub(super) fn new(cert: PathBuf, key: PathBuf) -> Self {
        Self { cert, key, served: None }
    }

    /// The pair to start with.
    pub(super) fn first(&mut self, now: Timestamp) -> Result<Pair, FilesError> {
        let content = self.read()?;
        self.take_up(content, now)
    }

    /// The pair in the files if it is another one than before. A pair that can't be used is tried
    /// again each time, because waiting alone may mend it (one that is not valid yet, say).
    pub(super) fn changed(&mut self, now: Timestamp) -> Result<Option<Pair>, FilesError> {
        let content = self.read()?;
        if self.served.as_ref() == Some(&content) {
            return Ok(None);
        }
        self.take_up(content, now).map(Some)
    }

    fn take_up(&mut self, content: Content, now: Timestamp) -> Result<Pair, FilesError> {
        let pair = Pair::from_pem(&content.cert, &content.key, now).map_err(|source| {
            let path = if source.is_about_key() { &self.key } else { &self.cert };
            FilesError::Unusable { path: path.clone(), source }
        })?;
        self.served = Some(content);
        Ok(pair)
    }

    /// Both files of one moment: a swap between the two reads shows when the first is read again.
    fn read(&self) -> Result<Content, FilesError> {
        let read =
            |path: &PathBuf| fs::read(path).map_err(|source| FilesError::Read { path: path.clone(), source });
        for _ in 0..5 {
            let cert = read(&self.cert)?;
            let key = read(&self.key)?;
            if read(&self.cert)? == cert {
                return Ok(Content { cert, key });
            }
        }
        Err(FilesError::Unsteady(self.cert.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::*;

    fn chain(error: FilesError) -> String {
        format!("{:#}", anyhow::Error::from(error))
    }

    #[test]
    fn an_error_names_the_file_and_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned()];
        let made = generate(dir.path(), &names, false).unwrap();
        let other = generate(&dir.path().join("other"), &names, false).unwrap();
        let first = |cert: &PathBuf, key: &PathBuf| {
            chain(Files::new(cert.clone(), key.clone()).first(Timestamp::now()).unwrap_err())
        };
        let missing = dir.path().join("nothing.pem");
        let message = first(&missing, &made.key);
        assert!(message.contains("nothing.pem") && message.contains("No such file"), "{message}");
        let message = first(&made.certificate, &other.key);
        assert!(message.contains("other/tls.key: the private key does not belong"), "{message}");
        let message = first(&made.key, &made.key);
        assert!(message.contains("tls.key: the file holds no certificate"), "{message}");
        let message = first(&made.certificate, &made.certificate);
        assert!(message.contains("tls.crt: expected an unencrypted private key"), "{message}");
    }

    #[test]
    fn only_another_content_is_a_change_and_a_broken_pair_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned()];
        let made = generate(dir.path(), &names, false).unwrap();
        let now = Timestamp::now();
        let mut files = Files::new(made.certificate.clone(), made.key.clone());
        files.first(now).unwrap();
        let good = fs::read(&made.key).unwrap();
        assert!(files.changed(now).unwrap().is_none());
        fs::write(&made.key, "").unwrap();
        files.changed(now).unwrap_err();
        files.changed(now).unwrap_err();
        fs::write(&made.key, good).unwrap();
        assert!(files.changed(now).unwrap().is_none());
        generate(dir.path(), &names, true).unwrap();
        assert!(files.changed(now).unwrap().is_some());
        assert!(files.changed(now).unwrap().is_none());
    }
}
