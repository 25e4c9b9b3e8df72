//! What both passes of writing are told, and the rules that rows must keep.

use thiserror::Error;

use super::format::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Receives the rows of a file in order: the planner, then the writer. A function that feeds one
/// feeds both.
pub trait RowSink {
    /// Why a row is not taken.
    type Error;

    /// Begins a bucket; names ascend.
    ///
    /// # Errors
    /// As the sink says.
    fn bucket(&mut self, name: &[u8]) -> Result<(), Self::Error>;

    /// Adds a row to the bucket begun last; keys ascend within it.
    ///
    /// # Errors
    /// As the sink says.
    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Self::Error>;
}

/// A row or a bucket that a file cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RowFault {
    /// bbolt has no empty keys, and no empty names.
    #[error("a key is empty")]
    KeyEmpty,
    /// The key, or the name of a bucket, exceeds [`KEY_BYTES_MAX`].
    #[error("a key has {0} bytes; at most {KEY_BYTES_MAX} are possible")]
    KeyTooLong(usize),
    /// The value exceeds [`VALUE_BYTES_MAX`].
    #[error("a value has {0} bytes; at most {VALUE_BYTES_MAX} are possible")]
    ValueTooLong(usize),
    /// Keys and names of buckets must ascend.
    #[error("a key is not greater than the one before it")]
    Order,
    /// A row came before the first bucket.
    #[error("a row is in no bucket")]
    NoBucket,
}

/// Checks that keys are possible and ascend.
#[derive(Debug, Default)]
pub(super) struct Ascending {
    /// The last key; empty before the first, which is no possible key.
    last: Vec<u8>,
}

impl Ascending {
    pub(super) fn take(&mut self, key: &[u8]) -> Result<(), RowFault> {
        if key.is_empty() {
            return Err(RowFault::KeyEmpty);
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(RowFault::KeyTooLong(key.len()));
        }
        if key <= self.last.as_slice() {
            return Err(RowFault::Order);
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(())
    }

    /// Starts over.
    pub(super) fn reset(&mut self) {
        self.last.clear();
    }
}

/// Checks the length of a value.
pub(super) fn check_value(bytes: usize) -> Result<(), RowFault> {
    if bytes > VALUE_BYTES_MAX {
        return Err(RowFault::ValueTooLong(bytes));
    }
    Ok(())
}

/// A digest over all that a bucket's layout depends on, to find rows that changed between the
/// passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fed {
    /// Number of rows.
    pub(super) rows: u64,
    /// CRC-32C over keys and lengths.
    digest: u32,
}

impl Fed {
    pub(super) fn add(&mut self, key: &[u8], value_bytes: usize) {
        self.rows = self.rows.saturating_add(1);
        let lengths = [key.len() as u64, value_bytes as u64].map(u64::to_le_bytes);
        self.digest = crc32c::crc32c_append(self.digest, lengths.as_flattened());
        self.digest = crc32c::crc32c_append(self.digest, key);
    }
}
