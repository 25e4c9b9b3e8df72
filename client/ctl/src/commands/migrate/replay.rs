//! Writes the revisions of the source to the destination, each as one transaction, so that the
//! destination makes the same revision of it.
//!
//! Invariant: after each transaction the destination is at that revision; otherwise something else
//! writes to it, and the move ends. An attempt is repeated only under the condition that it was not
//! executed.

use std::collections::BTreeSet;

use anyhow::anyhow;
use bytes::Bytes;
use tenure::{
    Client, Compare, Delete, ErrorKind, Get, KeyRange, LeaseId, Op, Put, Relation, Revision,
};
use tenure_backup::archive::{ArchivedChange, ArchivedRevision};

use super::Move;
use crate::{
    commands::archive::{Folder, Tail},
    failure::Failure,
    replication::{LeaseCopy, key_after, patiently, read_patiently},
};

/// Replays an archive.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    destination: &'a Client,
    leases: LeaseCopy,
    tail: Tail,
    at: Revision,
    ops_max: usize,
}

impl<'a> Replay<'a> {
    /// Begins after the revision `at` that the destination is at.
    pub(super) async fn begin(
        plan: &Move<'_>,
        destination: &'a Client,
        folder: &Folder,
        at: Revision,
    ) -> Result<Self, Failure> {
        let leases = LeaseCopy::start(&plan.source, destination);
        // First of all, because they are running.
        leases.adopt().await?;
        let first = folder.snapshots()?.first().map(|(revision, _)| revision.0);
        if first.is_none_or(|first| at.get() < first) {
            return Err(anyhow!(
                "the destination is at revision {}, before the snapshot in {}: restore it from \
                 that, with --same-revision",
                at.get(),
                folder.path().display()
            )
            .into());
        }
        let source = async || plan.source.get("\0").count_only().await;
        let other = async || destination.get("\0").count_only().await;
        let source = read_patiently(source).await?.header().cluster_id();
        if source == read_patiently(other).await?.header().cluster_id() {
            return Err(anyhow!("source and destination are one cluster").into());
        }
        Ok(Self {
            destination,
            leases,
            tail: Tail::new(folder, at),
            at,
            ops_max: plan.args.max_txn_ops,
        })
    }

    /// The last revision that is replayed.
    pub(super) const fn at(&self) -> Revision {
        self.at
    }

    pub(super) const fn leases(&self) -> &LeaseCopy {
        &self.leases
    }

    pub(super) const fn destination(&self) -> &Client {
        self.destination
    }

    /// Replays the next revision of the archive, which is durable there.
    pub(super) async fn step(&mut self) -> Result<(), Failure> {
        let next = self.tail.next()?;
        let revision = Revision::new(next.revision);
        let reached = if next.changes.len() <= self.ops_max {
            let ops = self.operations(&next.changes).await?;
            self.transaction(&next, ops).await?
        } else {
            self.large(&next).await?
        };
        if reached != revision {
            return Err(anyhow!(
                "the destination is at revision {} after revision {} was written to it: something \
                 else writes to it, or it ended a lease. Restore it again",
                reached.get(),
                revision.get()
            )
            .into());
        }
        self.at = revision;
        Ok(())
    }

    async fn operations(&self, changes: &[ArchivedChange]) -> Result<Vec<Op>, Failure> {
        let mut ops = Vec::with_capacity(changes.len());
        for change in changes {
            let kv = &change.kv;
            if change.deleted {
                ops.push(Delete::new(&kv.key).into());
                continue;
            }
            let put = Put::new(&kv.key, &kv.value);
            ops.push(if kv.lease == 0 {
                put.into()
            } else {
                let lease = LeaseId::new(kv.lease);
                self.leases.ensure(lease).await?;
                put.lease(lease).into()
            });
        }
        Ok(ops)
    }

    /// Runs one transaction. Returns the revision that the destination is at then.
    async fn transaction(
        &self,
        next: &ArchivedRevision,
        ops: Vec<Op>,
    ) -> Result<Revision, Failure> {
        // Executed before, the key would be of this revision. A deletion that is repeated finds
        // nothing, and makes no revision.
        let mut puts = next.changes.iter().filter(|change| !change.deleted);
        let guard = puts.next().map(|put| {
            Compare::mod_revision(&put.kv.key, Relation::Less, Revision::new(next.revision))
        });
        let write = async || {
            let txn = self.destination.txn();
            let txn = match &guard {
                Some(guard) => txn.when(guard.clone()),
                None => txn,
            };
            let txn = ops.iter().cloned().fold(txn, |txn, op| txn.and_then(op));
            // The header of a failed transaction has no revision in some servers without a read.
            txn.or_else(Get::new("\0")).await
        };
        let repeat = |error: &tenure::Error| error.is_retryable() || error.outcome_unknown();
        let answer = patiently(write, repeat).await;
        let answer = answer.map_err(|error| self.explained(error, next))?;
        Ok(answer.revision())
    }

