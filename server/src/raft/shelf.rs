//! The newest snapshot, and beside it the one that is being sent.
//!
//! A transfer over a slow link outlasts snapshots. One that breaks off goes on with the snapshot
//! that it began with, whose files are still the same, as long as it makes progress.
//!
//! # Invariants
//! At most one snapshot beside the newest is kept, and none for longer than [`KEPT_MAX`] without
//! progress.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openraft::type_config::alias::SnapshotOf;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    consensus::{LogId, TypeConfig},
    storage::{AdapterRecord, Checkpoint},
};

/// How long a snapshot is kept for a transfer that makes no progress: longer than a member takes to
/// restart or a link to come back, and short, as the files of a replaced state take disk.
const KEPT_MAX: Duration = Duration::from_secs(60);

/// What a snapshot covers, and its files.
pub(super) type Built = (AdapterRecord, Checkpoint);
type Snapshot = SnapshotOf<TypeConfig, Checkpoint>;

/// The newest snapshot of a node, whichever it is at the moment. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct NewestSnapshot(Arc<Mutex<Shelf>>);

#[derive(Debug, Default)]
struct Shelf {
    newest: Option<Built>,
    sending: Option<Sending>,
    /// What each member was sent to the end.
    delivered: BTreeMap<u64, Option<LogId>>,
}

#[derive(Debug)]
struct Sending {
    built: Built,
    progress: Instant,
    targets: BTreeSet<u64>,
}

impl Shelf {
    /// Lets go of a transfer that was given up.
    fn expire(&mut self) {
        let dead = |sending: &Sending| sending.progress.elapsed() >= KEPT_MAX;
        if self.sending.as_ref().is_some_and(dead) {
            self.sending = None;
        }
    }

    /// Nothing of the snapshot up to `last` goes to `target` any more.
    fn end(&mut self, target: u64, last: Option<LogId>) {
        if let Some(sending) = &mut self.sending
            && sending.built.0.last_applied == last
        {
            sending.targets.remove(&target);
            if sending.targets.is_empty() {
                self.sending = None;
            }
        }
    }
}

impl NewestSnapshot {
    /// A shelf with the snapshot that was found at the start.
    #[must_use]
    pub(super) fn new(newest: Option<Built>) -> Self {
        let shelf = Self::default();
        shelf.0.lock().newest = newest;
        shelf
    }

    /// The newest snapshot, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<Checkpoint> {
        self.newest().map(|(_, checkpoint)| checkpoint)
    }

    /// The same, with what it covers.
    pub(super) fn newest(&self) -> Option<Built> {
        let mut shelf = self.0.lock();
        shelf.expire();
        shelf.newest.clone()
    }

    /// Another snapshot is there, which is mostly the newer one. One that was begun before the
    /// leader's was installed may end after it.
    pub(super) fn replace(&self, built: Built) {
        let mut shelf = self.0.lock();
        let (newest, older) = match shelf.newest.take() {
            Some(held) if held.0.last_applied > built.0.last_applied => (held, Some(built)),
            held => (built, held),
        };
        shelf.newest = Some(newest);
        drop(shelf);
        if let Some((_, older)) = older {
            older.supersede();
        }
    }

    /// The snapshot to send now.
    pub(super) fn to_send(&self) -> Option<Built> {
        let mut shelf = self.0.lock();
        shelf.expire();
        let sending = shelf.sending.as_ref().map(|sending| &sending.built);
        sending.or(shelf.newest.as_ref()).cloned()
    }

    /// Sending `snapshot` to `target` begins, or goes on. False when `target` has had it already
    /// and needs a newer one, which is what [`Self::to_send`] gives from now on.
    pub(super) fn begin(&self, target: u64, snapshot: &Snapshot) -> bool {
        self.begin_built(target, &built_of(snapshot))
    }

    fn begin_built(&self, target: u64, built: &Built) -> bool {
        let mut shelf = self.0.lock();
        let last = built.0.last_applied;
        let newer = shelf
            .newest
            .as_ref()
            .is_some_and(|it| it.0.last_applied > last);
        if newer && shelf.delivered.get(&target) == Some(&last) {
            shelf.sending = None;
            return false;
        }
        let progress = Instant::now();
        match &mut shelf.sending {
            Some(sending) if sending.built.0 == built.0 => {
                sending.progress = progress;
                sending.targets.insert(target);
            }
            // A transfer of an older one is under way, or this is what it left.
            Some(sending) if sending.progress.elapsed() < KEPT_MAX => {}
            _ => {
                shelf.sending = Some(Sending {
                    built: built.clone(),
                    progress,
                    targets: BTreeSet::from([target]),
                });
            }
        }
        true
    }

    /// A piece of `snapshot` went to whom it is sent.
    pub(super) fn progressed(&self, last: Option<LogId>) {
        if let Some(sending) = &mut self.0.lock().sending
            && sending.built.0.last_applied == last
        {
            sending.progress = Instant::now();
        }
    }

    /// `target` has all of the snapshot up to `last`.
    pub(super) fn delivered(&self, target: u64, last: Option<LogId>) {
        let mut shelf = self.0.lock();
        shelf.delivered.insert(target, last);
        shelf.end(target, last);
    }

    /// `target` did not take the snapshot up to `last` for what it holds; it is to have the newest.
    pub(super) fn refused(&self, target: u64, last: Option<LogId>) {
        self.0.lock().end(target, last);
    }
}

