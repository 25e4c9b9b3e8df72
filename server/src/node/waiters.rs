//! Who waits for what a group of commands comes to.
//!
//! A group is answered once: by its outcomes when this node applies it, or by a cause.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tenure_statemachine::Outcome;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::ProposeError;

/// Where the answer to one command goes.
pub(super) type Reply = oneshot::Sender<Result<Outcome, ProposeError>>;

/// The groups of this node that are on their way.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    groups: Mutex<BTreeMap<u64, Group>>,
}

#[derive(Debug)]
struct Group {
    replies: Vec<Reply>,
    deadline: Duration,
    /// Given back with the answer: lets the next group leave.
    _slot: OwnedSemaphorePermit,
}

impl Waiters {
    /// Notes that `replies` wait for group `sequence` until `deadline`.
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

    /// Answers a group with what its commands came to.
    pub(super) fn complete(&self, sequence: u64, outcomes: Vec<Outcome>) {
        let Some(group) = self.groups.lock().remove(&sequence) else {
            return;
        };
        for (reply, outcome) in group.replies.into_iter().zip(outcomes) {
            // Whoever asked may have given up.
            _ = reply.send(Ok(outcome));
        }
    }

    /// Answers a group with a cause.
    pub(super) fn fail(&self, sequence: u64, cause: ProposeError) {
        let Some(group) = self.groups.lock().remove(&sequence) else {
            return;
        };
        for reply in group.replies {
            _ = reply.send(Err(cause));
        }
    }

    /// Gives up on every group: what became of them cannot be told from the log any more.
    pub(super) fn fail_all(&self, cause: ProposeError) {
        let groups = std::mem::take(&mut *self.groups.lock());
        for reply in groups.into_values().flat_map(|group| group.replies) {
            _ = reply.send(Err(cause));
        }
    }

    /// Whether group `sequence` still waits.
    pub(super) fn waits(&self, sequence: u64) -> bool {
        self.groups.lock().contains_key(&sequence)
    }

    /// Gives up on the groups whose time has passed: what became of them is unknown.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure_statemachine::{Reply as Answer, Revision};
    use tokio::sync::Semaphore;

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            reply: Ok(Answer::Compact),
            revision: Revision(5),
            events: Vec::new(),
            signals: Vec::new(),
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
        waiters.complete(1, vec![outcome()]);
        waiters.fail(1, ProposeError::LeaderLost);
        assert_eq!(answer.try_recv().unwrap(), Ok(outcome()));
        assert!(!waiters.waits(1));
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
