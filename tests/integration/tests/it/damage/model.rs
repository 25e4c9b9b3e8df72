//! What was acknowledged, and whether a node still has it.

use std::collections::BTreeMap;

use tenure_testkit::{Calls, Node};
use tonic::Status;

const PREFIX: &str = "damage/";
const LEASE_TTL_S: i64 = 86_400;
/// An entry fits into one sector of the log: of a killed node's very last write, damage to a later
/// sector cannot be told from a write that the kill cut short.
const VALUE_PADDING_MAX: usize = 200;

/// Everything acknowledged.
#[derive(Debug)]
pub(super) struct Model {
    /// Value, revision of the last change, and lease, by key.
    keys: BTreeMap<String, (String, i64, i64)>,
    lease: i64,
    last: i64,
    writes: usize,
}

impl Model {
    /// Begins with a lease.
    pub(super) async fn new(calls: &Calls) -> Self {
        Self {
            keys: BTreeMap::new(),
            lease: calls.grant(LEASE_TTL_S).await.unwrap(),
            last: 0,
            writes: 0,
        }
    }

    /// Writes `count` values, one in four of them on the lease.
    pub(super) async fn write(&mut self, calls: &Calls, count: usize) {
        for _ in 0..count {
            self.writes += 1;
            let key = format!("{PREFIX}{:03}", self.writes % 300);
            let value = format!(
                "{}/{}",
                self.writes,
                "x".repeat(self.writes * 7 % VALUE_PADDING_MAX)
            );
            let lease = if self.writes.is_multiple_of(4) {
                self.lease
            } else {
                0
            };
            let revision = calls.put_on_lease(&key, &value, lease).await.unwrap();
            assert!(
                revision > self.last,
                "revision {revision} was given out after {}",
                self.last
            );
            self.last = revision;
            self.keys.insert(key, (value, revision, lease));
        }
    }

    /// Whether `node` has all of it, read with the agreement of the quorum.
    ///
    /// # Errors
    /// When it does not answer.
    ///
    /// # Panics
    /// When something is lost or differs.
    pub(super) async fn check(&self, node: &Node, what: &str) -> Result<(), Status> {
        let calls = node.calls();
        let found = calls.get_prefix(PREFIX).await?;
        let found: BTreeMap<_, _> = found
            .into_iter()
            .map(|kv| {
                let key = String::from_utf8(kv.key.to_vec()).unwrap();
                let value = String::from_utf8(kv.value.to_vec()).unwrap();
                (key, (value, kv.mod_revision, kv.lease))
            })
            .collect();
        for (key, acknowledged) in &self.keys {
            let found = found.get(key);
            assert_eq!(
                found,
                Some(acknowledged),
                "{what}: {key} at {}",
                node.name()
            );
        }
        assert_eq!(found.len(), self.keys.len(), "{what}: keys nobody wrote");
        let lease = calls.time_to_live(self.lease).await?;
        let attached = self.keys.values().filter(|(_, _, lease)| *lease != 0);
        assert!(
            lease.ttl > 0,
            "{what}: the lease is gone at {}",
            node.name()
        );
        assert_eq!(
            lease.keys.len(),
            attached.count(),
            "{what}: the lease's keys"
        );
        // Reads all history, and with it every table.
        calls.hash_kv(0).await.map(drop)
    }
}
