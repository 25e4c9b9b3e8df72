//! `etcdutl snapshot status`: a fingerprint of a snapshot.

use tenure_statemachine::Revision;

use crate::{
    bbolt::{Database, ReadAt},
    content::{ContentError, LiveKeys, records_of},
    schema::{BucketName, EncodedRow, Record},
};

/// What `etcdutl snapshot status` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C over all buckets in order: each name, and the keys and values in it.
    pub hash: u32,
    /// The revision of the last change in the bucket `key`; zero without any. After a compaction
    /// that deleted the last changes, the key space is at a later one: see
    /// [`Contents`](crate::Contents).
    pub revision: Revision,
    /// Number of keys that exist, as etcdutl counts since 3.6. A restore with a bumped revision
    /// adds an empty key, which counts.
    pub keys: u64,
    /// Number of rows in all buckets: what older tools print as the total of keys.
    pub rows: u64,
    /// Bytes of the database.
    pub bytes: u64,
    /// The storage version; empty before etcd 3.6.
    pub version: String,
}

/// Computes the status of a database. Call [`Database::check`] first: like etcdutl, which does so,
/// this says nothing about pages that no bucket reaches.
///
/// It keeps all keys that exist in memory.
///
/// # Errors
/// When the file is damaged or cannot be read, or a row that it must understand is malformed.
pub fn status<S: ReadAt>(database: &Database<S>) -> Result<Status, ContentError> {
    let mut status = Status {
        bytes: database.bytes(),
        ..Status::default()
    };
    let mut live = LiveKeys::default();
    for bucket in database.buckets() {
        let bucket = bucket?;
        let name = BucketName::from_bytes(bucket.name());
        status.hash = crc32c::crc32c_append(status.hash, bucket.name());
        for row in database.rows(&bucket) {
            let row = row?;
            status.rows = status.rows.saturating_add(1);
            status.hash = crc32c::crc32c_append(status.hash, &row.key);
            status.hash = crc32c::crc32c_append(status.hash, &row.value);
            if name == Some(BucketName::Key) {
                let row = EncodedRow::new(BucketName::Key, row);
                if let Record::Change(at, kv) = Record::decode(row)? {
                    status.revision = at.main;
                    live.change(&kv.key, at.is_tombstone);
                }
            }
        }
    }
    status.keys = live.count();
    for record in records_of(database, BucketName::Meta)? {
        if let Record::StorageVersion(version) = record? {
            status.version = version;
        }
    }
    Ok(status)
}
