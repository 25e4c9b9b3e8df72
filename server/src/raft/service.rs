//! The server of the peer protocol: answers the other members' calls.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, future::BoxFuture};
use openraft::{
    async_runtime::watch::WatchReceiver,
    raft::{StreamAppendError, TransferLeaderRequest, VoteRequest},
};
use prost::Message;
use tenure_proto::{
    peer::{self, peer_server},
    peer_metadata,
};
use tenure_statemachine::{FeatureLevel, HashKv, MemberId, Revision};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};
use tracing::{info, warn};

use super::{
    Raft,
    forwarding::ForwardOutcome,
    peer_access::PeerAccess,
    peers,
    refusals::Refusals,
    shelf::NewestSnapshot,
    transfer::{self, TransferError},
};
use crate::{
    consensus::{LogId, SnapshotMeta, TypeConfig, convert},
    fatal,
    metrics::{IntCounter, Metrics},
    storage::SnapshotDir,
};

/// The node's handlers that the peer service needs beyond Raft itself.
pub trait PeerRequests: Send + Sync + 'static {
    /// Proposes a group that a follower forwarded, in `term` only.
    fn forward(&self, group: bytes::Bytes, term: u64) -> BoxFuture<'static, ForwardOutcome>;

    /// Takes over the stream that `leader` opened to collect this node's requests to it.
    fn collect(
        &self,
        leader: MemberId,
        answers: Streaming<peer::CollectAnswer>,
    ) -> mpsc::Receiver<peer::CollectAsk>;

    /// Called when a message from the leader arrived.
    fn heard_from_leader(&self);

    /// Waits until the log accepts more entries; `None` when it does so now.
    fn room(&self) -> Option<BoxFuture<'static, ()>>;

    /// Returns the digest of the state at `index`; `None` when the state is past it.
    fn digest(&self, index: u64) -> BoxFuture<'static, Option<u64>>;

    /// Returns the hash of history up to `revision`; `None` when this node cannot tell.
    fn history_hash(&self, revision: Revision) -> BoxFuture<'static, Option<HashKv>>;

    /// Called when a replication stream to this node ended, for any reason.
    fn replication_ended(&self);

    /// The log id that a linearizable read must have applied; `None` when this node does not lead.
    fn read_index(&self) -> BoxFuture<'static, Option<LogId>>;

    /// Changes the membership, if this node leads.
    fn change_members(
        &self,
        change: peer::ChangeMembersRequest,
    ) -> BoxFuture<'static, peer::ChangeMembersResponse>;
}

/// The snapshots that are sent and received.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The directory for snapshots being received.
    pub snapshots: Arc<SnapshotDir>,
    /// The snapshot that is sent to members that fetch one.
    pub newest: NewestSnapshot,
    /// The members that refused a snapshot.
    pub refusals: Arc<Refusals>,
}

/// The implementation of the peer service.
pub struct PeerService {
    raft: Raft,
    stored: Stored,
    /// Limits concurrent fetches by other members.
    fetches: Arc<Semaphore>,
    requests: Arc<dyn PeerRequests>,
    metrics: Arc<Metrics>,
    access: PeerAccess,
}

impl std::fmt::Debug for PeerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerService").finish_non_exhaustive()
    }
}

/// Forwarded groups of one stream in flight to the log.
const FORWARDS_IN_FLIGHT: usize = 64;
/// Instance id of a member that does not name its data directory.
const UNKNOWN_INSTANCE: u64 = 0;
/// Snapshots fetched concurrently: each reads files as fast as the network accepts them.
const FETCHES_MAX: usize = 1;

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl PeerService {
    /// Creates the gRPC server; `access` admits its callers.
    pub fn server(
        raft: Raft,
        stored: Stored,
        requests: Arc<dyn PeerRequests>,
        metrics: Arc<Metrics>,
        access: PeerAccess,
    ) -> peer_server::PeerServer<Self> {
        peer_server::PeerServer::new(Self {
            raft,
            stored,
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            requests,
            metrics,
            access,
        })
        .max_decoding_message_size(peers::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(peers::MESSAGE_BYTES_MAX)
    }
}

/// Byte counters of the calling member, when it is known.
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
    /// The byte counters of the calling member. This side counts messages; the connecting side
    /// counts the bytes of the connection.
    fn traffic(&self, metadata: &MetadataMap) -> Traffic {
        let sender = || {
            let sender = metadata.get(peer_metadata::SENDER_KEY)?.to_str().ok()?;
            Some(MemberId(u64::from_str_radix(sender, 16).ok()?))
        };
        let answering = |sender| self.metrics.network.answering(sender);
        Traffic(sender().and_then(answering))
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("consensus stopped: {error}"))
}

