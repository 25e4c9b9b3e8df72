//! Holds the newest snapshot and, beside it, the one that is being sent.
//!
//! A transfer over a slow link outlasts snapshots. A transfer that breaks off resumes with its
//! original snapshot, whose files are unchanged, as long as it makes progress.
//!
//! # Invariants
//! At most one snapshot beside the newest is kept, at most [`KEPT_MAX`] without progress.

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

/// How long a snapshot is kept for a transfer without progress: longer than a member takes to
/// restart or a link to recover, but short, because the files of a replaced state use disk space.
const KEPT_MAX: Duration = Duration::from_secs(60);

/// A transfer that got on within this time is in progress. Meanwhile the receiver writes a chunk,
/// or installs all of them.
const PROGRESS_MAX: Duration = Duration::from_secs(10);

/// The record of a snapshot and its files.
pub(super) type Built = (AdapterRecord, Checkpoint);
type Snapshot = SnapshotOf<TypeConfig, Checkpoint>;

/// Handle to the newest snapshot of a node. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct NewestSnapshot(Arc<Mutex<Shelf>>);

#[derive(Debug, Default)]
struct Shelf {
    newest: Option<Built>,
    sending: Option<Sending>,
    /// The last snapshot that each member received completely.
    delivered: BTreeMap<u64, Option<LogId>>,
}

#[derive(Debug)]
struct Sending {
    built: Built,
    /// When it was begun first, or a piece of it was sent.
    progress: Instant,
    /// When a piece of it was sent.
    sent: Option<Instant>,
    targets: BTreeSet<u64>,
}

impl Shelf {
    /// Drops the snapshot of a transfer that was given up.
    fn expire(&mut self) {
        let dead = |sending: &Sending| sending.progress.elapsed() >= KEPT_MAX;
        if self.sending.as_ref().is_some_and(dead) {
            self.sending = None;
        }
    }

    /// Ends the transfer of the snapshot up to `last` to `target`.
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
    /// Creates a shelf with the snapshot found at start-up.
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

    /// Whether a snapshot is being sent, and got on lately.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        let shelf = self.0.lock();
        let sent = shelf.sending.as_ref().and_then(|sending| sending.sent);
        sent.is_some_and(|at| at.elapsed() < PROGRESS_MAX)
    }

    /// As [`Self::get`], with the snapshot's record.
    pub(super) fn newest(&self) -> Option<Built> {
        let mut shelf = self.0.lock();
        shelf.expire();
        shelf.newest.clone()
    }

    /// Adds a snapshot, and supersedes the older one. The new one is usually newer, but a build
    /// that began before a leader's snapshot was installed may end after it.
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

    /// The snapshot to send: the one in transfer, or else the newest. One of which nothing was sent
    /// has nothing to resume, and the log behind it may be gone.
    pub(super) fn to_send(&self) -> Option<Built> {
        let mut shelf = self.0.lock();
        shelf.expire();
        let sending = shelf.sending.as_ref();
        let sending = sending.filter(|sending| sending.sent.is_some());
        let sending = sending.map(|sending| &sending.built);
        sending.or(shelf.newest.as_ref()).cloned()
    }

    /// Starts or resumes sending `snapshot` to `target`. Returns false when `target` has already
    /// received it and needs a newer one, which [`Self::to_send`] returns from then on.
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
        match &mut shelf.sending {
            // To try again is no progress: the member may be gone for good.
            Some(sending) if sending.built.0 == built.0 => {
                sending.targets.insert(target);
            }
            // The transfer of an older snapshot is in progress, or may resume.
            Some(Sending {
                sent: Some(_),
                progress,
                ..
            }) if progress.elapsed() < KEPT_MAX => {}
            _ => {
                shelf.sending = Some(Sending {
                    built: built.clone(),
                    progress: Instant::now(),
                    sent: None,
                    targets: BTreeSet::from([target]),
                });
            }
        }
        true
    }

    /// Records that a piece of the snapshot up to `last` was sent.
    pub(super) fn progressed(&self, last: Option<LogId>) {
        if let Some(sending) = &mut self.0.lock().sending
            && sending.built.0.last_applied == last
        {
            let now = Instant::now();
            (sending.progress, sending.sent) = (now, Some(now));
        }
    }

    /// Records that `target` received all of the snapshot up to `last`.
    pub(super) fn delivered(&self, target: u64, last: Option<LogId>) {
        let mut shelf = self.0.lock();
        shelf.delivered.insert(target, last);
        shelf.end(target, last);
    }

    /// Records that `target` refused the content of the snapshot up to `last`; the newest is next.
    pub(super) fn refused(&self, target: u64, last: Option<LogId>) {
        self.0.lock().end(target, last);
    }
}

/// Converts openraft's snapshot into its record and files.
pub(super) fn built_of(snapshot: &Snapshot) -> Built {
    let record = AdapterRecord {
        last_applied: snapshot.meta.last_log_id,
        membership: snapshot.meta.last_membership.clone(),
        ..AdapterRecord::default()
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
        // It is dropped when it was delivered, or when its transfer makes no more progress.
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

    /// Regression: a member that was gone for good had the leader keep its log, and the snapshot.
    #[tokio::test(start_paused = true)]
    async fn a_member_that_takes_nothing_is_sent_no_snapshot_however_often_it_is_tried() {
        let root = tempfile::tempdir().unwrap();
        let (snapshots, _) = SnapshotDir::open(root.path()).unwrap();
        let shelf = NewestSnapshot::new(Some(built(&snapshots, 1)));
        let first = shelf.to_send().unwrap();
        shelf.replace(built(&snapshots, 2));
        for _ in 0..KEPT_MAX.as_secs() {
            assert!(shelf.begin_built(2, &first));
            assert!(!shelf.is_sending());
            // Time is the subject, and the clock is paused.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let newest = shelf.newest().unwrap();
        assert_eq!(shelf.to_send().unwrap().0, newest.0);
        assert!(shelf.begin_built(2, &newest));
        shelf.progressed(newest.0.last_applied);
        assert!(shelf.is_sending());
        // Time is the subject, and the clock is paused.
        tokio::time::sleep(PROGRESS_MAX).await;
        assert!(!shelf.is_sending());
    }

    /// Regression: a member that came back was sent the snapshot that it had been offered in vain,
    /// although the log behind that was purged, so that it needed the newest one, too.
    #[tokio::test(start_paused = true)]
    async fn a_snapshot_of_which_nothing_was_sent_gives_way_to_a_newer_one() {
        let root = tempfile::tempdir().unwrap();
        let (snapshots, _) = SnapshotDir::open(root.path()).unwrap();
        let shelf = NewestSnapshot::new(Some(built(&snapshots, 1)));
        let offered = shelf.to_send().unwrap();
        assert!(shelf.begin_built(2, &offered));
        shelf.replace(built(&snapshots, 2));
        let newest = shelf.newest().unwrap();
        assert_eq!(shelf.to_send().unwrap().0, newest.0);
        assert!(shelf.begin_built(2, &newest));
        shelf.progressed(newest.0.last_applied);
        assert!(shelf.is_sending());
        // Once some of it was sent, that one is resumed.
        shelf.replace(built(&snapshots, 3));
        assert_eq!(shelf.to_send().unwrap().0, newest.0);
    }

    /// Regression: a start after a kill found only the older one, and a log purged beyond it.
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
        shelf.progressed(first.0.last_applied);
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
