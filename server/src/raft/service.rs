//! The peer protocol's server: what the other members ask of this one.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, future::BoxFuture};
use openraft::raft::{StreamAppendError, TransferLeaderRequest};
use prost::Message;
use tenure_proto::peer::{self, peer_server};
use tenure_statemachine::{FeatureLevel, MemberId};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, service::Interceptor};
use tracing::{info, warn};

use super::{
    convert, peers, transfer,
    types::{LogId, Raft, SnapshotMeta},
};
use crate::{
    metrics::{IntCounter, Metrics},
    storage::SnapshotDir,
};

/// What happened to a group that a follower sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// Committed; what it came to comes with the log.
    Committed,
    /// Never handed to the log: this node does not lead.
    NotLeader,
    /// Never handed to the log: too much is waiting.
    Overloaded,
    /// Handed to the log and lost from it with leadership: the outcome is unknown.
    Lost,
}

/// What the peer service needs of the node beyond Raft itself.
pub trait PeerRequests: Send + Sync + 'static {
    /// Proposes a group that a follower took, in this term only.
    fn forward(&self, group: bytes::Bytes, term: u64) -> BoxFuture<'static, ForwardOutcome>;

    /// A message of the leader arrived.
    fn heard_from_leader(&self);

    /// Waits until the log takes more; `None` when it does so now.
    fn room(&self) -> Option<BoxFuture<'static, ()>>;

    /// The log id that a linearizable read must have applied; `None` when this node does not lead.
    fn read_index(&self) -> BoxFuture<'static, Option<LogId>>;
}

/// Serves the other members.
pub struct PeerService {
    raft: Raft,
    snapshots: Arc<SnapshotDir>,
    requests: Arc<dyn PeerRequests>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for PeerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerService").finish_non_exhaustive()
    }
}

