//! The ordered store that the machine works on: get, scan, atomic batch, snapshot.
//!
//! [`MemEngine`] serves models and simulations; the server has one on disk. Both pass
//! [`conformance`]. Values are opaque here; the machine interprets them.

pub mod conformance;
mod mem;

use std::fmt;

use bytes::Bytes;

pub use self::mem::MemEngine;
use crate::error::EngineError;

/// A named, ordered map of bytes to bytes. Discriminants are stored and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Key to its latest record.
    Current = 0,
    /// Revision to change, keyed as in etcd's backend.
    History = 1,
    /// Key and revision to kind of change; finds a key's record at a past revision.
    Versions = 2,
    /// Lease id to lease.
    Leases = 3,
    /// Lease id and key to nothing: the keys attached to a lease.
    LeaseKeys = 4,
    /// Members' attributes, alarms, and other small replicated facts.
    Cluster = 5,
    /// Counters, floor, cluster time, and the record of the log's adapter.
    Meta = 6,
}

impl Table {
    /// Every table, in ordinal order.
    pub const ALL: [Self; 7] = [
        Self::Current,
        Self::History,
        Self::Versions,
        Self::Leases,
        Self::LeaseKeys,
        Self::Cluster,
        Self::Meta,
    ];
}

/// A consistent, readable state of all tables.
pub trait View: Send + Sync + fmt::Debug {
    /// Returns the value of `key`.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Returns the values of `keys`, in their order, which is ascending. An engine that can read
    /// several rows at once should override this.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, EngineError> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// Returns a cursor before the first key that is at least `from`.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError>;
}

/// Walks a table in ascending key order.
pub trait Cursor {
    /// Returns the next pair, or `None` at the end.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, EngineError>;

    /// As [`Cursor::next`], without the value: for counting. An engine that can skip reading the
    /// value should override this.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn next_key(&mut self) -> Result<Option<Bytes>, EngineError> {
        Ok(self.next()?.map(|(key, _)| key))
    }

    /// Moves to before the first key that is at least `key`, which must not be behind the cursor.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn skip_to(&mut self, key: &[u8]) -> Result<(), EngineError>;
}

/// Writes to be made atomically: all of them or none.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// In order; of several writes to one key the last wins.
    pub ops: Vec<WriteOp>,
}

/// One write of a [`WriteBatch`].
#[derive(Clone, Debug)]
pub enum WriteOp {
    /// Stores a value.
    Put(Table, Bytes, Bytes),
    /// Removes a key; no effect if the key is absent.
    Delete(Table, Bytes),
}

/// The ordered store.
///
/// # Invariants
/// A batch is visible, and survives a crash, completely or not at all. Of the batches written
/// before a crash a prefix survives; only a flush decides which prefix, because the log replays the
/// rest.
pub trait Engine: View {
    /// Applies `batch` atomically.
    ///
    /// # Errors
    /// When the engine cannot write; the node must stop.
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError>;

    /// Returns a state that later writes do not change.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn snapshot<'a>(&'a self) -> Result<Box<dyn View + 'a>, EngineError>;
}
