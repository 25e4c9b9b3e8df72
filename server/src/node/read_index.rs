//! Linearizable reads: one leadership confirmation serves all waiting reads.
//!
//! One round is in flight at a time; reads that arrive meanwhile share the next, including those of
//! followers. The leader confirms its leadership with a quorum (`read_round.rs`); a follower
//! requests the index from the leader. In both cases a read continues once this node has applied
//! that index. A leader also runs rounds periodically without a read: the age of its state and its
//! status as leader rest on them.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tenure_proto::peer;
use tenure_statemachine::MemberId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{
    collected::Collected,
    confirmed::Confirmed,
    error::ReadIndexError,
    fresh::Fresh,
    membership::Directory,
    progress::{self, Applied},
    read_round::Rounds,
    status::Leadership,
};
use crate::{
    consensus::{LogId, convert},
    metrics::IntCounter,
    raft::{Lane, Peers, Raft},
    tasks,
};

/// Most reads queued for the next round.
const QUEUE_MAX: usize = 16 << 10;

/// Time limit of one attempt, as etcd's `readIndexRetryTime`.
const ATTEMPT_MAX: Duration = Duration::from_millis(500);

/// Pause after an attempt that failed at once, as during an election.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Shortest time between two rounds without a waiting read: a heartbeat interval, so that they cost
/// no more than heartbeats.
const FRESHEN_EVERY: Duration = Duration::from_millis(100);

type Answer = Result<LogId, ReadIndexError>;

/// A read that waits for an index.
#[derive(Debug)]
struct Ask {
    /// Whether a follower asks. Only the leader answers, so no two nodes can wait for each other.
    of_peer: bool,
    reply: oneshot::Sender<Answer>,
}

/// Shares confirmations among reads. Clones share the queue.
#[derive(Clone, Debug)]
pub(super) struct ReadIndex {
    queue: mpsc::Sender<Ask>,
    applied: watch::Receiver<Applied>,
    fresh: Arc<Fresh>,
    freshened: Arc<Mutex<Option<Instant>>>,
}

/// Dependencies of the rounds.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) peers: Arc<Peers>,
    pub(super) collected: Arc<Collected>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) own: MemberId,
    pub(super) confirmed: Arc<Confirmed>,
    /// Longest time between two rounds of a leader.
    pub(super) round_every: Duration,
    pub(super) request_timeout: Duration,
    /// Counts attempts that were not answered in time.
    pub(super) slow: IntCounter,
    /// Counts rounds that failed.
    pub(super) failed: IntCounter,
}

impl ReadIndex {
    /// Starts the task that runs the rounds.
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

    /// The bound on the age of the state; every round updates it.
    pub(super) fn fresh(&self) -> &Fresh {
        &self.fresh
    }

    /// Requests a round without a waiting read, unless one was requested a moment ago.
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
        let ask = Ask {
            of_peer: false,
            reply,
        };
        // With a full queue, a round follows soon anyway.
        _ = self.queue.try_send(ask);
    }

    /// Returns the index that a read starting now must have applied.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    async fn index(&self, of_peer: bool) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(Ask { of_peer, reply })
            .await
            .map_err(|_| ReadIndexError::Stopping)?;
        answer.await.unwrap_or(Err(ReadIndexError::Stopping))
    }

    /// As [`Self::index`], for the reads of a follower; fails unless this node leads.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn index_for_peer(&self) -> Answer {
        self.index(true).await
    }

    /// Waits until a read made now is linearizable.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn barrier(&self) -> Result<(), ReadIndexError> {
        let index = self.index(false).await?.index;
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

async fn run(parts: Parts, mut waiting: mpsc::Receiver<Ask>, fresh: Arc<Fresh>) {
    let own = parts.own;
    let mut rounds = Rounds::new(parts.raft.clone(), Arc::clone(&parts.peers), own);
    let mut asks = Vec::new();
    loop {
        // Cancel-safe: nothing is taken from the channel when the timeout expires first.
        let came = timeout(parts.round_every, waiting.recv_many(&mut asks, QUEUE_MAX)).await;
        if came == Ok(0) {
            return;
        }
        if !parts.leadership.borrow().is_leader {
            for ask in asks.extract_if(.., |ask| ask.of_peer) {
                _ = ask.reply.send(Err(ReadIndexError::LeaderChanged));
            }
        }
        let answer = if asks.is_empty() {
            let began = Instant::now();
            let round = timeout(ATTEMPT_MAX, ask_quorum(&parts, &mut rounds, began)).await;
            round
                .unwrap_or(Err(ReadIndexError::TimedOut))
                .map(|read| (began, read))
        } else {
            let answer = confirm(&parts, &mut rounds).await;
            if answer.is_err() {
                parts.failed.inc();
            }
            answer
        };
        if let Ok((began, read)) = answer {
            fresh.confirm(began, read.index, parts.applied.borrow().index);
        }
        for ask in asks.drain(..) {
            _ = ask.reply.send(answer.map(|(_, read)| read));
        }
    }
}

/// Confirms once and returns the start, with retries until it succeeds or times out.
async fn confirm(parts: &Parts, rounds: &mut Rounds) -> Result<(Instant, LogId), ReadIndexError> {
    let mut last = ReadIndexError::NoLeader;
    let attempts = async {
        loop {
            let leadership = *parts.leadership.borrow();
            let began = Instant::now();
            let attempt = async {
                match leadership.leader {
                    Some(leader) if !leadership.is_leader => ask_leader(parts, leader).await,
                    // This node may lead and not know that a quorum answers: the round finds out.
                    Some(_) | None => ask_quorum(parts, rounds, began).await,
                }
            };
            match timeout(ATTEMPT_MAX, attempt).await {
                Ok(Ok(read)) => return Ok((began, read)),
                Ok(Err(ReadIndexError::Stopping)) => return Err(ReadIndexError::Stopping),
                Ok(Err(error)) => last = error,
                Err(_) => {
                    parts.slow.inc();
                    // The next attempt uses this node's own connection.
                    if let Some(leader) = leadership.leader {
                        parts.collected.close(leader);
                    }
                    last = ReadIndexError::TimedOut;
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    };
    timeout(parts.request_timeout, attempts)
        .await
        .unwrap_or(Err(last))
}

/// Runs a round that began at `began`.
async fn ask_quorum(parts: &Parts, rounds: &mut Rounds, began: Instant) -> Answer {
    let read = rounds.make().await?;
    parts.confirmed.note(read.leader_id, began);
    Ok(read)
}

async fn ask_leader(parts: &Parts, leader: MemberId) -> Answer {
    if let Some(read) = parts.collected.read_index(leader).await {
        return Ok(read);
    }
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
            log_id.ok_or(ReadIndexError::LeaderChanged)
        }
        Err(_) => Err(ReadIndexError::LeaderChanged),
    }
}
