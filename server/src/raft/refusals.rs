//! What other members refused of this one's snapshots, because the files do not hold what their
//! head says: whether they are damaged here, and how long each member is not sent them again.
//!
//! A member that needs the snapshot is kept out for as long as it is damaged, so this one reads its
//! own through, and ends when the damage is its own (G19).
//!
//! # Invariants
//! One snapshot at a time is read through, and none twice within [`CHECK_EVERY`].

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

/// Time between two checks of one snapshot. Reading it takes the disk from the node's other work,
/// and a receiver with a bad disk refuses it each time.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// How long a member is not sent a snapshot again that it refused once.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause. Each costs both sides the whole snapshot.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The snapshots of this member that others refused. Shared by all that send them.
#[derive(Debug)]
pub struct Refusals {
    store: Arc<StateStore>,
    snapshots: Arc<SnapshotDir>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    pauses: BTreeMap<MemberId, Pause>,
    /// When the check of each snapshot began, of those within [`CHECK_EVERY`].
    checked: BTreeMap<PathBuf, Instant>,
    is_checking: bool,
}

/// A member that refused a snapshot.
#[derive(Debug)]
struct Pause {
    snapshot: PathBuf,
    length: Duration,
    until: Instant,
}

impl Refusals {
    /// For snapshots in `snapshots` that are made of the state in `store`.
    pub(super) fn new(store: Arc<StateStore>, snapshots: Arc<SnapshotDir>) -> Self {
        let book = Mutex::default();
        Self {
            store,
            snapshots,
            book,
        }
    }

    /// How long `target` is not to be sent the snapshot in `path`; `None` when it may be now.
    pub(super) fn pause(&self, target: MemberId, path: &Path) -> Option<Duration> {
        self.book.lock().pause(target, path)
    }

    /// `target` took a snapshot.
    pub(super) fn taken(&self, target: MemberId) {
        self.book.lock().pauses.remove(&target);
    }

    /// `target` refused the snapshot `built` for what it holds, or it could not be read to its end
    /// here. Ends the process, after a while, when it is damaged here.
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

    /// The pause after one more refusal of `target`, which may be of a newer snapshot.
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
        // Its pause goes on growing: newer ones may share the damaged file.
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
