//! Interface of the log's directory and files, and its implementation by the operating system.
//!
//! A seam: tests supply files that lose unsynced writes. Not a general file system: files have a
//! fixed length, and are written at offsets.
//!
//! # Invariants
//! Writes that `sync` covered survive a crash; of the others, any subset of the sectors may. A name
//! is durable once `sync_names` has returned.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::storage::data_dir::{self, FILE_MODE};

/// Slices per call of `pwritev`; Linux's `IOV_MAX`.
const SLICES_MAX: usize = 1024;

/// Bytes of zeros per write into a new file. Linux keeps the bytes of one write as one large page,
/// and ext4 walks all blocks of a page for each later write into it: with a mebibyte, that took
/// longer than copying the data.
const ZEROS_BYTES: usize = 16 << 10;

/// A file of the log. Clones of its `Arc` keep it readable after its removal.
pub trait LogFile: Send + Sync + fmt::Debug {
    /// Writes `parts` consecutively, starting at `offset`.
    ///
    /// # Errors
    /// When not all bytes could be written.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// When not all bytes could be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Makes all earlier writes durable.
    ///
    /// # Errors
    /// When the disk fails: the writes may be lost.
    fn sync(&self) -> io::Result<()>;

    /// Returns the length of the file in bytes.
    ///
    /// # Errors
    /// When the disk fails.
    fn length(&self) -> io::Result<u64>;
}

/// The directory of the log.
pub trait LogFiles: Send + Sync + fmt::Debug {
    /// Returns the names of the files.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Creates a file of `length` zeros, all written to the disk; its name is not durable yet.
    ///
    /// # Errors
    /// When the disk is full or fails.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>>;

    /// Renames a file.
    ///
    /// # Errors
    /// When the disk fails.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When the disk fails.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of the files durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync_names(&self) -> io::Result<()>;
}

/// A directory in the file system.
#[derive(Debug)]
pub struct DiskFiles {
    path: PathBuf,
}

impl DiskFiles {
    /// Uses the files in `path`, which must exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }
}

impl LogFiles for DiskFiles {
    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        keep_private(&file)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(self.path.join(name))?;
        keep_private(&file)?;
        // Written, not only allocated: unwritten blocks cost each later sync a commit of the file
        // system's journal.
        let zeros = vec![0; ZEROS_BYTES];
        let mut left = length;
        while left > 0 {
            let part = usize::try_from(left).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
            file.write_all(&zeros[..part])?;
            left -= part as u64;
        }
        file.sync_all()?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        data_dir::sync_dir(&self.path)
    }
}

/// Lets only the owner read a file: entries hold hashes of passwords. Earlier versions created
/// files that all could read.
fn keep_private(file: &File) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o7777 != FILE_MODE {
        permissions.set_mode(FILE_MODE);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

#[derive(Debug)]
struct DiskFile(File);

impl LogFile for DiskFile {
    fn write_at(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let batch = &parts[..parts.len().min(SLICES_MAX)];
            let written = match rustix::io::pwritev(&self.0, batch, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut parts, written);
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
