//! The leader's side of a write: groups to log entries, a few at a time.
//!
//! Self-clocking: what arrives while the entries before are on their way becomes the next entry.
//! There is no timer, so a lone write waits for nobody.
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

/// Entries on their way at once. Two keep the disk busy while the one before is replicated and
/// applied; more only make the entries smaller.
const ENTRIES_IN_FLIGHT: usize = 2;

/// Bytes after which an entry is closed: a bigger one would hold up the replication lane.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Groups that may wait. Each node has few outstanding, so this is never reached by members that
/// keep to the protocol.
const QUEUE_MAX: usize = 256;

/// A group to propose, and where to say what became of it.
#[derive(Debug)]
struct Submission {
    group: Bytes,
    term: u64,
    done: oneshot::Sender<ForwardOutcome>,
}

/// Hands groups to the proposer.
#[derive(Clone, Debug)]
pub(super) struct Proposer {
    queue: mpsc::Sender<Submission>,
}

impl Proposer {
    /// Starts the proposer.
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

    /// Proposes `group` in `term` and waits until it is committed and applied here, or until it
    /// is known that it will not be.
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
        // What this disk is slow to take waits here: others may commit without it, and the memory
        // for what it lags behind is bounded.
        if backlog.room().await.is_err() {
            // The caller that is gone learns it from the log.
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
                // A follower that is gone learns it from the log.
                _ = done.send(outcome);
            }
        });
    }
}
