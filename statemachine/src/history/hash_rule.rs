//! What etcd's `HashKV` is: which changes of history count, and the hash over them.
//!
//! The rule knows no state, so that it is the same for the history of a node and for that of a
//! snapshot file. Invariant: it depends on the logical history only. etcd hashes all rows that
//! exist; here a row that collection may or may not have deleted yet is never counted, which equals
//! etcd's result after its own compaction has finished.

use crate::value::Revision;

/// etcd hashes the name of the bucket first.
const BUCKET: &[u8] = b"key";

/// A hash over history, and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32 (Castagnoli).
    pub hash: u32,
    /// The floor at the time; -1 before the first compaction.
    pub compact_revision: Revision,
    /// The last revision hashed.
    pub hash_revision: Revision,
}

/// Whether a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// It counts.
    Always,
    /// It counts if it is the latest change of its key at [`HashRule::latest_at`].
    IfLatest,
    /// It does not count.
    Never,
    /// It is above the last revision hashed, and so are all after it.
    Beyond,
}

/// The hash over history up to a revision, fed with the changes that count, in order.
#[derive(Clone, Copy, Debug)]
pub struct HashRule {
    floor: Revision,
    revision: Revision,
    latest_at: Revision,
    hash: u32,
}

impl HashRule {
    /// Begins the hash up to `revision` of a store compacted at `floor`. `any_key` says whether any
    /// key exists at `revision`.
    #[must_use]
    pub fn new(floor: Revision, revision: Revision, any_key: bool) -> Self {
        Self {
            floor,
            revision,
            latest_at: if any_key { revision } else { floor },
            hash: crc32c::crc32c(BUCKET),
        }
    }

    /// The last revision hashed.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision at which a change at or below the floor must be the latest of its key.
    #[must_use]
    pub const fn latest_at(&self) -> Revision {
        self.latest_at
    }

    /// Says whether a change counts.
    #[must_use]
    pub fn counts(&self, main: Revision, is_tombstone: bool) -> Counts {
        if main > self.revision {
            Counts::Beyond
        } else if main > self.floor {
            Counts::Always
        } else if is_tombstone {
            Counts::Never
        } else {
            Counts::IfLatest
        }
    }

    /// Adds a change that counts: its revision key and its record, as stored.
    pub fn add(&mut self, row: &[u8], value: &[u8]) {
        self.hash = crc32c::crc32c_append(self.hash, row);
        self.hash = crc32c::crc32c_append(self.hash, value);
    }

    /// Returns the hash.
    #[must_use]
    pub const fn into_hash(self) -> HashKv {
        HashKv {
            hash: self.hash,
            compact_revision: self.floor,
            hash_revision: self.revision,
        }
    }
}
