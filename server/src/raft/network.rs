//! openraft's calls to the other members.
//!
//! openraft bounds neither streams nor snapshots in time; this file does.

use std::{collections::VecDeque, future::Future, pin::pin, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt,
    future::{BoxFuture, Either, select},
    stream,
    stream::BoxStream,
};
use openraft::{
    OptionalSend,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{
        Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
        RaftNetworkFactory,
    },
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendError, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
    type_config::alias::SnapshotOf,
};
use parking_lot::Mutex;
use tenure_proto::peer;
use tenure_statemachine::MemberId;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Streaming;

use super::{
    introduction::is_removal,
    peers::{Client, Lane, Peers},
    refusals::Refusals,
    roster::Roster,
    shelf::{NewestSnapshot, built_of},
    transfer,
};
use crate::{
    consensus::{LogId, PeerNode, TypeConfig, Vote, convert},
    fatal,
    metrics::{IntCounter, PeerMetrics},
    storage::Checkpoint,
};

type AppendResult = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;
type AppendStream<'s> = BoxStream<'s, AppendResult>;

/// Longest time without an answer on a replication stream. Longer than any write to a healthy disk;
/// a stream that stalls for longer is dropped and reopened.
const STREAM_STALL_MAX: Duration = Duration::from_secs(3);

/// Pause before an unreachable peer is retried. Well below an election timeout, so that a restarted
/// follower is reached before it starts an election.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Longest single wait before a refused snapshot is retried: a newer one need not wait.
const REFUSED_STEP: Duration = Duration::from_secs(1);

/// Creates openraft's clients.
#[derive(Debug)]
pub struct Network {
    peers: Arc<Peers>,
    /// Counts heartbeats that were not answered in time.
    late: IntCounter,
    newest: NewestSnapshot,
    refusals: Arc<Refusals>,
}

impl Network {
    /// Creates clients over the connections of `peers` that send the snapshot of `newest`, and
    /// record in `refusals` the members that refuse it.
    #[must_use]
    pub const fn new(
        peers: Arc<Peers>,
        late: IntCounter,
        newest: NewestSnapshot,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            peers,
            late,
            newest,
            refusals,
        }
    }

    fn link(&self, target: u64, node: &PeerNode, lane: Lane) -> Link {
        Link {
            client: self.peers.client(MemberId(target), node, lane),
            peers: Arc::clone(&self.peers),
            target: MemberId(target),
            lane,
            metrics: self.peers.metrics(MemberId(target)),
            late: self.late.clone(),
            newest: self.newest.clone(),
            refusals: Arc::clone(&self.refusals),
            witness: Witness {
                target: MemberId(target),
                roster: Arc::clone(self.peers.roster()),
                newest: Arc::default(),
            },
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &PeerNode) -> Link {
        self.link(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &PeerNode) -> Link {
        self.link(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &PeerNode) -> Link {
        self.link(target, node, Lane::Snapshot)
    }
}

/// A client for one member over one lane.
#[derive(Debug)]
pub struct Link {
    client: Client,
    peers: Arc<Peers>,
    target: MemberId,
    lane: Lane,
    metrics: Option<PeerMetrics>,
    late: IntCounter,
    newest: NewestSnapshot,
    refusals: Arc<Refusals>,
    witness: Witness,
}

/// Records what a member acknowledged, and withholds from openraft the answer of a member that
/// lacks it: openraft considers that impossible and would never repair it.
#[derive(Clone, Debug)]
struct Witness {
    target: MemberId,
    roster: Arc<Roster>,
    newest: Arc<Mutex<Option<Sent>>>,
}

/// The vote and commit index of the newest request.
#[derive(Clone, Copy, Debug)]
struct Sent {
    vote: Vote,
    commit: Option<LogId>,
}

impl Witness {
    fn sending(&self, request: &AppendEntriesRequest<TypeConfig>) {
        *self.newest.lock() = Some(Sent {
            vote: request.vote,
            commit: request.leader_commit,
        });
    }

    fn answered(&self, result: StreamAppendResult<TypeConfig>) -> AppendResult {
        let Some(Sent { vote, commit }) = *self.newest.lock() else {
            return Ok(result);
        };
        match &result {
            Ok(Some(matching)) => {
                self.roster
                    .acknowledged(self.target, vote, *matching, commit);
            }
            Err(StreamAppendError::Conflict(conflict)) => {
                if let Some(fault) = self.roster.went_back(self.target, vote, *conflict) {
                    return Err(unreachable(&fault));
                }
            }
            Ok(None) | Err(StreamAppendError::HigherVote(_)) => {}
        }
        Ok(result)
    }
}

impl Link {
    /// The failure of a call. It may tell that this node was removed.
    fn refused(&self, status: &tonic::Status) -> RPCError<TypeConfig> {
        if is_removal(status) {
            self.peers.roster().removed().set_own();
        }
        unreachable(status)
    }
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn stalled(what: &str) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(format!(
        "{what} was not answered in time"
    )))
}

impl NetStreamAppend<TypeConfig> for Link {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendStream<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            Ok(match self.lane {
                Lane::Append => self.replicate(input).await?,
                Lane::Heartbeat | Lane::Snapshot | Lane::Forward => {
                    self.one_by_one(input, option.hard_ttl())
                }
            })
        })
    }
}

