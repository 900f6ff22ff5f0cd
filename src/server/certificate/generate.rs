//! `certs generate`: an authority's certificate and a pair for development, as files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;

use super::authority::{Authority, AuthorityError, FILES_LIFE};

/// Why no files were made.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// A file is there already, and overwriting was not asked for.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A file or its directory could not be written.
    #[error("failed to write {}", .path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificates could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// What [`generate`] wrote.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The authority's certificate, `ca.crt`: what clients trust.
    pub ca: PathBuf,
    /// The server's certificate, `tls.crt`.
    pub certificate: PathBuf,
    /// The server's private key, `tls.key`, readable by its owner only.
    pub key: PathBuf,
    /// When the server's certificate ends.
    pub not_after: Timestamp,
}

/// Writes `ca.crt`, `tls.crt` and `tls.key` for `names` (DNS names and IP addresses) into `dir`,
/// which is made if need be. The authority's key is not kept: whoever needs another certificate
/// generates all three again.
///
/// # Errors
///
/// If one of the files exists and `force` is false (then none is written), a name is none, or
/// writing fails.
pub fn generate(dir: &Path, names: &[String], force: bool) -> Result<Generated, GenerateError> {
    let now = Timestamp::now();
    let authority = Authority::new(now)?;
    let issued = authority.issue_for(FILES_LIFE, names, now)?;
    let [ca, certificate, key] = ["ca.crt", "tls.crt", "tls.key"].map(|name| dir.join(name));
    if !force {
        // A dangling link counts as existing, hence no `Path::exists`.
        let taken = [&ca, &certificate, &key].into_iter().find(|path| fs::symlink_metadata(path).is_ok());
        if let Some(path) = taken {
            return Err(GenerateError::Exists(path.clone()));
        }
    }
    fs::create_dir_all(dir).map_err(|source| GenerateError::Write { path: dir.to_owned(), source })?;
    write(&key, &issued.key_pem, 0o600)?;
    write(&certificate, &issued.certificate_pem, 0o644)?;
    write(&ca, authority.certificate_pem(), 0o644)?;
    Ok(Generated { ca, certificate, key, not_after: issued.not_after })
}

/// Writes beside the target and renames, so that an existing file's wider mode is not inherited and
/// no reader sees half a file.
fn write(path: &Path, content: &str, mode: u32) -> Result<(), GenerateError> {
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // What can't be removed either is told by the error above all the same.
        let _ = fs::remove_file(&beside);
        GenerateError::Write { path: path.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::pair::Pair;
    use super::*;

    #[test]
    fn writes_a_usable_pair_and_never_overwrites_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("certs");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let generated = generate(&out, &names, false).unwrap();
        let read = |path: &Path| fs::read(path).unwrap();
        let first = read(&generated.certificate);
        let pair = Pair::from_pem(&first, &read(&generated.key), Timestamp::now()).unwrap();
        assert_eq!(pair.names, names);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&generated.key), 0o600);

        let error = generate(&out, &names, false).unwrap_err();
        assert!(error.to_string().contains("ca.crt exists already"), "{error}");
        assert_eq!(read(&generated.certificate), first);

        fs::set_permissions(&generated.key, fs::Permissions::from_mode(0o644)).unwrap();
        generate(&out, &names, true).unwrap();
        assert_ne!(read(&generated.certificate), first);
        assert_eq!(mode(&generated.key), 0o600);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
    }
}
