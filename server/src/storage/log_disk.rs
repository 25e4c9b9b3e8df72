//! Where the log lies: records and facts, written in order and made durable on demand.
//!
//! A seam: the log store on top of it does not know files, and a test brings a disk that loses
//! what was not synced.

use std::io;

use bytes::Bytes;

/// A small fact kept beside the log's records. Stored keys, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The vote this node gave last.
    Vote,
    /// The last log id known to be committed; may lag.
    Committed,
    /// The last log id that was purged.
    Purged,
}

/// Bytes of an entry before its payload.
pub const ENTRY_HEAD: usize = 18;

/// The record of an entry: its head and its payload apart, so that no payload is copied for it.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// The entry's index.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
    /// The first bytes of what is stored.
    pub head: [u8; ENTRY_HEAD],
    /// The rest of what is stored.
    pub payload: Bytes,
}

impl LogRecord {
    /// Bytes of what is stored.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a record has a head")]
    pub const fn len(&self) -> usize {
        ENTRY_HEAD + self.payload.len()
    }

    /// What is stored, in one piece.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        [&self.head[..], &self.payload].concat().into()
    }
}

/// One write to the log.
#[derive(Clone, Debug)]
pub enum LogWrite {
    /// Store the record of an entry, which follows the last one.
    Put(LogRecord),
    /// Remove every record whose index is at least the first and less than the second.
    Remove(u64, u64),
    /// Store a fact.
    Fact(Fact, Vec<u8>),
}

/// The disk of the log.
///
/// # Invariants
/// After `sync` returned, every write made before it survives a crash. Of the writes after the last
/// `sync` a prefix survives.
pub trait LogDisk: Send + Sync + std::fmt::Debug {
    /// Makes the writes visible to readers, together.
    ///
    /// # Errors
    /// When the disk fails; the node must stop.
    fn write(&self, writes: &[LogWrite]) -> io::Result<()>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// When the disk fails; what was written since the last success may be lost, so the node must
    /// stop.
    fn sync(&self) -> io::Result<()>;

    /// Called when nothing waits to be written: time for what makes the log safer and is not waited
    /// for.
    ///
    /// # Errors
    /// When the disk fails; the node must stop.
    fn rest(&self) -> io::Result<()> {
        Ok(())
    }

    /// The records from `start` on, before `end`, in order, at most `bytes_max` of them but at
    /// least one if there is one.
    ///
    /// # Errors
    /// When the disk fails.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>>;

    /// The index of the last record.
    ///
    /// # Errors
    /// When the disk fails.
    fn last_index(&self) -> io::Result<Option<u64>>;

    /// A fact.
    ///
    /// # Errors
    /// When the disk fails.
    fn fact(&self, fact: Fact) -> io::Result<Option<Vec<u8>>>;

    /// Bytes that the log's records take on the disk.
    fn bytes(&self) -> u64;
}