impl Link {
    /// Opens one long-lived exchange: requests are pipelined.
    async fn replicate<S>(&mut self, mut input: S) -> Result<AppendStream<'_>, RPCError<TypeConfig>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        // openraft pauses after a failure only where it yields a request, so the first is taken
        // before the stream is opened: else an unreachable peer would be retried without pause.
        let Some(first) = input.next().await else {
            return Ok(stream::empty().boxed());
        };
        let input = stream::iter([first]).chain(input);
        let unanswered = Unanswered::default();
        let asked = unanswered.clone();
        let witness = self.witness.clone();
        let requests = input.map(move |request| {
            asked.ask();
            witness.sending(&request);
            convert::append_request_to(&request)
        });
        let opening = timeout(STREAM_STALL_MAX, self.client.append(requests));
        let responses = match opening.await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                failed(self.metrics.as_ref());
                return Err(unreachable(&status));
            }
            Err(_) => {
                failed(self.metrics.as_ref());
                return Err(stalled("the opening of a replication stream"));
            }
        };
        let state = Replication {
            responses,
            peers: Arc::clone(&self.peers),
            witness: self.witness.clone(),
            unanswered,
            failed: false,
        };
        Ok(stream::unfold(state, Replication::next).boxed())
    }

    /// Sends each request as its own call; heartbeats and read confirmations are single requests.
    fn one_by_one<S>(&mut self, input: S, ttl: Duration) -> AppendStream<'_>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let state = Some((self, input));
        stream::unfold(state, move |state| async move {
            let (link, mut input) = state?;
            let request = input.next().await?;
            link.witness.sending(&request);
            let request = convert::append_request_to(&request);
            let result = link.heartbeat(request, ttl).await;
            let go_on = matches!(result, Ok(Ok(_)));
            Some((result, go_on.then_some((link, input))))
        })
        .boxed()
    }
}

impl Link {
    async fn heartbeat(&mut self, request: peer::AppendRequest, ttl: Duration) -> AppendResult {
        let began = Instant::now();
        match timeout(ttl, self.client.heartbeat(request)).await {
            Ok(Ok(response)) => {
                if let Some(metrics) = &self.metrics {
                    let took = began.elapsed().as_secs_f64();
                    metrics.round_trip_time.observe(took);
                }
                let response = response.into_inner();
                self.peers
                    .levels()
                    .heard(self.target, response.feature_level);
                convert::append_result_from(response)
                    .map_err(|error| unreachable(&error))
                    .and_then(|result| self.witness.answered(result))
            }
            Ok(Err(status)) => {
                failed(self.metrics.as_ref());
                Err(self.refused(&status))
            }
            Err(_) => {
                failed(self.metrics.as_ref());
                self.late.inc();
                Err(stalled("a heartbeat"))
            }
        }
    }
}

/// Counts a message that was not delivered.
fn failed(metrics: Option<&PeerMetrics>) {
    if let Some(metrics) = metrics {
        metrics.sent_failures.inc();
    }
}

/// Send times of the unanswered requests, the oldest first.
#[derive(Clone, Debug, Default)]
struct Unanswered(Arc<Mutex<VecDeque<Instant>>>);

impl Unanswered {
    fn ask(&self) {
        self.0.lock().push_back(Instant::now());
    }

    fn answer(&self) {
        self.0.lock().pop_front();
    }

    /// When the oldest request stalls; without one, when a request made now would.
    fn stalls_at(&self) -> Instant {
        let oldest = self.0.lock().front().copied();
        oldest.unwrap_or_else(Instant::now) + STREAM_STALL_MAX
    }

    fn is_stalled(&self) -> bool {
        let oldest = self.0.lock().front().copied();
        oldest.is_some_and(|at| at.elapsed() >= STREAM_STALL_MAX)
    }
}

struct Replication {
    responses: Streaming<peer::AppendResponse>,
    peers: Arc<Peers>,
    witness: Witness,
    unanswered: Unanswered,
    failed: bool,
}

impl Replication {
    async fn next(mut self) -> Option<(AppendResult, Self)> {
        if self.failed {
            return None;
        }
        let result = self.receive().await?;
        self.failed = result.is_err();
        Some((result, self))
    }

