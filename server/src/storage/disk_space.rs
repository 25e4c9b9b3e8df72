//! How many bytes are free on the file system of a directory.

use std::{io, path::Path};

/// The bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process may still write.
    pub available: u64,
    /// All bytes.
    pub total: u64,
}

impl DiskSpace {
    /// Asks the file system that holds `directory`.
    ///
    /// # Errors
    /// When it does not answer, or the directory does not exist.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self {
            // Blocks that only the superuser may use are left out, as for any other process.
            available: bytes(found.f_bavail),
            total: bytes(found.f_blocks),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_no_more_bytes_available_than_it_has_and_a_missing_one_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let space = DiskSpace::of(directory.path()).unwrap();
        assert!(
            space.available > 0 && space.available <= space.total,
            "{space:?}"
        );
        assert!(DiskSpace::of(&directory.path().join("none")).is_err());
    }
}
