//! The follower's side of a write: sends groups to the leader over one long-lived stream, opened by
//! the leader or, until then, by this node.
//!
//! # Invariants
//! A group is reported as refused only when the leader refused it or it was never sent. A stream
//! that fails afterwards leaves the outcome unknown, and the log still yields it.

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

/// Most groups queued for the network.
const QUEUE_MAX: usize = 64;

/// Sends groups to the leader. Clones share the stream.
#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    peers: Arc<Peers>,
    directory: Arc<dyn Directory>,
    collected: Arc<Collected>,
    stream: Arc<Mutex<Option<Stream>>>,
}

/// The stream that this node opened to the current leader.
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
    /// Marks the stream as lost and drops the channels of all its groups.
    fn close(&mut self) {
        self.closed = true;
        self.replies.clear();
    }
}

impl Forwarder {
    /// Starts without a stream.
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

    /// Sends `group` to `leader`, to be proposed in `term`, and waits for the leader's answer.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    pub(super) async fn forward(
        &self,
        leader: MemberId,
        term: u64,
        group: Bytes,
    ) -> ForwardOutcome {
        // A stream that the leader opened is known to reach it.
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
            // The message was not queued, so the group was never sent.
            stream.waiting.lock().replies.remove(&sequence);
            return ForwardOutcome::NotLeader;
        }
        outcome.await.unwrap_or(ForwardOutcome::Lost)
    }

    /// Closes the streams and the connection to `leader`; the next group opens new ones.
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

/// Reads the leader's answers until the stream ends; remaining groups have an unknown outcome.
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
