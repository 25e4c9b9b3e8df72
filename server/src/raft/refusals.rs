//! Records which snapshots of this member others refused because the files do not match their
//! header: checks whether they are damaged here, and pauses before a member is sent them again.
//!
//! A member that needs a damaged snapshot cannot catch up, so this member verifies its own copy,
//! and ends when the damage is its own (G19).
//!
//! # Invariants
//! One snapshot at a time is verified, and none twice within [`CHECK_EVERY`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tenure_statemachine::MemberId;
use tokio::time::Instant;
use tracing::warn;

use super::shelf::Built;
use crate::{
    fatal,
    storage::{SelfCheckError, SnapshotDir, StateStore, check_own},
    tasks,
};

/// Time between two checks of one snapshot. Reading it takes disk bandwidth from the node's other
/// work, and a receiver with a bad disk refuses it each time.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// First pause before a refused snapshot is sent to the same member again.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest such pause. Each attempt costs both sides the whole snapshot.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The refused snapshots of this member. Shared by all senders.
#[derive(Debug)]
pub struct Refusals {
    store: Arc<StateStore>,
    snapshots: Arc<SnapshotDir>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    pauses: BTreeMap<MemberId, Pause>,
    /// Start time of each snapshot's latest check, within [`CHECK_EVERY`].
    checked: BTreeMap<PathBuf, Instant>,
    is_checking: bool,
}

/// The pause of a member that refused a snapshot.
#[derive(Debug)]
struct Pause {
    snapshot: PathBuf,
    length: Duration,
    until: Instant,
}

impl Refusals {
    /// Creates an empty record for `snapshots` that are built from the state in `store`.
    pub(super) fn new(store: Arc<StateStore>, snapshots: Arc<SnapshotDir>) -> Self {
        let book = Mutex::default();
        Self {
            store,
            snapshots,
            book,
        }
    }

    /// Remaining time until `target` may be sent the snapshot in `path`; `None` when it may be now.
    pub(super) fn pause(&self, target: MemberId, path: &Path) -> Option<Duration> {
        self.book.lock().pause(target, path)
    }

    /// Records that `target` accepted a snapshot.
    pub(super) fn taken(&self, target: MemberId) {
        self.book.lock().pauses.remove(&target);
    }

    /// Records that `target` refused the snapshot `built` for its content, or that reading it to
    /// the end failed here. Starts a check, which ends the process if the snapshot is damaged here.
    pub(super) fn refused(self: &Arc<Self>, target: MemberId, built: Built, why: &str) {
        let path = built.1.path().to_owned();
        let (pause, checks) = {
            let mut book = self.book.lock();
            (book.lengthen(target, &path), book.begins_check(&path))
        };
        warn!(
            member = %target, snapshot = %path.display(), last = ?built.0.last_applied, why,
            next_after = ?pause, "a member did not take a snapshot, whose content is in doubt"
        );
        if checks {
            let own = Arc::clone(self);
            tasks::spawn("snapshot-check", async move { own.check(built).await });
        }
    }

    async fn check(&self, built: Built) {
        let path = built.1.path().to_owned();
        let (store, snapshots) = (Arc::clone(&self.store), Arc::clone(&self.snapshots));
        let checking = tasks::spawn_blocking(move || check_own(&store, &snapshots, &built));
        let found = checking.await.expect("work neither panics nor is aborted");
        match found {
            Ok(()) => warn!(
                snapshot = %path.display(),
                "the snapshot that was not taken is whole here: it was damaged on its way, or by \
                 the member that did not take it"
            ),
            Err(error @ SelfCheckError::Unread { .. }) => {
                warn!(error = %fatal::chain(&error), "a snapshot is in doubt");
            }
            Err(damage) => fatal::stop(&damage),
        }
        self.book.lock().is_checking = false;
    }
}

impl Book {
    fn pause(&self, target: MemberId, path: &Path) -> Option<Duration> {
        let pause = self.pauses.get(&target).filter(|it| it.snapshot == path)?;
        let left = pause.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Returns the pause after one more refusal of `target`, which may be of a newer snapshot.
    fn lengthen(&mut self, target: MemberId, path: &Path) -> Duration {
        let before = self.pauses.get(&target);
        let length = before.map_or(PAUSE_MIN, |before| (before.length * 2).min(PAUSE_MAX));
        let pause = Pause {
            snapshot: path.to_owned(),
            length,
            until: Instant::now() + length,
        };
        self.pauses.insert(target, pause);
        length
    }

    /// Whether the snapshot in `path` is to be checked now.
    fn begins_check(&mut self, path: &Path) -> bool {
        self.checked.retain(|_, at| at.elapsed() < CHECK_EVERY);
        let begins = !self.is_checking && !self.checked.contains_key(path);
        if begins {
            self.checked.insert(path.to_owned(), Instant::now());
            self.is_checking = true;
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const FIRST: MemberId = MemberId(1);
    const SECOND: MemberId = MemberId(2);

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_was_refused_is_sent_again_after_growing_pauses() {
        let (mut book, path) = (Book::default(), Path::new("built-1"));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(book.pause(FIRST, path), None);
            let pause = book.lengthen(FIRST, path);
            assert_eq!(pause, Duration::from_secs(seconds));
            assert_eq!(book.pause(FIRST, path), Some(pause));
            advance(pause).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_member_and_another_snapshot_do_not_wait() {
        let (mut book, path) = (Book::default(), Path::new("built-1"));
        book.lengthen(FIRST, path);
        assert_eq!(book.pause(SECOND, path), None);
        let newer = Path::new("built-2");
        assert_eq!(book.pause(FIRST, newer), None);
        // The pause keeps growing: newer snapshots may share the damaged file.
        assert_eq!(book.lengthen(FIRST, newer), PAUSE_MIN * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_snapshot_at_a_time_is_checked_and_each_once_a_minute() {
        let mut book = Book::default();
        let [first, second] = ["built-1", "built-2"].map(Path::new);
        assert!(book.begins_check(first));
        assert!(!book.begins_check(second), "one at a time");
        book.is_checking = false;
        assert!(!book.begins_check(first), "it was checked a moment ago");
        assert!(book.begins_check(second));
        book.is_checking = false;
        advance(CHECK_EVERY).await;
        assert!(book.begins_check(first));
    }
}
