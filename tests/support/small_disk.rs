//! A disk that is soon full.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A small file system; dropping it takes it away.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one of so many KiB, or says loudly that the test is skipped: that takes root, and a sandbox may
    /// forbid it.
    pub(crate) fn mount(size: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let size = format!("size={size}k");
        mount.args(["-t", "tmpfs", "-o", &size, "plimsoll-test"]).arg(folder.path());
        if mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        // Unlike what the macros print, this is shown for a test that passes, too.
        let _ = writeln!(std::io::stderr(), "SKIPPED, the full disk: mounting a tmpfs isn't permitted here");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes up all the space that there is left but for so many bytes.
    pub(crate) fn fill(&self, but: usize) {
        let ballast = self.0.path().join("ballast");
        let mut all = std::fs::File::create(&ballast).unwrap();
        while all.write_all(&[0; 64 * 1024]).is_ok() {}
        let all = std::fs::metadata(&ballast).unwrap().len();
        let file = std::fs::File::options().write(true).open(&ballast).unwrap();
        file.set_len(all.saturating_sub(but as u64)).unwrap();
    }

    /// Gives it back.
    pub(crate) fn clear(&self) {
        std::fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}
