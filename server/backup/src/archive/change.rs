//! One revision as a segment holds it.

use bytes::Bytes;
use prost::Message;
use tenure_statemachine::Revision;

use crate::schema::{KeyValue, Lease, RevisionKey};

/// All changes of one revision, in the order of the transaction that made them.
#[derive(Clone, PartialEq, Message)]
pub struct ArchivedRevision {
    /// The revision.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// When the archiver received it, by its wall clock: milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// What changed.
    #[prost(message, repeated, tag = "3")]
    pub changes: Vec<ArchivedChange>,
    /// Leases that a change names for the first time, with the TTL that the server told then.
    #[prost(message, repeated, tag = "4")]
    pub leases: Vec<Lease>,
}

/// A change of one key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ArchivedChange {
    /// Whether the key was deleted.
    #[prost(bool, tag = "1")]
    pub deleted: bool,
    /// The key after the change; the key alone when it was deleted.
    #[prost(message, required, tag = "2")]
    pub kv: KeyValue,
}

impl ArchivedRevision {
    /// The rows of the bucket `key`, in their order: those that a snapshot of the server has.
    pub fn rows(&self) -> impl Iterator<Item = (RevisionKey, KeyValue)> {
        let main = Revision(self.revision);
        self.changes.iter().zip(0_i64..).map(move |(change, sub)| {
            let at = RevisionKey {
                main,
                sub,
                is_tombstone: change.deleted,
            };
            (at, change.record())
        })
    }
}

impl ArchivedChange {
    /// The record in history. That of a deletion holds the key alone.
    fn record(&self) -> KeyValue {
        if self.deleted {
            let key: Bytes = self.kv.key.clone();
            return KeyValue {
                key,
                ..KeyValue::default()
            };
        }
        self.kv.clone()
    }
}
