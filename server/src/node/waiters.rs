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
