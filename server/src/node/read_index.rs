//! Linearizable reads: one confirmation for everyone who waits.
//!
//! One round is under way at a time; reads that arrive meanwhile share the next, those of followers
//! included. The leader asks the quorum whether it still leads (`read_round.rs`); a follower asks
//! the leader for the index. Either way the read may go on once this node has applied that index. A
//! leader makes a round now and then without a read, too: its own age rests on them, and whether it
//! still counts as the leader.

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

/// Reads that may wait for the next round.
const QUEUE_MAX: usize = 16 << 10;

/// How long one attempt may take before another is made; as etcd's `readIndexRetryTime`.
const ATTEMPT_MAX: Duration = Duration::from_millis(500);

/// Pause after an attempt that failed at once: an election is under way.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Shortest time between two rounds that nobody waits for: a heartbeat's, so that they cost no more
/// than those do.
const FRESHEN_EVERY: Duration = Duration::from_millis(100);

type Answer = Result<LogId, ReadIndexError>;

/// Somebody who waits for an index.
#[derive(Debug)]
struct Ask {
    /// A follower's reads: this node answers for itself or not at all, so that no two nodes can
    /// wait for each other.
    of_peer: bool,
    reply: oneshot::Sender<Answer>,
}

/// Shares confirmations among reads.
#[derive(Clone, Debug)]
pub(super) struct ReadIndex {
    queue: mpsc::Sender<Ask>,
    applied: watch::Receiver<Applied>,
    fresh: Arc<Fresh>,
    freshened: Arc<Mutex<Option<Instant>>>,
}

/// What the rounds work with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) peers: Arc<Peers>,
    pub(super) collected: Arc<Collected>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) own: MemberId,
    pub(super) confirmed: Arc<Confirmed>,
    /// Longest time between the rounds of a leader.
    pub(super) round_every: Duration,
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
        let ask = Ask {
            of_peer: false,
            reply,
        };
        // When so many wait already, there is a round soon anyhow.
        drop(self.queue.try_send(ask));
    }

    /// The index that a read starting now must have applied.
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

    /// The same for the reads of a follower, as long as this node leads.
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
        // Cancel-safe: nothing is taken from the channel when the time passes first.
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

/// One confirmation and when it began, tried again until it succeeds or its time has passed.
async fn confirm(parts: &Parts, rounds: &mut Rounds) -> Result<(Instant, LogId), ReadIndexError> {
    let mut last = ReadIndexError::NoLeader;
    let attempts = async {
        loop {
            let leadership = *parts.leadership.borrow();
            let began = Instant::now();
            let attempt = async {
                match leadership.leader {
                    Some(leader) if !leadership.is_leader => ask_leader(parts, leader).await,
                    // It may lead and not know that a quorum answers again: the round finds out.
                    Some(_) | None => ask_quorum(parts, rounds, began).await,
                }
            };
            match timeout(ATTEMPT_MAX, attempt).await {
                Ok(Ok(read)) => return Ok((began, read)),
                Ok(Err(ReadIndexError::Stopping)) => return Err(ReadIndexError::Stopping),
                Ok(Err(error)) => last = error,
                Err(_) => {
                    parts.slow.inc();
                    // The next attempt goes another way.
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

/// A round that began at `began`.
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
