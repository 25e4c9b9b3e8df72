//! The latest records of the keys that are written often, in memory.
//!
//! Applying a write begins with a look at the record it replaces. For a busy key that record was
//! written a moment ago, and finding it in the database again would be a third of the work.
//!
//! # Invariants
//! Whoever applies is the only writer, and reads through here; readers of snapshots do not. What is
//! in here is what the database holds. Absence is never remembered.

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};

/// Memory for the records, keys included. Holds tens of thousands of the small records that a
/// coordination service is made of.
const BYTES_MAX: u64 = 8 << 20;
/// A guess at the number of records, for the size of tables made in advance.
const RECORDS_EXPECTED: usize = 16 << 10;
/// A record above this size is not kept: a few of them would push out all others.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// What a record takes besides its bytes.
const OVERHEAD: u64 = 96;

/// The latest records of busy keys.
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

    /// Keeps copies: the originals may be small parts of large buffers.
    pub(super) fn put(&self, key: &[u8], record: &Bytes) {
        if record.len() > RECORD_BYTES_MAX {
            self.remove(key);
            return;
        }
        self.records
            .insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(record));
    }

    /// As [`LatestRecords::put`], if there is one of the key.
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
