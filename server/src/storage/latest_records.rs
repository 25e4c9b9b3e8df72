//! Cache of the latest records of frequently written keys.
//!
//! Applying a write begins by reading the record it replaces. For a busy key that record was
//! written recently, and reading it from the database would be a third of the work.
//!
//! # Invariants
//! The applier is the only writer and reads through the cache; readers of snapshots do not.
//! Cached records equal those in the database. Absence of a key is never cached.

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};

/// Memory for the records, including keys. Holds tens of thousands of the small records that are
/// typical of a coordination service.
const BYTES_MAX: u64 = 8 << 20;
/// Estimated number of records, used to preallocate tables.
const RECORDS_EXPECTED: usize = 16 << 10;
/// Larger records are not cached: a few of them would evict all others.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// Memory that a record takes besides its bytes.
const OVERHEAD: u64 = 96;

/// Cache of the latest records of busy keys.
#[derive(Debug)]
pub(super) struct LatestRecords {
    records: Cache<Bytes, Bytes, Weight>,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Bytes, Bytes> for Weight {
    fn weight(&self, key: &Bytes, record: &Bytes) -> u64 {
        OVERHEAD + (key.len() + record.len()) as u64
    }
}

impl Default for LatestRecords {
    fn default() -> Self {
        Self {
            records: Cache::with_weighter(RECORDS_EXPECTED, BYTES_MAX, Weight),
        }
    }
}

impl LatestRecords {
    pub(super) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.records.get(key)
    }

    /// Stores copies: the originals may be small slices of large buffers.
    pub(super) fn put(&self, key: &[u8], record: &Bytes) {
        if record.len() > RECORD_BYTES_MAX {
            self.remove(key);
            return;
        }
        self.records
            .insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(record));
    }

    /// As [`LatestRecords::put`], but only if the key is cached.
    pub(super) fn update(&self, key: &[u8], record: &Bytes) {
        if self.records.contains_key(key) {
            self.put(key, record);
        }
    }

    pub(super) fn remove(&self, key: &[u8]) {
        self.records.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_and_forgotten() {
        let latest = LatestRecords::default();
        latest.put(b"k", &Bytes::from_static(b"one"));
        latest.put(b"k", &Bytes::from_static(b"two"));
        assert_eq!(latest.get(b"k"), Some(Bytes::from_static(b"two")));
        latest.remove(b"k");
        assert_eq!(latest.get(b"k"), None);
    }

    #[test]
    fn only_a_record_that_is_there_is_updated() {
        let latest = LatestRecords::default();
        latest.update(b"k", &Bytes::from_static(b"one"));
        assert_eq!(latest.get(b"k"), None);
        latest.put(b"k", &Bytes::from_static(b"one"));
        latest.update(b"k", &Bytes::from_static(b"two"));
        assert_eq!(latest.get(b"k"), Some(Bytes::from_static(b"two")));
    }

    #[test]
    fn a_record_that_outgrew_the_limit_does_not_leave_its_former_self() {
        let latest = LatestRecords::default();
        latest.put(b"k", &Bytes::from_static(b"small"));
        latest.put(b"k", &vec![0; RECORD_BYTES_MAX + 1].into());
        assert_eq!(latest.get(b"k"), None);
    }

    #[test]
    fn memory_stays_within_its_bound() {
        let latest = LatestRecords::default();
        for number in 0..100_000_u32 {
            latest.put(&number.to_be_bytes(), &vec![0; 1024].into());
        }
        assert!(
            latest.records.weight() <= BYTES_MAX,
            "{}",
            latest.records.weight()
        );
    }
}