    fn explained(&self, error: tenure::Error, next: &ArchivedRevision) -> Failure {
        if error.kind() == ErrorKind::InvalidArgument {
            let (changes, max) = (next.changes.len(), self.ops_max);
            let text = format!(
                "revision {} of the source, {changes} changes, is refused with --max-txn-ops \
                 {max}: the servers of the destination may need the same limits as the source's",
                next.revision
            );
            return Failure::Command(anyhow::Error::from(error).context(text));
        }
        Failure::Call(error)
    }

    /// Replays a revision with more changes than a transaction may have: the end of a lease with
    /// many keys, or a deletion of a range.
    async fn large(&self, next: &ArchivedRevision) -> Result<Revision, Failure> {
        if next.changes.iter().all(|change| change.deleted)
            && let Some(reached) = self.revoked(next).await?
        {
            return Ok(reached);
        }
        let ops = self.compressed(&next.changes).await?;
        if ops.len() > self.ops_max {
            return Err(anyhow!(
                "revision {} of the source has {} changes, which no transaction of {} operations \
                 can make: start the servers of the destination with --max-txn-ops of the \
                 source's, and give it here",
                next.revision,
                next.changes.len(),
                self.ops_max
            )
            .into());
        }
        self.transaction(next, ops).await
    }

    /// Revokes the lease whose keys are exactly those that were deleted. `None` when there is none.
    async fn revoked(&self, next: &ArchivedRevision) -> Result<Option<Revision>, Failure> {
        let deleted: BTreeSet<&Bytes> = next.changes.iter().map(|change| &change.kv.key).collect();
        let Some(first) = deleted.first() else {
            return Ok(None);
        };
        let found = read_patiently(async || self.destination.get(*first).await).await?;
        let Some(lease) = found.first().and_then(tenure::KeyValue::lease) else {
            return Ok(None);
        };
        let leases = || self.destination.leases();
        let known = read_patiently(async || leases().time_to_live(lease).keys().await).await?;
        let attached: BTreeSet<&Bytes> = known.keys().iter().collect();
        if attached != deleted {
            return Ok(None);
        }
        self.leases.forget(lease);
        let revoke = async || leases().revoke(lease).await;
        let repeat = |error: &tenure::Error| error.is_retryable() || error.outcome_unknown();
        match patiently(revoke, repeat).await {
            Ok(_) => {}
            // An attempt whose answer was lost did it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let now = read_patiently(async || self.destination.get("\0").count_only().await).await?;
        Ok(Some(now.revision()))
    }

    /// The operations, with one deletion of a range for neighbours that are deleted together and
    /// between which the destination has no other key.
    async fn compressed(&self, changes: &[ArchivedChange]) -> Result<Vec<Op>, Failure> {
        let mut ops = Vec::new();
        let mut rest = changes;
        while let Some(first) = rest.first() {
            let mut length = deletions(rest);
            if length > 1 {
                length = self.neighbours(&rest[..length]).await?;
            }
            if length > 1 {
                let end = key_after(&rest[length - 1].kv.key);
                ops.push(Delete::new(KeyRange::between(&first.kv.key, end)).into());
                rest = &rest[length..];
            } else {
                ops.append(&mut self.operations(&rest[..1]).await?);
                rest = &rest[1..];
            }
        }
        Ok(ops)
    }

    /// How many of these deletions, in ascending order, are all that the destination has from the
    /// first of them on.
    async fn neighbours(&self, deletions: &[ArchivedChange]) -> Result<usize, Failure> {
        let mut low = 1;
        let mut high = deletions.len();
        // Keys that are there: all of them, as the destination is at the revision before.
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let end = key_after(&deletions[middle - 1].kv.key);
            let range = KeyRange::between(&deletions[0].kv.key, end);
            let count = async || self.destination.get(range.clone()).count_only().await;
            let found = read_patiently(count).await?.count();
            if found == middle as u64 {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }
}

/// How many changes at the start are deletions of ascending keys.
fn deletions(changes: &[ArchivedChange]) -> usize {
    let mut length = 0;
    let mut last: Option<&Bytes> = None;
    for change in changes {
        if !change.deleted || last.is_some_and(|last| change.kv.key <= *last) {
            break;
        }
        last = Some(&change.kv.key);
        length += 1;
    }
    length
}

#[cfg(test)]
mod tests {
    use tenure_backup::schema::KeyValue;

    use super::*;

    fn change(key: &'static str, deleted: bool) -> ArchivedChange {
        let kv = KeyValue {
            key: key.into(),
            ..KeyValue::default()
        };
        ArchivedChange { deleted, kv }
    }

    #[test]
    fn only_deletions_in_ascending_order_are_one_range() {
        let run = [change("a", true), change("b", true), change("a", true)];
        assert_eq!(deletions(&run), 2);
        assert_eq!(deletions(&[change("a", true), change("b", false)]), 1);
        assert_eq!(deletions(&[change("a", false)]), 0);
    }
}