/// The status for the sender of a snapshot; see [`peers::is_content_refused`].
fn not_arrived(error: &TransferError) -> Status {
    if error.is_content() {
        Status::data_loss(fatal::chain(error))
    } else {
        Status::aborted(error.to_string())
    }
}

fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    type AppendStream = ResponseStream<peer::AppendResponse>;
    type FetchSnapshotStream = ResponseStream<peer::SnapshotChunk>;
    type ForwardStream = ResponseStream<peer::ForwardResponse>;
    type CollectStream = ResponseStream<peer::CollectAsk>;

    async fn append(
        &self,
        request: Request<Streaming<peer::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let caller = self.access.admit(&request).await?;
        // A message that does not arrive or decode ends the stream; the leader opens a new one and
        // resumes from the last acknowledged entry.
        let (node, access) = (End(Arc::clone(&self.requests)), self.access.clone());
        let traffic = self.traffic(request.metadata());
        let answers = traffic.clone();
        let requests = request.into_inner().scan((), move |(), message| {
            // A slow disk blocks its leader's stream instead of filling this node's memory.
            let room = node.0.room();
            if let Ok(message) = &message {
                traffic.received(message);
            }
            let request = message
                .and_then(|message| {
                    let sound = access.measure(caller).append(&message);
                    sound.map_err(|unsound| access.refuse(caller, &unsound))?;
                    node.0.heard_from_leader();
                    convert::append_request_from(message).map_err(malformed)
                })
                .map_err(convert_status)
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
                    let mut answer = convert::append_result_to(&result);
                    answer.feature_level = FeatureLevel::NEWEST.0.into();
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
        let caller = self.access.admit(&request).await?;
        let traffic = self.traffic(request.metadata());
        traffic.received(request.get_ref());
        let request = request.into_inner();
        let sound = self.access.measure(caller).append(&request);
        sound.map_err(|unsound| self.access.refuse(caller, &unsound))?;
        self.requests.heard_from_leader();
        let request = convert::append_request_from(request).map_err(malformed)?;
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
        let request = self.vote_request(request).await?;
        let response = self.raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_to(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<peer::VoteRequest>,
    ) -> Result<Response<peer::VoteResponse>, Status> {
        let request = self.vote_request(request).await?;
        let response = self.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_to(&response)))
    }

    async fn transfer_leader(
        &self,
        request: Request<peer::TransferLeaderRequest>,
    ) -> Result<Response<peer::TransferLeaderResponse>, Status> {
        let caller = self.access.admit(&request).await?;
        let request = request.into_inner();
        let measure = self.access.measure(caller);
        let sound = measure.vote(request.from_leader.as_ref());
        let sound = sound.and_then(|()| measure.log_id(request.last_log_id.as_ref()));
        sound.map_err(|unsound| self.access.refuse(caller, &unsound))?;
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
        let caller = self.access.admit(&request).await?;
        let measure = self.access.measure(caller);
        // Leaders of the first version do not name their instance, and send the whole snapshot.
        let instance = self
            .access
            .caller_instance(&request)
            .unwrap_or(UNKNOWN_INSTANCE);
        let check = |header: &peer::SnapshotHeader| {
            measure.vote(header.vote.as_ref())?;
            measure.log_id(header.last_log_id.as_ref())?;
            measure.log_id(header.membership_log_id.as_ref())
        };
        let chunks = request.into_inner();
        let received = transfer::receive(&self.stored.snapshots, instance, chunks, check)
            .await
            .inspect_err(|error| {
                warn!(error = %fatal::chain(error), from = %caller, "a snapshot did not arrive");
            })
            .map_err(|error| not_arrived(&error))?;
        let vote = convert::vote_from(received.vote).map_err(malformed)?;
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
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        in_progress.dec();
        let response = installed.map_err(stopped)?;
        let vote = Some(convert::vote_to(&response.vote));
        Ok(Response::new(peer::SnapshotResponse { vote }))
    }

    async fn held_snapshot(
        &self,
        request: Request<peer::HeldSnapshotRequest>,
    ) -> Result<Response<peer::HeldSnapshotResponse>, Status> {
        let caller = self.access.admit(&request).await?;
        let instance = self.access.caller_instance(&request)?;
        let sent = request.into_inner().vote;
        let sound = self.access.measure(caller).vote(sent.as_ref());
        sound.map_err(|unsound| self.access.refuse(caller, &unsound))?;
        let leader = convert::vote_from(sent).map_err(malformed)?;
        let own = self.raft.with_raft_state(|state| *state.vote_ref()).await;
        let own = own.map_err(stopped)?;
        if own > leader {
            // The transfer in progress may belong to a later leader.
            return Ok(Response::new(peer::HeldSnapshotResponse {
                vote: Some(convert::vote_to(&own)),
                ..peer::HeldSnapshotResponse::default()
            }));
        }
        let held = transfer::held_files(&self.stored.snapshots, instance).await;
        let (transfer, files) = held.map_err(|error| Status::aborted(error.to_string()))?;
        Ok(Response::new(peer::HeldSnapshotResponse {
            vote: Some(convert::vote_to(&own)),
            transfer,
            files: transfer::held_to(files),
        }))
    }

    async fn fetch_snapshot(
        &self,
        request: Request<peer::FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        let caller = self.access.admit(&request).await?;
        let request = request.into_inner();
        let busy = |_| Status::resource_exhausted("another member fetches a snapshot");
        let permit = Arc::clone(&self.fetches).try_acquire_owned();
        let permit = permit.map_err(busy)?;
        let newest = self.stored.newest.newest().filter(|(record, _)| {
            let last = record.last_applied;
            last.is_some_and(|last| last.index >= request.index_min)
        });
        let Some((record, checkpoint)) = newest else {
            // A snapshot built before the state reaches that index would not suffice either.
            if self.applied_index() >= Some(request.index_min) {
                self.raft.trigger().snapshot().await.map_err(stopped)?;
            }
            let text = format!(
                "a snapshot up to entry {} is not there yet",
                request.index_min
            );
            return Err(Status::unavailable(text));
        };
        let refused = request.refused.as_ref().map(convert::log_id_from);
        let refusals = &self.stored.refusals;
        if refused.is_some() && refused == record.last_applied {
            let built = (record.clone(), checkpoint.clone());
            refusals.refused(caller, built, "it does not hold what its head says");
        }
        if refusals.pause(caller, checkpoint.path()).is_some() {
            let text = "the newest snapshot was refused a moment ago";
            return Err(Status::unavailable(text));
        }
        info!(%caller, last = ?record.last_applied, "a member fetches the newest snapshot");
        let chunks = transfer::offer(&record, checkpoint, request.held);
        let chunks = ReceiverStream::new(chunks).map(move |chunk| {
            _ = &permit;
            chunk.map_err(Status::aborted)
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn forward(
        &self,
        request: Request<Streaming<peer::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        self.access.admit(&request).await?;
        let requests = Arc::clone(&self.requests);
        let responses = request
            .into_inner()
            .map(move |message| {
                let requests = Arc::clone(&requests);
                async move {
                    let message = message?;
                    let outcome = requests.forward(message.group, message.term).await;
                    Ok(outcome.answer_to(message.sequence))
                }
            })
            .buffered(FORWARDS_IN_FLIGHT);
        Ok(Response::new(Box::pin(responses)))
    }

    async fn collect(
        &self,
        request: Request<Streaming<peer::CollectAnswer>>,
    ) -> Result<Response<Self::CollectStream>, Status> {
        let caller = self.access.admit(&request).await?;
        let asks = self.requests.collect(caller, request.into_inner());
        let asks = ReceiverStream::new(asks).map(Ok);
        Ok(Response::new(Box::pin(asks)))
    }

    async fn read_index(
        &self,
        request: Request<peer::ReadIndexRequest>,
    ) -> Result<Response<peer::ReadIndexResponse>, Status> {
        self.access.admit(&request).await?;
        match self.requests.read_index().await {
            Some(log_id) => {
                let read_log_id = Some(convert::log_id_to(&log_id));
                Ok(Response::new(peer::ReadIndexResponse { read_log_id }))
            }
            None => Err(Status::failed_precondition("not leader")),
        }
    }

    async fn digest(
        &self,
        request: Request<peer::DigestRequest>,
    ) -> Result<Response<peer::DigestResponse>, Status> {
        self.access.admit(&request).await?;
        let digest = self.requests.digest(request.into_inner().index).await;
        Ok(Response::new(peer::DigestResponse { digest }))
    }

    async fn history_hash(
        &self,
        request: Request<peer::HistoryHashRequest>,
    ) -> Result<Response<peer::HistoryHashResponse>, Status> {
        self.access.admit(&request).await?;
        let revision = Revision(request.into_inner().revision);
        let hash = self.requests.history_hash(revision).await;
        let floor = hash.map(|hash| hash.compact_revision.0);
        Ok(Response::new(peer::HistoryHashResponse {
            hash: hash.map(|hash| hash.hash),
            compact_revision: floor.unwrap_or_default(),
        }))
    }

    async fn read_round(
        &self,
        request: Request<peer::ReadRoundRequest>,
    ) -> Result<Response<peer::ReadRoundResponse>, Status> {
        let caller = self.access.admit(&request).await?;
        let request = request.into_inner();
        let sound = self.access.measure(caller).vote(request.vote.as_ref());
        sound.map_err(|unsound| self.access.refuse(caller, &unsound))?;
        let leader = convert::vote_from(request.vote).map_err(malformed)?;
        // Read from the core, which also grants votes to later candidates: the published metrics
        // may lag behind a vote that a candidate has already received.
        let follows = self
            .raft
            .with_raft_state(move |state| *state.vote_ref() <= leader)
            .await
            .map_err(stopped)?;
        Ok(Response::new(peer::ReadRoundResponse {
            round: request.round,
            follows,
        }))
    }

    async fn change_members(
        &self,
        request: Request<peer::ChangeMembersRequest>,
    ) -> Result<Response<peer::ChangeMembersResponse>, Status> {
        self.access.admit(&request).await?;
        let changed = self.requests.change_members(request.into_inner());
        Ok(Response::new(changed.await))
    }

    async fn introduce(
        &self,
        request: Request<peer::IntroduceRequest>,
    ) -> Result<Response<peer::IntroduceResponse>, Status> {
        let caller = self.access.caller(&request)?;
        let instance = self.access.caller_instance(&request)?;
        let roster = self.access.roster();
        // The caller decides from this answer whether it may stay.
        let is_voter = self.access.is_voter(caller);
        let founded = request.into_inner().founded;
        if let Err(fault) = roster.meet(caller, instance, founded, is_voter) {
            info!(%fault, "a member introduced itself that is refused");
        }
        Ok(Response::new(peer::IntroduceResponse {
            instance_id: roster.owner().instance_id,
            founded: roster.is_founded(),
            known_instance_id: roster.instance_of(caller).unwrap_or_default(),
            vouched_index: roster.vouched(caller),
        }))
    }
}

impl PeerService {
    fn applied_index(&self) -> Option<u64> {
        let metrics = self.raft.data_metrics();
        let applied = metrics.borrow_watched().last_applied;
        applied.map(|id| id.index)
    }

    async fn vote_request(
        &self,
        request: Request<peer::VoteRequest>,
    ) -> Result<VoteRequest<TypeConfig>, Status> {
        let caller = self.access.admit(&request).await?;
        let request = request.into_inner();
        let sound = self.access.measure(caller).vote_request(&request);
        sound.map_err(|unsound| self.access.refuse(caller, &unsound))?;
        convert::vote_request_from(request).map_err(malformed)
    }
}

/// Reports the end of a replication stream when dropped.
struct End(Arc<dyn PeerRequests>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.replication_ended();
    }
}

fn convert_status(status: Status) -> String {
    status.to_string()
}

#[cfg(test)]
mod tests;
