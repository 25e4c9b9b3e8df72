//! The leader's side of a write: groups to log entries, a few at a time.
//!
//! Self-clocking: what arrives while the entries before are on their way becomes the next entry.
//! There is no timer, so a lone write waits for nobody.

use std::sync::Arc;

use bytes::Bytes;
use openraft::errors::ClientWriteError;
use tenure_statemachine::codec;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::cluster_clock::ClusterClock;
use crate::{
    raft::{Batch, ForwardOutcome, Raft, Responder},
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
    done: oneshot::Sender<ForwardOutcome>,
}

/// Hands groups to the proposer.
#[derive(Clone, Debug)]
pub(super) struct Proposer {
    queue: mpsc::Sender<Submission>,
}

impl Proposer {
    /// Starts the proposer.
    pub(super) fn spawn(raft: Raft, clock: Arc<ClusterClock>) -> Self {
        let (queue, submissions) = mpsc::channel(QUEUE_MAX);
        tasks::spawn("proposer", run(raft, clock, submissions));
        Self { queue }
    }

    /// Proposes `group` and waits until it is committed and applied here, or is known not to be.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    pub(super) async fn propose(&self, group: Bytes) -> ForwardOutcome {
        let (done, outcome) = oneshot::channel();
        if self.queue.try_send(Submission { group, done }).is_err() {
            return ForwardOutcome::Overloaded;
        }
        outcome.await.unwrap_or(ForwardOutcome::Lost)
    }
}

async fn run(
    raft: Raft,
    clock: Arc<ClusterClock>,
    mut submissions: mpsc::Receiver<Submission>,
) {
    let slots = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let Some(first) = submissions.recv().await else { return };
        let mut bytes = first.group.len();
        let (mut groups, mut waiting) = (vec![first.group], vec![first.done]);
        while bytes < ENTRY_BYTES_MAX {
            let Ok(next) = submissions.try_recv() else { break };
            bytes += next.group.len();
            groups.push(next.group);
            waiting.push(next.done);
        }
        let entry = codec::encode_entry(clock.now(), &groups);
        let (responder, written) = oneshot::channel();
        let submitted = raft.client_write_ff(Batch(entry), Some(Responder(responder))).await;
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
                drop(done.send(outcome));
            }
        });
    }
}
