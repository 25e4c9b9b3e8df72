//! Interface of the log's disk: records and facts, written in order and made durable on demand.
//!
//! A seam: the log store above does not know files, and tests supply a disk that loses unsynced
//! writes.

use std::io;

use bytes::Bytes;

/// A small value stored beside the log's records. Stored keys never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The last vote of this node.
    Vote,
    /// The last log id known to be committed; may lag.
    Committed,
    /// The last log id purged.
    Purged,
}

/// Bytes of an encoded entry before its payload.
pub const ENTRY_HEAD: usize = 18;

/// The record of an entry. Head and payload are separate, so that the payload is not copied.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// Index of the entry.
    pub index: u64,
    /// Term in which the entry was proposed.
    pub term: u64,
    /// The first bytes of the stored entry.
    pub head: [u8; ENTRY_HEAD],
    /// The remaining bytes of the stored entry.
    pub payload: Bytes,
}

impl LogRecord {
    /// Bytes of the stored entry.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a record has a head")]
    pub const fn len(&self) -> usize {
        ENTRY_HEAD + self.payload.len()
    }

    /// Returns the stored entry in one piece.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        [&self.head[..], &self.payload].concat().into()
    }
}

/// One write to the log.
#[derive(Clone, Debug)]
pub enum LogWrite {
    /// Stores the record of an entry, which must follow the last one.
    Put(LogRecord),
    /// Removes every record with an index of at least the first and below the second value.
    Remove(u64, u64),
    /// Stores a fact.
    Fact(Fact, Vec<u8>),
}

/// The disk of the log.
///
/// # Invariants
/// When `sync` has returned, every earlier write survives a crash. Of the writes after the last
/// `sync` a prefix survives.
pub trait LogDisk: Send + Sync + std::fmt::Debug {
    /// Applies the writes, and makes them visible to readers together.
    ///
    /// # Errors
    /// When the disk fails; the node must stop.
    fn write(&self, writes: &[LogWrite]) -> io::Result<()>;

    /// Makes all earlier writes durable.
    ///
    /// # Errors
    /// When the disk fails; writes since the last successful sync may be lost, so the node must
    /// stop.
    fn sync(&self) -> io::Result<()>;

    /// Called when no write is waiting: time for work that makes the log safer and that no caller
    /// waits for.
    ///
    /// # Errors
    /// When the disk fails; the node must stop.
    fn rest(&self) -> io::Result<()> {
        Ok(())
    }

    /// Reads the records from `start` up to and without `end`, in order: at most `bytes_max` bytes,
    /// but at least one record if there is one.
    ///
    /// # Errors
    /// When the disk fails.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>>;

    /// Returns the index of the last record.
    ///
    /// # Errors
    /// When the disk fails.
    fn last_index(&self) -> io::Result<Option<u64>>;

    /// Reads a fact.
    ///
    /// # Errors
    /// When the disk fails.
    fn fact(&self, fact: Fact) -> io::Result<Option<Vec<u8>>>;

    /// Bytes that the log's records take on the disk.
    fn bytes(&self) -> u64;
}
