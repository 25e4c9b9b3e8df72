//! A small file system in memory, to be filled: a disk of which a test can see the end.
//!
//! # Invariants
//! It is unmounted when the [`SmallDisk`] is dropped; the nodes on it must be gone before.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

/// A mounted file system of a few hundred megabytes.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Mounts a file system of so many megabytes.
    ///
    /// # Errors
    /// A sentence that says what is missing, mostly the right to mount.
    ///
    /// # Panics
    /// When the temporary directory cannot be written to.
    pub fn new(megabytes: u32) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("tenure-small-")
            .tempdir()
            .expect("the temporary directory can be written to");
        let disk = Self { directory };
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(disk.directory.path());
        match mount.output() {
            Ok(output) if output.status.success() => Ok(disk),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("mount cannot be run: {error}")),
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Fails only when it was not mounted.
        _ = Command::new("umount").arg(self.directory.path()).output();
    }
}
