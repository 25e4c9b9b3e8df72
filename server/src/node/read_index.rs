//! Linearizable reads: one confirmation for everyone who waits.
//!
//! One round is under way at a time; whoever arrives meanwhile shares the next. The leader asks the
//! quorum whether it still leads; a follower asks the leader for the index. Either way the read may
//! go on once this node has applied that index.

use std::{sync::Arc, time::Duration};

use openraft::{
    ReadPolicy,
    errors::{LinearizableReadError, RaftError},
};
use parking_lot::Mutex;
use tenure_proto::peer;
use tenure_statemachine::MemberId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::{
    error::ReadIndexError,
    fresh::Fresh,
    membership::Directory,
    progress::{self, Applied},
    status::Leadership,
};
use crate::{
    metrics::IntCounter,
    raft::{Lane, LogId, Peers, Raft, convert},
    tasks,
};

/// Reads that may wait for the next round.
const QUEUE_MAX: usize = 16 << 10;

/// How long one attempt may take before another is made; as etcd's `readIndexRetryTime`.
const ATTEMPT_MAX: Duration = Duration::from_millis(500);

/// Pause after an attempt that failed at once: an election is under way.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Shortest time between two rounds that nobody waits for: a heartbeat's, so that they cost no more
/// than those do.
const FRESHEN_EVERY: Duration = Duration::from_millis(100);

type Answer = Result<u64, ReadIndexError>;

/// Shares confirmations among reads.
#[derive(Clone, Debug)]
pub(super) struct ReadIndex {
    queue: mpsc::Sender<oneshot::Sender<Answer>>,
    applied: watch::Receiver<Applied>,
    fresh: Arc<Fresh>,
    freshened: Arc<Mutex<Option<Instant>>>,
}

/// What the rounds work with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) peers: Arc<Peers>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) request_timeout: Duration,
    /// Attempts that were not answered in time.
    pub(super) slow: IntCounter,
    /// Rounds that failed.
    pub(super) failed: IntCounter,
}

impl ReadIndex {
    /// Starts the rounds.
    pub(super) fn spawn(parts: Parts) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let applied = parts.applied.clone();
        let fresh = Arc::<Fresh>::default();
        tasks::spawn("read-index", run(parts, waiting, Arc::clone(&fresh)));
        Self {
            queue,
            applied,
            fresh,
            freshened: Arc::default(),
        }
    }

    /// What is known of the state's age; every round adds to it.
    pub(super) fn fresh(&self) -> &Fresh {
        &self.fresh
    }

    /// Makes a round that nobody waits for, unless there was one a moment ago.
    pub(super) fn freshen(&self) {
        let now = Instant::now();
        {
            let mut last = self.freshened.lock();
            if last.is_some_and(|last| now.duration_since(last) < FRESHEN_EVERY) {
                return;
            }
            *last = Some(now);
        }
        let (reply, _) = oneshot::channel();
        // When so many wait already, there is a round soon anyhow.
        drop(self.queue.try_send(reply));
    }

    /// The index that a read starting now must have applied.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn index(&self) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(reply)
            .await
            .map_err(|_| ReadIndexError::Stopping)?;
        answer.await.unwrap_or(Err(ReadIndexError::Stopping))
    }

    /// Waits until a read made now is linearizable.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn barrier(&self) -> Result<(), ReadIndexError> {
        let index = self.index().await?;
        if self.applied.borrow().index >= index {
            return Ok(());
        }
        let mut applied = self.applied.clone();
        if progress::reached(&mut applied, index).await {
            Ok(())
        } else {
            Err(ReadIndexError::Stopping)
        }
    }
}

async fn run(
    parts: Parts,
    mut waiting: mpsc::Receiver<oneshot::Sender<Answer>>,
    fresh: Arc<Fresh>,
) {
    let mut round = Vec::new();
    while waiting.recv_many(&mut round, QUEUE_MAX).await > 0 {
        let answer = confirm(&parts).await.map(|(began, index)| {
            fresh.confirm(began, index, parts.applied.borrow().index);
            index
        });
        if answer.is_err() {
            parts.failed.inc();
        }
        for reply in round.drain(..) {
            _ = reply.send(answer);
        }
    }
}

/// One confirmation and when it began, tried again until it succeeds or its time has passed.
async fn confirm(parts: &Parts) -> Result<(Instant, u64), ReadIndexError> {
    let mut last = ReadIndexError::NoLeader;
    let rounds = async {
        loop {
            let leadership = *parts.leadership.borrow();
            let attempt = async {
                match leadership.leader {
                    _ if leadership.is_leader => ask_quorum(&parts.raft).await,
                    Some(leader) => ask_leader(parts, leader).await,
                    None => Err(ReadIndexError::NoLeader),
                }
            };
            let began = Instant::now();
            match timeout(ATTEMPT_MAX, attempt).await {
                Ok(Ok(index)) => return (began, index),
                Ok(Err(error)) => last = error,
                Err(_) => {
                    parts.slow.inc();
                    last = ReadIndexError::TimedOut;
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    timeout(parts.request_timeout, rounds)
        .await
        .map_err(|_| last)
}

async fn ask_quorum(raft: &Raft) -> Answer {
    read_log_id(raft).await.map(|log_id| log_id.index)
}

/// The log id that a linearizable read must have applied, confirmed by a quorum.
pub(super) async fn read_log_id(raft: &Raft) -> Result<LogId, ReadIndexError> {
    match raft.get_read_log_id(ReadPolicy::ReadIndex).await {
        Ok((read_log_id, _)) => Ok(*read_log_id.log_id()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
            Err(ReadIndexError::LeaderChanged)
        }
        Err(RaftError::APIError(_)) => Err(ReadIndexError::TimedOut),
        Err(RaftError::Fatal(_)) => Err(ReadIndexError::Stopping),
    }
}

async fn ask_leader(parts: &Parts, leader: MemberId) -> Answer {
    let Some(node) = parts.raft.node(leader) else {
        return Err(ReadIndexError::NoLeader);
    };
    let mut client = parts.peers.client(leader, &node, Lane::Forward);
    match client.read_index(peer::ReadIndexRequest {}).await {
        Ok(response) => {
            let log_id = response
                .into_inner()
                .read_log_id
                .as_ref()
                .map(convert::log_id_from);
            log_id
                .map(|log_id| log_id.index)
                .ok_or(ReadIndexError::LeaderChanged)
        }
        Err(_) => Err(ReadIndexError::LeaderChanged),
    }
}
