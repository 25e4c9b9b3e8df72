//! The table of groups in flight and the callers that wait for their outcomes.
//!
//! # Invariants
//! A group is answered once: with its outcomes when this node applies it, or with an error. An
//! applied group leaves the table before the new position is published, so a group found in the
//! table was not applied at any position that the reader knows.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tenure_statemachine::Outcome;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use super::error::ProposeError;

/// The channel for the outcome of one command.
pub(super) type Reply = oneshot::Sender<Result<Outcome, ProposeError>>;

/// The groups of this node that are in flight.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    groups: Mutex<BTreeMap<u64, Group>>,
    /// Notified when a group leaves; only the batcher waits on it.
    left: Notify,
}

#[derive(Debug)]
struct Group {
    replies: Vec<Reply>,
    deadline: Duration,
    /// Released with the answer, so that the next group can leave.
    _slot: OwnedSemaphorePermit,
}

impl Waiters {
    /// Registers that `replies` wait for group `sequence` until `deadline`.
    pub(super) fn insert(
        &self,
        sequence: u64,
        replies: Vec<Reply>,
        deadline: Duration,
        slot: OwnedSemaphorePermit,
    ) {
        self.groups.lock().insert(
            sequence,
            Group {
                replies,
                deadline,
                _slot: slot,
            },
        );
    }

    /// Takes a group out, to be answered once its outcomes may be published.
    pub(super) fn take(&self, sequence: u64) -> Option<Answer> {
        self.remove(sequence).map(Answer)
    }

    /// Answers a group with an error.
    pub(super) fn fail(&self, sequence: u64, cause: ProposeError) {
        if let Some(group) = self.remove(sequence) {
            group.fail(cause);
        }
    }

    /// Fails all groups: their outcomes can no longer be learned from the log.
    pub(super) fn fail_all(&self, cause: ProposeError) {
        let groups = std::mem::take(&mut *self.groups.lock());
        self.left.notify_one();
        for group in groups.into_values() {
            group.fail(cause);
        }
    }

    /// Whether any caller still waits for group `sequence`.
    pub(super) fn is_wanted(&self, sequence: u64) -> bool {
        let groups = self.groups.lock();
        let group = groups.get(&sequence);
        group.is_some_and(|group| group.replies.iter().any(|reply| !reply.is_closed()))
    }

    /// Waits until no group is `numbers` or more below `sequence`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn within(&self, sequence: u64, numbers: u64) {
        loop {
            let left = self.left.notified();
            let oldest = self.groups.lock().keys().next().copied();
            if oldest.is_none_or(|oldest| sequence.saturating_sub(oldest) < numbers) {
                return;
            }
            left.await;
        }
    }

    fn remove(&self, sequence: u64) -> Option<Group> {
        let group = self.groups.lock().remove(&sequence);
        if group.is_some() {
            self.left.notify_one();
        }
        group
    }

    /// Whether group `sequence` is still waiting.
    pub(super) fn waits(&self, sequence: u64) -> bool {
        self.groups.lock().contains_key(&sequence)
    }

    /// Fails the groups whose deadline has passed: their outcomes are unknown.
    pub(super) fn expire(&self, now: Duration) {
        let expired: Vec<u64> = {
            let groups = self.groups.lock();
            let late = groups.iter().filter(|(_, group)| group.deadline <= now);
            late.map(|(sequence, _)| *sequence).collect()
        };
        for sequence in expired {
            self.fail(sequence, ProposeError::TimedOut);
        }
    }
}

impl Group {
    fn fail(self, cause: ProposeError) {
        for reply in self.replies {
            _ = reply.send(Err(cause));
        }
    }
}

/// An applied group that is not answered yet.
#[derive(Debug)]
pub(super) struct Answer(Group);

impl Answer {
    /// Answers with the outcomes of the commands.
    pub(super) fn complete(self, outcomes: Vec<Outcome>) {
        for (reply, outcome) in self.0.replies.into_iter().zip(outcomes) {
            // The caller may have given up.
            _ = reply.send(Ok(outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure_statemachine::{Facts, Reply as Answer, Revision};
    use tokio::sync::Semaphore;

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            reply: Ok(Answer::Compact),
            revision: Revision(5),
            events: Vec::new(),
            signals: Vec::new(),
            facts: Facts::default(),
        }
    }

    fn insert(
        waiters: &Waiters,
        sequence: u64,
        deadline: u64,
    ) -> oneshot::Receiver<Result<Outcome, ProposeError>> {
        let (reply, answer) = oneshot::channel();
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        waiters.insert(sequence, vec![reply], Duration::from_secs(deadline), slot);
        answer
    }

    #[test]
    fn a_group_is_answered_once() {
        let waiters = Waiters::default();
        let mut answer = insert(&waiters, 1, 10);
        let taken = waiters.take(1).unwrap();
        assert!(!waiters.waits(1), "it is applied: it must not be offered");
        waiters.fail(1, ProposeError::LeaderLost);
        taken.complete(vec![outcome()]);
        assert_eq!(answer.try_recv().unwrap(), Ok(outcome()));
        assert!(waiters.take(1).is_none());
    }

    #[test]
    fn a_group_without_callers_is_not_wanted() {
        let waiters = Waiters::default();
        let answer = insert(&waiters, 1, 10);
        assert!(waiters.is_wanted(1));
        drop(answer);
        assert!(!waiters.is_wanted(1) && waiters.waits(1));
    }

    #[tokio::test]
    async fn numbers_stay_within_the_window_of_the_oldest_group() {
        let waiters = Arc::new(Waiters::default());
        let _answer = insert(&waiters, 1, 10);
        waiters.within(8, 8).await;
        let (later, ended) = (Arc::clone(&waiters), insert(&waiters, 5, 10));
        let waiting = crate::tasks::spawn("waiting", async move { later.within(9, 8).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        waiters.fail(1, ProposeError::TimedOut);
        waiting.await.unwrap();
        drop(ended);
    }

    #[test]
    fn only_groups_whose_time_has_passed_are_given_up() {
        let waiters = Waiters::default();
        let (mut early, mut late) = (insert(&waiters, 1, 10), insert(&waiters, 2, 11));
        waiters.expire(Duration::from_secs(10));
        assert_eq!(early.try_recv().unwrap(), Err(ProposeError::TimedOut));
        assert!(late.try_recv().is_err() && waiters.waits(2));
    }

    #[test]
    fn after_a_snapshot_nobody_waits_for_the_log() {
        let waiters = Waiters::default();
        let mut answer = insert(&waiters, 1, 10);
        waiters.fail_all(ProposeError::LeaderLost);
        assert_eq!(answer.try_recv().unwrap(), Err(ProposeError::LeaderLost));
        assert!(!waiters.waits(1));
    }
}
