//! The follower's side of the streams that leaders open to collect the follower's requests.
//!
//! A follower that cannot connect to the leader stays useful as long as the leader reaches it: its
//! writes and its read index requests travel over the leader's own connection. Invariant: a request
//! uses only a stream that was opened by its addressee, never one left over from an earlier leader.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tenure_proto::peer::{
    self, CollectAnswer, CollectAsk, collect_answer::Answer, collect_ask::Ask,
};
use tenure_statemachine::MemberId;
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;
use tracing::debug;

use crate::{
    consensus::{LogId, convert},
    raft::ForwardOutcome,
    tasks,
};

/// Most requests queued for the network on one stream.
const QUEUE_MAX: usize = 64;

/// The open streams, by the member that opened them.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// At most one per member; only members pass admission.
    lines: Mutex<BTreeMap<MemberId, Line>>,
}

/// One leader's stream and the requests that await an answer on it.
#[derive(Clone, Debug)]
struct Line {
    asks: mpsc::Sender<CollectAsk>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    sequence: u64,
    groups: BTreeMap<u64, oneshot::Sender<ForwardOutcome>>,
    reads: BTreeMap<u64, oneshot::Sender<Option<LogId>>>,
    closed: bool,
}

impl Waiting {
    /// Marks the stream as lost and drops the channels of all waiting requests.
    fn close(&mut self) {
        self.closed = true;
        self.groups.clear();
        self.reads.clear();
    }

    /// Returns the next sequence number. Forgets requests whose callers have given up.
    fn next(&mut self) -> u64 {
        self.groups.retain(|_, reply| !reply.is_closed());
        self.reads.retain(|_, reply| !reply.is_closed());
        self.sequence += 1;
        self.sequence
    }

    fn answer(&mut self, answer: &CollectAnswer) {
        match &answer.answer {
            Some(Answer::Group(response)) => {
                if let Some(reply) = self.groups.remove(&response.sequence) {
                    _ = reply.send(ForwardOutcome::of(response));
                }
            }
            Some(Answer::Read(read)) => {
                if let Some(reply) = self.reads.remove(&read.sequence) {
                    _ = reply.send(read.read_log_id.as_ref().map(convert::log_id_from));
                }
            }
            // A kind that a later version added; it answers no request of this node.
            None => {}
        }
    }
}

impl Collected {
    /// Takes over the stream that `leader` opened, replacing an earlier one of the same member. The
    /// returned receiver yields the requests to send to the leader.
    pub(super) fn open(
        self: &Arc<Self>,
        leader: MemberId,
        answers: Streaming<CollectAnswer>,
    ) -> mpsc::Receiver<CollectAsk> {
        let (asks, outgoing) = mpsc::channel(QUEUE_MAX);
        let line = Line {
            asks,
            waiting: Arc::default(),
        };
        let before = self.lines.lock().insert(leader, line.clone());
        if let Some(before) = before {
            before.waiting.lock().close();
        }
        tasks::spawn("collected", Arc::clone(self).receive(leader, line, answers));
        outgoing
    }

    /// Sends the group over the stream of `leader` and returns its outcome. `None` when there is no
    /// such stream; the group was then not sent.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    pub(super) async fn forward(
        &self,
        leader: MemberId,
        term: u64,
        group: &Bytes,
    ) -> Option<ForwardOutcome> {
        let line = self.line(leader)?;
        let (reply, outcome) = oneshot::channel();
        let sequence = {
            let mut waiting = line.waiting.lock();
            if waiting.closed {
                return None;
            }
            let sequence = waiting.next();
            waiting.groups.insert(sequence, reply);
            sequence
        };
        let ask = Ask::Group(peer::ForwardRequest {
            sequence,
            group: group.clone(),
            term,
        });
        line.send(ask).await?;
        Some(outcome.await.unwrap_or(ForwardOutcome::Lost))
    }

    /// Asks `leader` for the index that a linearizable read must have applied. `None` when that
    /// member has no stream open, the stream ended, or the member does not lead.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn read_index(&self, leader: MemberId) -> Option<LogId> {
        let line = self.line(leader)?;
        let (reply, index) = oneshot::channel();
        let sequence = {
            let mut waiting = line.waiting.lock();
            if waiting.closed {
                return None;
            }
            let sequence = waiting.next();
            waiting.reads.insert(sequence, reply);
            sequence
        };
        line.send(Ask::Read(sequence)).await?;
        index.await.ok().flatten()
    }

    /// Closes the stream of `leader`, which opens another if it still leads.
    pub(super) fn close(&self, leader: MemberId) {
        if let Some(line) = self.lines.lock().remove(&leader) {
            line.waiting.lock().close();
        }
    }

    fn line(&self, leader: MemberId) -> Option<Line> {
        self.lines.lock().get(&leader).cloned()
    }

    /// Reads the leader's answers until the stream ends or is replaced.
    async fn receive(
        self: Arc<Self>,
        leader: MemberId,
        line: Line,
        mut answers: Streaming<CollectAnswer>,
    ) {
        loop {
            tokio::select! {
                message = answers.message() => match message {
                    Ok(Some(answer)) => line.waiting.lock().answer(&answer),
                    Ok(None) => break,
                    Err(error) => {
                        debug!(%error, %leader, "a leader's stream ended");
                        break;
                    }
                },
                () = line.asks.closed() => break,
            }
        }
        line.waiting.lock().close();
        let mut lines = self.lines.lock();
        if lines
            .get(&leader)
            .is_some_and(|now| now.asks.same_channel(&line.asks))
        {
            lines.remove(&leader);
        }
    }
}

impl Line {
    /// Queues a request; `None` when the stream has ended.
    async fn send(&self, ask: Ask) -> Option<()> {
        self.asks.send(CollectAsk { ask: Some(ask) }).await.ok()
    }
}