    /// Returns the next answer. Waits without limit only while no request is unanswered.
    async fn receive(&mut self) -> Option<AppendResult> {
        loop {
            // Cancel-safe: a message that was not delivered stays in the stream.
            match timeout_at(self.unanswered.stalls_at(), self.responses.message()).await {
                Ok(Ok(Some(response))) => {
                    self.unanswered.answer();
                    // Under steady writes there are no heartbeats to report the level.
                    if response.feature_level > 0 {
                        let levels = self.peers.levels();
                        levels.heard(self.witness.target, response.feature_level);
                    }
                    let result = convert::append_result_from(response);
                    let result = result.map_err(|error| unreachable(&error));
                    return Some(result.and_then(|result| self.witness.answered(result)));
                }
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => return Some(Err(unreachable(&status))),
                Err(_) if self.unanswered.is_stalled() => {
                    return Some(Err(stalled("a replication request")));
                }
                Err(_) => {}
            }
        }
    }
}

impl NetVote<TypeConfig> for Link {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let call = self.client.vote(convert::vote_request_to(&request));
        match timeout(option.hard_ttl(), call).await {
            Ok(Ok(response)) => {
                convert::vote_response_from(response.into_inner()).map_err(|e| unreachable(&e))
            }
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(_) => Err(stalled("a vote request")),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let call = self.client.pre_vote(convert::vote_request_to(&request));
        match timeout(option.hard_ttl(), call).await {
            Ok(Ok(response)) => {
                convert::vote_response_from(response.into_inner()).map_err(|e| unreachable(&e))
            }
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(_) => Err(stalled("a pre-vote request")),
        }
    }
}

impl NetSnapshot<TypeConfig> for Link {
    type SnapshotData = Checkpoint;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, Checkpoint>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (target, shelf) = (self.target.0, self.newest.clone());
        let (last, built) = (snapshot.meta.last_log_id, built_of(&snapshot));
        if let Some(pause) = self.refusals.pause(self.target, built.1.path()) {
            let pause = pin!(sleep(pause.min(REFUSED_STEP)));
            return Err(match select(pause, pin!(cancel)).await {
                Either::Left(_) => not_sent("the member refused this snapshot a moment ago"),
                Either::Right((closed, _)) => closed.into(),
            });
        }
        if !shelf.begin(target, &snapshot) {
            return Err(not_sent("a newer snapshot is sent instead"));
        }
        let progressed = move || shelf.progressed(last);
        let send = pin!(transfer::send(&mut self.client, vote, snapshot, progressed));
        match select(send, pin!(cancel)).await {
            Either::Left((Ok(vote), _)) => {
                self.newest.delivered(target, last);
                self.refusals.taken(self.target);
                Ok(SnapshotResponse::new(vote))
            }
            Either::Left((Err(error), _)) => {
                if error.doubts_content() {
                    self.newest.refused(target, last);
                    let why = fatal::chain(&error);
                    self.refusals.refused(self.target, built, &why);
                }
                Err(StreamingError::Unreachable(Unreachable::new(&error)))
            }
            Either::Right((closed, _)) => Err(closed.into()),
        }
    }
}

fn not_sent(why: &str) -> StreamingError<TypeConfig> {
    StreamingError::Unreachable(Unreachable::from_string(why.to_owned()))
}

impl NetTransferLeader<TypeConfig> for Link {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = peer::TransferLeaderRequest {
            from_leader: Some(convert::vote_to(request.from_leader())),
            to_node_id: *request.to_node_id(),
            last_log_id: request.last_log_id().map(convert::log_id_to),
        };
        match timeout(option.hard_ttl(), self.client.transfer_leader(message)).await {
            // A target that refuses stays a follower, and the leader's own deadline expires.
            Ok(Ok(_)) => Ok(Ok(())),
            Ok(Err(status)) => Err(unreachable(&status)),
            Err(_) => Err(stalled("a leadership transfer")),
        }
    }
}

impl NetBackoff<TypeConfig> for Link {
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_PAUSE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_after_quiet_has_its_full_time() {
        let unanswered = Unanswered::default();
        // Time is the subject, and the clock is paused.
        sleep(STREAM_STALL_MAX).await;
        unanswered.ask();
        assert!(!unanswered.is_stalled());
        assert_eq!(unanswered.stalls_at(), Instant::now() + STREAM_STALL_MAX);
        // Time is the subject here, too, and below.
        sleep(STREAM_STALL_MAX / 2).await;
        unanswered.ask();
        unanswered.answer();
        sleep(STREAM_STALL_MAX / 2).await;
        assert!(!unanswered.is_stalled(), "the oldest was answered");
        sleep(STREAM_STALL_MAX / 2).await;
        assert!(unanswered.is_stalled());
    }
}
