//! The leader's side of a write: batches groups into log entries, a few in flight at a time.
//!
//! Self-clocking: groups that arrive while earlier entries are in flight form the next entry. There
//! is no timer, so a lone write is not delayed.
//!
//! # Invariants
//! A group enters the log only in the term it was offered for. Once a later term has taken effect,
//! a group without an outcome will never have one, and may be offered again.

use std::sync::Arc;

use bytes::Bytes;
use openraft::errors::ClientWriteError;
use tenure_statemachine::{MemberId, codec};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::cluster_clock::ClusterClock;
use crate::{
    consensus::{Batch, LeaderId, Responder},
    raft::{ForwardOutcome, Raft},
    storage::LogBacklog,
    tasks,
};

/// Entries in flight. With two, the disk stays busy while the earlier one is replicated and
/// applied; more would only make the entries smaller.
const ENTRIES_IN_FLIGHT: usize = 2;

/// Encoded size at which an entry is closed, in bytes: larger ones would delay replication.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Most queued groups. Members that follow the protocol have few outstanding and never reach this.
const QUEUE_MAX: usize = 256;

/// A group to propose and the channel for its outcome.
#[derive(Debug)]
struct Submission {
    group: Bytes,
    term: u64,
    done: oneshot::Sender<ForwardOutcome>,
}

/// Handle that queues groups for the proposer. Clones share the queue.
#[derive(Clone, Debug)]
pub(super) struct Proposer {
    queue: mpsc::Sender<Submission>,
}

impl Proposer {
    /// Starts the proposer's task.
    pub(super) fn spawn(
        raft: Raft,
        own: MemberId,
        clock: Arc<ClusterClock>,
        backlog: Arc<LogBacklog>,
    ) -> Self {
        let (queue, submissions) = mpsc::channel(QUEUE_MAX);
        tasks::spawn("proposer", run(raft, own, clock, backlog, submissions));
        Self { queue }
    }

    /// Proposes `group` in `term` and waits until it is committed and applied here, or until it is
    /// known that it never will be.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    pub(super) async fn propose(&self, group: Bytes, term: u64) -> ForwardOutcome {
        let (done, outcome) = oneshot::channel();
        if self
            .queue
            .try_send(Submission { group, term, done })
            .is_err()
        {
            return ForwardOutcome::Overloaded;
        }
        outcome.await.unwrap_or(ForwardOutcome::Lost)
    }
}

async fn run(
    raft: Raft,
    own: MemberId,
    clock: Arc<ClusterClock>,
    backlog: Arc<LogBacklog>,
    mut submissions: mpsc::Receiver<Submission>,
) {
    let slots = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
    let mut held = None;
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let first = match held.take() {
            Some(first) => first,
            None => match submissions.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        // Backpressure for a slow local disk: a quorum may commit without it, and this bounds the
        // memory for the writes it has yet to take.
        if backlog.room().await.is_err() {
            // A caller that is gone learns the outcome from the log.
            _ = first.done.send(ForwardOutcome::NotLeader);
            continue;
        }
        let (term, mut bytes) = (first.term, first.group.len());
        let (mut groups, mut waiting) = (vec![first.group], vec![first.done]);
        while bytes < ENTRY_BYTES_MAX {
            let Ok(next) = submissions.try_recv() else {
                break;
            };
            if next.term != term {
                held = Some(next);
                break;
            }
            bytes += next.group.len();
            groups.push(next.group);
            waiting.push(next.done);
        }
        let entry = codec::encode_entry(clock.now(), &groups);
        let (responder, written) = oneshot::channel();
        let leader = LeaderId {
            term,
            node_id: own.0,
        };
        let write = raft
            .write(Batch(entry))
            .with_leader(leader)
            .responder(Responder(responder));
        let submitted = write.await;
        tasks::spawn("proposal", async move {
            let outcome = match (submitted, written.await) {
                (Ok(()), Ok(Ok(_))) => ForwardOutcome::Committed,
                // openraft refuses this way only before it appends.
                (Ok(()), Ok(Err(ClientWriteError::ForwardToLeader(_)))) => {
                    ForwardOutcome::NotLeader
                }
                (Ok(()), Ok(Err(_)) | Err(_)) | (Err(_), _) => ForwardOutcome::Lost,
            };
            drop(slot);
            for done in waiting {
                // A follower that is gone learns the outcome from the log.
                _ = done.send(outcome);
            }
        });
    }
}
