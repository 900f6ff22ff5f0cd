//! A temporary directory that does not outlive the program that made it, by the same means as the
//! child processes: a pipe whose end a few lines of `sh` wait for. The supervisors of the children
//! that work in the directory hold the pipe too, so it goes after the last of them.

use std::{
    ffi::OsStr,
    fs::DirBuilder,
    io::{self, PipeWriter},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::process::{POLL, Supervised, random_hex, say};

/// Waits for the end of its input, which comes when every process that was given the other end of
/// the pipe is gone, then removes the directory.
const JANITOR: &str = r#"while read -r _; do :; done; rm -rf -- "$1""#;

/// A private temporary directory that is removed when this value, or this process, and everything
/// started by [`ScratchDir::spawn`] is gone; kept, and named on stderr, if `PLIMSOLL_KEEP` is set.
pub(crate) struct ScratchDir {
    path: PathBuf,
    janitor: Option<(Child, PipeWriter)>,
}

impl ScratchDir {
    /// Makes a fresh directory that only this user can read.
    pub(crate) fn new(prefix: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("{prefix}-{}", random_hex(6)?));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("failed to make {}", path.display()))?;
        if std::env::var_os("PLIMSOLL_KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
            say(&format!("PLIMSOLL_KEEP: keeping {}", path.display()));
            return Ok(Self { path, janitor: None });
        }
        let (reader, writer) = io::pipe()?;
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&path)
            .current_dir("/")
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("failed to run sh")?;
        Ok(Self { path, janitor: Some((janitor, writer)) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// [`Supervised::spawn`] with the log in this directory, which stays for as long as the child.
    pub(crate) fn spawn(
        &self,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        envs: &[(&str, &str)],
    ) -> anyhow::Result<Supervised> {
        let mut shell = Command::new("sh");
        match &self.janitor {
            // The supervisor has nothing to say on its stderr: the janitor waits for it to close.
            Some((_, writer)) => shell.stderr(writer.try_clone()?),
            None => shell.stderr(Stdio::null()),
        };
        Supervised::start(name, shell, program, args, envs, &self.path.join(format!("{name}.log")))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Some((mut janitor, writer)) = self.janitor.take() {
            drop(writer);
            // Bounded: a child that someone else still holds keeps the directory until it ends.
            let deadline = Instant::now() + Duration::from_secs(5);
            while matches!(janitor.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(POLL);
            }
        }
    }
}
