//! Bounds the age of this node's state.
//!
//! The bound comes from confirmations: at some moment, no entry beyond some index was committed.
//! Once this node has applied that index, its state holds everything that was acknowledged anywhere
//! before that moment. A message from a leader proves nothing, since the leader may have been
//! deposed without knowing.
//!
//! Invariant: the recorded moment is one at which the present state would have been up to date.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A moment, and an index beyond which nothing was committed at that moment.
#[derive(Clone, Copy, Debug)]
struct Confirmation {
    at: Instant,
    index: u64,
}

/// What is known about the age of the state.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// A confirmation whose index is not applied yet. The older one is kept: if newer ones replaced
    /// it, a lagging node would never reach any.
    pending: Option<Confirmation>,
    current_at: Option<Instant>,
}

impl Fresh {
    /// Records that nothing beyond `index` was committed at `at`. `applied` is the last index that
    /// this node has applied.
    pub(super) fn confirm(&self, at: Instant, index: u64, applied: u64) {
        let mut known = self.known.lock();
        known.settle(applied);
        let confirmation = Confirmation { at, index };
        if index <= applied {
            known.current_at = known.current_at.max(Some(at));
        } else if known.pending.is_none() {
            known.pending = Some(confirmation);
        }
    }

    /// The greatest possible age of the state; `None` when nothing is known.
    pub(super) fn age(&self, applied: u64) -> Option<Duration> {
        let mut known = self.known.lock();
        known.settle(applied);
        known.current_at.map(|at| at.elapsed())
    }
}

impl Known {
    fn settle(&mut self, applied: u64) {
        if let Some(confirmation) = self.pending.take_if(|pending| pending.index <= applied) {
            self.current_at = self.current_at.max(Some(confirmation.at));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_counts_from_its_moment_once_it_is_applied() {
        let fresh = Fresh::default();
        assert_eq!(fresh.age(9), None);
        let began = Instant::now();
        advance(5 * MS).await;
        fresh.confirm(began, 10, 9);
        assert_eq!(fresh.age(9), None, "entry 10 is not applied");
        advance(5 * MS).await;
        assert_eq!(fresh.age(10), Some(10 * MS));
        fresh.confirm(Instant::now(), 10, 10);
        assert_eq!(fresh.age(10), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_lags_keeps_the_confirmation_that_it_reaches_first() {
        let fresh = Fresh::default();
        fresh.confirm(Instant::now(), 10, 5);
        advance(5 * MS).await;
        fresh.confirm(Instant::now(), 20, 9);
        advance(5 * MS).await;
        assert_eq!(fresh.age(12), Some(10 * MS));
        fresh.confirm(Instant::now(), 30, 12);
        assert_eq!(fresh.age(29), Some(10 * MS));
        assert_eq!(fresh.age(30), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_confirmation_does_not_make_the_state_older() {
        let fresh = Fresh::default();
        let early = Instant::now();
        advance(5 * MS).await;
        fresh.confirm(Instant::now(), 10, 10);
        fresh.confirm(early, 10, 10);
        assert_eq!(fresh.age(10), Some(Duration::ZERO));
    }
}
