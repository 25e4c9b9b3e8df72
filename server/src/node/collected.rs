//! A follower's side of the streams that leaders open to it, to take what it would send to them.
//!
//! A follower that cannot connect to the leader is of use as long as the leader reaches it: its
//! writes and its questions for a read index leave by the leader's own connection. Invariant: the
//! one in use was opened by the member that the question is for; one left over from an earlier
//! leader is never asked.

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

/// Questions that may wait for the network.
const QUEUE_MAX: usize = 64;

/// The streams of those who lead, or did.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// At most one of each member, for only members get this far.
    lines: Mutex<BTreeMap<MemberId, Line>>,
}

/// One leader's stream.
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
    /// Tells everyone who waits that the stream was lost.
    fn close(&mut self) {
        self.closed = true;
        self.groups.clear();
        self.reads.clear();
    }

    /// A number for the next question. What was given up meanwhile is forgotten.
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
            // A kind of a later version: it answers nothing that was asked.
            None => {}
        }
    }
}

impl Collected {
    /// Takes up the stream that `leader` opened, in place of an earlier one; what comes out of the
    /// receiver goes to the leader.
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

    /// Whether this is the leader's stream now, the group left by it, and what became of it; `None`
    /// when there is no such stream, and nobody has seen the group.
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

    /// The index that a linearizable read must have applied, as `leader` says; `None` when there is
    /// no stream of that member's, or it ended, or the member does not lead.
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

    /// Gives up the stream of `leader`, which opens another if it still leads.
    pub(super) fn close(&self, leader: MemberId) {
        if let Some(line) = self.lines.lock().remove(&leader) {
            line.waiting.lock().close();
        }
    }

    fn line(&self, leader: MemberId) -> Option<Line> {
        self.lines.lock().get(&leader).cloned()
    }

    /// Reads the leader's answers until the stream ends, or another takes its place.
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
    /// Hands a question over; `None` when the stream ended before.
    async fn send(&self, ask: Ask) -> Option<()> {
        self.asks.send(CollectAsk { ask: Some(ask) }).await.ok()
    }
}
