//! A follower's side of a write: groups to the leader over one long-lived stream, which the leader
//! opened or, until it has, this node.
//!
//! # Invariants
//! A group is reported as refused only when the leader said so, or when it was never sent. Whatever
//! happens to the stream afterwards leaves the outcome unknown, and the log still tells it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tenure_proto::peer;
use tenure_statemachine::MemberId;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use super::{collected::Collected, membership::Directory};
use crate::{
    raft::{ForwardOutcome, Lane, Peers},
    tasks,
};

/// Groups that may wait for the network.
const QUEUE_MAX: usize = 64;

/// Sends groups to the leader.
#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    peers: Arc<Peers>,
    directory: Arc<dyn Directory>,
    collected: Arc<Collected>,
    stream: Arc<Mutex<Option<Stream>>>,
}

/// This node's own stream to the present leader.
#[derive(Clone, Debug)]
struct Stream {
    leader: MemberId,
    queue: mpsc::Sender<peer::ForwardRequest>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    sequence: u64,
    replies: BTreeMap<u64, oneshot::Sender<ForwardOutcome>>,
    closed: bool,
}

impl Waiting {
    /// Tells every group of the stream that it was lost.
    fn close(&mut self) {
        self.closed = true;
        self.replies.clear();
    }
}

impl Forwarder {
    /// No stream yet.
    pub(super) fn new(
        peers: Arc<Peers>,
        directory: Arc<dyn Directory>,
        collected: Arc<Collected>,
    ) -> Self {
        Self {
            peers,
            directory,
            collected,
            stream: Arc::default(),
        }
    }

    /// Sends `group` to `leader`, to be proposed in `term`, and waits for its word.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    pub(super) async fn forward(
        &self,
        leader: MemberId,
        term: u64,
        group: Bytes,
    ) -> ForwardOutcome {
        // The leader's own stream is known to reach it.
        if let Some(outcome) = self.collected.forward(leader, term, &group).await {
            return outcome;
        }
        let Some(stream) = self.stream_to(leader) else {
            return ForwardOutcome::NotLeader;
        };
        let (reply, outcome) = oneshot::channel();
        let sequence = {
            let mut waiting = stream.waiting.lock();
            if waiting.closed {
                return ForwardOutcome::NotLeader;
            }
            waiting.sequence += 1;
            let sequence = waiting.sequence;
            waiting.replies.insert(sequence, reply);
            sequence
        };
        if stream
            .queue
            .send(peer::ForwardRequest {
                sequence,
                group,
                term,
            })
            .await
            .is_err()
        {
            // The message was not taken: nobody has seen it.
            stream.waiting.lock().replies.remove(&sequence);
            return ForwardOutcome::NotLeader;
        }
        outcome.await.unwrap_or(ForwardOutcome::Lost)
    }

    /// Gives up the streams to `leader` and this node's connection: the next group makes new ones.
    pub(super) fn renew(&self, leader: MemberId) {
        self.collected.close(leader);
        let mut current = self.stream.lock();
        if let Some(stream) = current.take_if(|stream| stream.leader == leader) {
            stream.waiting.lock().close();
            self.peers.forget(leader, Lane::Forward);
        }
    }

    fn stream_to(&self, leader: MemberId) -> Option<Stream> {
        let mut current = self.stream.lock();
        if let Some(stream) = current.as_ref()
            && stream.leader == leader
            && !stream.waiting.lock().closed
        {
            return Some(stream.clone());
        }
        let node = self.directory.node(leader)?;
        let client = self.peers.client(leader, &node, Lane::Forward);
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let stream = Stream {
            leader,
            queue,
            waiting: Arc::default(),
        };
        tasks::spawn(
            "forward",
            receive(client, requests, Arc::clone(&stream.waiting)),
        );
        *current = Some(stream.clone());
        Some(stream)
    }
}

/// Reads the leader's answers until the stream ends; whoever still waits then does not know.
async fn receive(
    mut client: crate::raft::PeerClient,
    requests: mpsc::Receiver<peer::ForwardRequest>,
    waiting: Arc<Mutex<Waiting>>,
) {
    match client.forward(ReceiverStream::new(requests)).await {
        Ok(responses) => {
            let mut responses = responses.into_inner();
            loop {
                match responses.message().await {
                    Ok(Some(response)) => answer(&waiting, &response),
                    Ok(None) => break,
                    Err(error) => {
                        debug!(%error, "the stream of forwarded writes ended");
                        break;
                    }
                }
            }
        }
        Err(error) => debug!(%error, "the leader took no stream of forwarded writes"),
    }
    waiting.lock().close();
}

fn answer(waiting: &Mutex<Waiting>, response: &peer::ForwardResponse) {
    if let Some(reply) = waiting.lock().replies.remove(&response.sequence) {
        _ = reply.send(ForwardOutcome::of(response));
    }
}