/// Forwarded groups of one stream that may be on their way to the log.
const FORWARDS_IN_FLIGHT: usize = 64;

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl PeerService {
    /// A server over `raft`, for members that introduce themselves with these ids.
    pub fn server(
        raft: Raft,
        snapshots: Arc<SnapshotDir>,
        requests: Arc<dyn PeerRequests>,
        metrics: Arc<Metrics>,
    ) -> peer_server::PeerServer<Self> {
        peer_server::PeerServer::new(Self {
            raft,
            snapshots,
            requests,
            metrics,
        })
        .max_decoding_message_size(peers::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(peers::MESSAGE_BYTES_MAX)
    }
}

/// Bytes from and to the member that sent a call, when it is known.
#[derive(Clone)]
struct Traffic(Option<[IntCounter; 2]>);

impl Traffic {
    fn received(&self, message: &impl Message) {
        if let Some([received, _]) = &self.0 {
            received.inc_by(message.encoded_len() as u64);
        }
    }

    fn sent(&self, message: &impl Message) {
        if let Some([_, sent]) = &self.0 {
            sent.inc_by(message.encoded_len() as u64);
        }
    }
}

impl PeerService {
    /// What counts the bytes from and to the member that sent a call. On this side messages are
    /// counted; on the side that connects, bytes of the connection.
    fn traffic(&self, metadata: &MetadataMap) -> Traffic {
        let sender = || {
            let sender = metadata.get(peers::SENDER_KEY)?.to_str().ok()?;
            Some(MemberId(u64::from_str_radix(sender, 16).ok()?))
        };
        let answering = |sender| self.metrics.network.answering(sender);
        Traffic(sender().and_then(answering))
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("consensus stopped: {error}"))
}

fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    type AppendStream = ResponseStream<peer::AppendResponse>;
    type ForwardStream = ResponseStream<peer::ForwardResponse>;

    async fn append(
        &self,
        request: Request<Streaming<peer::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        // A message that does not arrive or does not decode ends the stream: the leader makes a
        // new one and starts from what was acknowledged.
        let node = Arc::clone(&self.requests);
        let traffic = self.traffic(request.metadata());
        let answers = traffic.clone();
        let requests = request.into_inner().scan((), move |(), message| {
            node.heard_from_leader();
            // A disk that lags holds up its own leader's stream, and not this node's memory.
            let room = node.room();
            if let Ok(message) = &message {
                traffic.received(message);
            }
            let request = message
                .map_err(convert_status)
                .and_then(|message| {
                    convert::append_request_from(message).map_err(|e| e.to_string())
                })
                .inspect_err(|error| info!(%error, "a replication stream ended"))
                .ok();
            async move {
                if let Some(room) = room {
                    room.await;
                }
                request
            }
        });
        let responses = self
            .raft
            .stream_append(requests)
            .map(move |result| match result {
                Ok(result) => {
                    let answer = convert::append_result_to(&result);
                    answers.sent(&answer);
                    Ok(answer)
                }
                Err(fatal) => Err(stopped(fatal)),
            });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn heartbeat(
        &self,
        request: Request<peer::AppendRequest>,
    ) -> Result<Response<peer::AppendResponse>, Status> {
        self.requests.heard_from_leader();
        let traffic = self.traffic(request.metadata());
        traffic.received(request.get_ref());
        let request = convert::append_request_from(request.into_inner()).map_err(malformed)?;
        let previous = request.prev_log_id;
        let last = request
            .entries
            .last()
            .map(|entry| entry.log_id)
            .or(previous);
        let response = self.raft.append_entries(request).await.map_err(stopped)?;
        let result = match (response, previous) {
            // Only a request with a previous entry can conflict.
            (openraft::raft::AppendEntriesResponse::Conflict, Some(previous)) => {
                Err(StreamAppendError::Conflict(previous))
            }
            (response, _) => response.into_stream_result(previous, last),
        };
        let mut response = convert::append_result_to(&result);
        response.feature_level = FeatureLevel::NEWEST.0.into();
        traffic.sent(&response);
        Ok(Response::new(response))
    }

    async fn vote(
        &self,
        request: Request<peer::VoteRequest>,
    ) -> Result<Response<peer::VoteResponse>, Status> {
        let request = convert::vote_request_from(request.into_inner()).map_err(malformed)?;
        let response = self.raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_to(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<peer::VoteRequest>,
    ) -> Result<Response<peer::VoteResponse>, Status> {
        let request = convert::vote_request_from(request.into_inner()).map_err(malformed)?;
        let response = self.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_to(&response)))
    }

    async fn transfer_leader(
        &self,
        request: Request<peer::TransferLeaderRequest>,
    ) -> Result<Response<peer::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        let from = convert::vote_from(request.from_leader).map_err(malformed)?;
        let last = request.last_log_id.as_ref().map(convert::log_id_from);
        let request = TransferLeaderRequest::new(from, request.to_node_id, last);
        match self.raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => Ok(Response::new(peer::TransferLeaderResponse {})),
            Ok(Err(refused)) => Err(Status::failed_precondition(refused.to_string())),
            Err(fatal) => Err(stopped(fatal)),
        }
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<peer::SnapshotChunk>>,
    ) -> Result<Response<peer::SnapshotResponse>, Status> {
        let received = transfer::receive(&self.snapshots, request.into_inner())
            .await
            .inspect_err(|error| warn!(%error, "a snapshot did not arrive"))
            .map_err(|error| Status::aborted(error.to_string()))?;
        let meta = SnapshotMeta {
            last_log_id: received.record.last_applied,
            last_membership: received.record.membership,
        };
        info!(last = ?meta.last_log_id, "installing a snapshot from the leader");
        let snapshot = openraft::Snapshot {
            meta,
            snapshot: received.checkpoint,
        };
        let in_progress = &self.metrics.server.snapshot_apply_in_progress;
        in_progress.inc();
        let installed = self
            .raft
            .install_full_snapshot(received.vote, snapshot)
            .await;
        in_progress.dec();
        let response = installed.map_err(stopped)?;
        let vote = Some(convert::vote_to(&response.vote));
        Ok(Response::new(peer::SnapshotResponse { vote }))
    }

    async fn forward(
        &self,
        request: Request<Streaming<peer::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let requests = Arc::clone(&self.requests);
        let responses = request
            .into_inner()
            .map(move |message| {
                let requests = Arc::clone(&requests);
                async move {
                    let message = message?;
                    let outcome = requests.forward(message.group, message.term).await;
                    let mut response = peer::ForwardResponse {
                        sequence: message.sequence,
                        outcome: 0,
                    };
                    response.set_outcome(match outcome {
                        ForwardOutcome::Committed => peer::forward_response::Outcome::Committed,
                        ForwardOutcome::NotLeader => peer::forward_response::Outcome::NotLeader,
                        ForwardOutcome::Overloaded => peer::forward_response::Outcome::Overloaded,
                        ForwardOutcome::Lost => peer::forward_response::Outcome::Lost,
                    });
                    Ok(response)
                }
            })
            .buffered(FORWARDS_IN_FLIGHT);
        Ok(Response::new(Box::pin(responses)))
    }

    async fn read_index(
        &self,
        _request: Request<peer::ReadIndexRequest>,
    ) -> Result<Response<peer::ReadIndexResponse>, Status> {
        match self.requests.read_index().await {
            Some(log_id) => {
                let read_log_id = Some(convert::log_id_to(&log_id));
                Ok(Response::new(peer::ReadIndexResponse { read_log_id }))
            }
            None => Err(Status::failed_precondition("not leader")),
        }
    }
}

fn convert_status(status: Status) -> String {
    status.to_string()
}

/// Refuses calls from another quorum, or meant for another member.
#[derive(Clone, Copy, Debug)]
pub struct Gatekeeper {
    cluster_id: u64,
    own: MemberId,
}

impl Gatekeeper {
    /// A gatekeeper for `own` of `cluster_id`.
    #[must_use]
    pub const fn new(cluster_id: u64, own: MemberId) -> Self {
        Self { cluster_id, own }
    }
}

impl Interceptor for Gatekeeper {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let number = |key| {
            let text = request.metadata().get(key)?.to_str().ok()?;
            u64::from_str_radix(text, 16).ok()
        };
        if number(peers::CLUSTER_KEY) != Some(self.cluster_id) {
            return Err(Status::failed_precondition("cluster ID mismatch"));
        }
        if number(peers::TARGET_KEY) != Some(self.own.0) {
            return Err(Status::failed_precondition("member ID mismatch"));
        }
        Ok(request)
    }
}
