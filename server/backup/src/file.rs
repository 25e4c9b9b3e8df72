//! A saved snapshot: a database, and the SHA-256 of it in the last 32 bytes.
//!
//! The file does not say whether the checksum is there; its size does. A database is a whole number
//! of pages, so 32 bytes beyond a multiple of 512 are the checksum. A database out of a member's
//! directory (`member/snap/db`) has none. The texts of the errors are those of etcd's tools.

use std::{fmt, io};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::bbolt::{Database, ReadAt, ReadError};

/// Bytes of the checksum behind a database.
pub const CHECKSUM_BYTES: usize = 32;

/// A database is a multiple of this, whatever its page size: the size of a disk's sector.
const SECTOR_BYTES: u64 = 512;

/// Bytes read at a time to compute a checksum.
const READ_BYTES: usize = 256 * 1024;

/// Whether a file of this size ends with a checksum.
#[must_use]
pub const fn has_checksum(bytes: u64) -> bool {
    bytes % SECTOR_BYTES == CHECKSUM_BYTES as u64
}

/// Checks that a snapshot which was just received is complete: that it ends with a checksum.
///
/// # Errors
/// `sha256 checksum not found`, as etcd's tools say.
pub const fn check_saved(bytes: u64) -> Result<(), ChecksumError> {
    if has_checksum(bytes) {
        Ok(())
    } else {
        Err(ChecksumError::NotFound { bytes })
    }
}

/// What is wrong with the checksum of a file.
#[derive(Debug, Error)]
pub enum ChecksumError {
    /// The file has none, and it was to be checked.
    #[error("snapshot missing hash but --skip-hash-check=false")]
    Missing,
    /// The database is not the one that was saved.
    #[error("expected sha256 {expected}, got {got}")]
    Differs {
        /// The checksum in the file.
        expected: Checksum,
        /// That of the database.
        got: Checksum,
    },
    /// A received snapshot has none: it was cut.
    #[error("sha256 checksum not found [bytes: {bytes}]")]
    NotFound {
        /// Size of what was received.
        bytes: u64,
    },
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A SHA-256. It prints as Go prints an array of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub [u8; CHECKSUM_BYTES]);

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "[";
        for byte in self.0 {
            write!(f, "{separator}{byte}")?;
            separator = " ";
        }
        f.write_str("]")
    }
}

/// Computes the checksum of a database while it is written.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the checksum: the last bytes of the file.
    #[must_use]
    pub fn finish(self) -> Checksum {
        Checksum(self.0.finalize().into())
    }
}

/// A snapshot file that is read. It is never written to.
#[derive(Debug)]
pub struct SnapshotFile<S> {
    source: S,
    /// Bytes of the database, without the checksum.
    database_bytes: u64,
    has_checksum: bool,
}

impl<S: ReadAt> SnapshotFile<S> {
    /// Opens a file.
    ///
    /// # Errors
    /// When the system cannot tell its size.
    pub fn open(source: S) -> Result<Self, ReadError> {
        let bytes = source.length().map_err(ReadError::Length)?;
        let has_checksum = has_checksum(bytes);
        let behind = if has_checksum { CHECKSUM_BYTES } else { 0 };
        Ok(Self {
            source,
            database_bytes: bytes.saturating_sub(behind as u64),
            has_checksum,
        })
    }

    /// Whether it ends with a checksum.
    #[must_use]
    pub const fn has_checksum(&self) -> bool {
        self.has_checksum
    }

    /// Bytes of the database, without the checksum.
    #[must_use]
    pub const fn database_bytes(&self) -> u64 {
        self.database_bytes
    }

    /// Opens the database in it. The checksum is not compared.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn database(&self) -> Result<Database<Section<&S>>, ReadError> {
        Database::open(Section {
            source: &self.source,
            bytes: self.database_bytes,
        })
    }

    /// Reads all of the database and compares its checksum.
    ///
    /// # Errors
    /// When there is no checksum, it differs, or the file cannot be read.
    pub fn verify_checksum(&self) -> Result<(), ChecksumError> {
        if !self.has_checksum {
            return Err(ChecksumError::Missing);
        }
        let mut expected = [0; CHECKSUM_BYTES];
        self.read(&mut expected, self.database_bytes)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; READ_BYTES];
        let mut offset = 0_u64;
        while offset < self.database_bytes {
            let left = self.database_bytes.saturating_sub(offset);
            let now = usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES);
            let part = buffer.get_mut(..now).unwrap_or_default();
            self.read(part, offset)?;
            hasher.add(part);
            offset = offset.saturating_add(now as u64);
        }
        let (expected, got) = (Checksum(expected), hasher.finish());
        if expected == got {
            Ok(())
        } else {
            Err(ChecksumError::Differs { expected, got })
        }
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let bytes = buffer.len();
        self.source
            .read_exact_at(buffer, offset)
            .map_err(|source| ReadError::Io {
                offset,
                bytes,
                source,
            })
    }
}

/// The first bytes of a source: a file without the checksum.
#[derive(Clone, Copy, Debug)]
pub struct Section<S> {
    source: S,
    bytes: u64,
}

impl<S: ReadAt> ReadAt for Section<S> {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.saturating_add(buffer.len() as u64) > self.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_exact_at(buffer, offset)
    }
}