/// The same, out of consensus' words.
pub(super) fn built_of(snapshot: &Snapshot) -> Built {
    let record = AdapterRecord {
        last_applied: snapshot.meta.last_log_id,
        membership: snapshot.meta.last_membership.clone(),
    };
    (record, snapshot.snapshot.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{consensus::LeaderId, storage::SnapshotDir};

    fn built(snapshots: &SnapshotDir, index: u64) -> Built {
        let record = AdapterRecord {
            last_applied: Some(LogId::new(
                LeaderId {
                    term: 1,
                    node_id: 1,
                },
                index,
            )),
            ..AdapterRecord::default()
        };
        (record, snapshots.empty().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_goes_on_with_the_snapshot_that_it_began_with() {
        let root = tempfile::tempdir().unwrap();
        let (snapshots, _) = SnapshotDir::open(root.path()).unwrap();
        let shelf = NewestSnapshot::new(Some(built(&snapshots, 1)));
        let first = shelf.to_send().unwrap();
        let last = first.0.last_applied;
        let path = first.1.path().to_owned();
        assert!(shelf.begin_built(2, &first));
        shelf.replace(built(&snapshots, 2));
        drop(first);
        for _ in 0..10 {
            // Time is the subject, and the clock is paused.
            tokio::time::sleep(KEPT_MAX / 2).await;
            shelf.progressed(last);
            assert_eq!(shelf.to_send().unwrap().0.last_applied, last);
        }
        assert!(path.exists());
        // It is let go of when it went, or when nothing of it goes any more.
        let again = shelf.clone();
        shelf.delivered(2, last);
        assert_eq!(shelf.to_send().unwrap().0, again.newest().unwrap().0);
        assert!(!path.exists());
        assert!(shelf.begin_built(2, &shelf.to_send().unwrap()));
        let path = shelf.to_send().unwrap().1.path().to_owned();
        shelf.replace(built(&snapshots, 3));
        assert!(path.exists());
        // Time is the subject, and the clock is paused.
        tokio::time::sleep(KEPT_MAX).await;
        drop(shelf.get());
        assert!(!path.exists());
    }

    /// The start after a kill found the older one only, and a log that was purged beyond it.
    #[test]
    fn a_snapshot_that_ends_late_does_not_take_the_place_of_a_newer_one() {
        let root = tempfile::tempdir().unwrap();
        let (snapshots, _) = SnapshotDir::open(root.path()).unwrap();
        let shelf = NewestSnapshot::new(Some(built(&snapshots, 50)));
        let (newer, late) = (built(&snapshots, 500), built(&snapshots, 100));
        let path = newer.1.path().to_owned();
        shelf.replace(newer);
        shelf.replace(late.clone());
        let (record, checkpoint) = shelf.newest().unwrap();
        assert_eq!(record.last_applied.unwrap().index, 500);
        assert_eq!(checkpoint.path(), path);
        drop((checkpoint, shelf));
        assert!(path.exists());
        let path = late.1.path().to_owned();
        drop(late);
        assert!(!path.exists(), "nobody needs it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_needs_more_than_it_was_sent_gets_the_newest() {
        let root = tempfile::tempdir().unwrap();
        let (snapshots, _) = SnapshotDir::open(root.path()).unwrap();
        let shelf = NewestSnapshot::new(Some(built(&snapshots, 1)));
        let first = shelf.to_send().unwrap();
        assert!(shelf.begin_built(2, &first) && shelf.begin_built(3, &first));
        shelf.replace(built(&snapshots, 2));
        shelf.delivered(2, first.0.last_applied);
        assert_eq!(
            shelf.to_send().unwrap().0,
            first.0,
            "member 3 still gets it"
        );
        assert!(!shelf.begin_built(2, &first));
        assert_ne!(shelf.to_send().unwrap().0, first.0);
    }
}
