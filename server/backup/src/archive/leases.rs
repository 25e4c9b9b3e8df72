//! The leases of a point in time: those that keys name, with the TTL that is known of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::schema::{KeyValue, Lease, RevisionKey};

/// The TTL of a lease that a key names and of which nothing else is known: it ended before the
/// archiver could ask. Long enough for a client that returns to renew it.
const UNKNOWN_TTL_SECONDS: i64 = 300;

/// Collects what is told of leases. In memory are the keys that have one, and all leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    known: BTreeMap<i64, Lease>,
    /// The lease of each key that has one.
    attached: HashMap<Box<[u8]>, i64>,
    /// Leases of the snapshot, which may have no key.
    kept: BTreeSet<i64>,
}

impl Leases {
    /// Takes a lease of the snapshot.
    pub(super) fn keep(&mut self, lease: Lease) {
        self.kept.insert(lease.id);
        self.know(lease);
    }

    /// Takes a lease that the archiver learned of.
    pub(super) fn know(&mut self, lease: Lease) {
        self.known.entry(lease.id).or_insert(lease);
    }

    /// Takes the next change.
    pub(super) fn change(&mut self, at: RevisionKey, kv: &KeyValue) {
        if at.is_tombstone || kv.lease == 0 {
            self.attached.remove(&kv.key[..]);
        } else if let Some(lease) = self.attached.get_mut(&kv.key[..]) {
            *lease = kv.lease;
        } else {
            self.attached.insert(kv.key[..].into(), kv.lease);
        }
    }

    /// The leases to write, by id as the bucket orders them.
    pub(super) fn finish(mut self) -> Vec<Lease> {
        let mut ids: BTreeSet<i64> = self.attached.into_values().collect();
        ids.append(&mut self.kept);
        let known = |id: i64| {
            let lease = self.known.remove(&id);
            lease.unwrap_or(Lease {
                id,
                ttl: UNKNOWN_TTL_SECONDS,
                remaining_ttl: 0,
            })
        };
        let mut leases: Vec<Lease> = ids.into_iter().map(known).collect();
        leases.sort_unstable_by_key(|lease| lease.id.to_be_bytes());
        leases
    }
}
