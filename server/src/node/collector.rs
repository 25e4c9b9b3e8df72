//! The leader's side of the streams over which it collects requests from followers.
//!
//! While this node leads it keeps one stream to every other member, and reopens a stream that ends.
//! `PeerRequests` serves these requests in the same way as those that followers send themselves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use openraft::async_runtime::watch::WatchReceiver;
use tenure_proto::peer::{
    CollectAnswer, CollectAsk, CollectedRead, collect_answer::Answer, collect_ask::Ask,
};
use tenure_statemachine::MemberId;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};
use tracing::debug;

use super::status::Leadership;
use crate::{
    consensus::{PeerNode, convert},
    raft::{Lane, PeerClient, PeerRequests, Peers, Raft},
    tasks,
};

/// Requests of one member in flight; a member has a few groups and one read under way.
const ASKS_IN_FLIGHT: usize = 64;
/// Pause before a stream that ended is reopened. Doubles while the member accepts none, because it
/// is down or of a version without such streams.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Dependencies of the collector.
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) peers: Arc<Peers>,
    pub(super) own: MemberId,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) requests: Arc<dyn PeerRequests>,
    /// How often the membership is checked for new members.
    pub(super) interval: Duration,
}

/// Starts the task that keeps the streams open.
pub(super) fn spawn(mut parts: Parts) {
    tasks::spawn("collector", async move {
        let mut streams: BTreeMap<MemberId, (PeerNode, DropGuard)> = BTreeMap::new();
        loop {
            let leads = parts.leadership.borrow_and_update().is_leader;
            let members = if leads {
                others(&parts)
            } else {
                BTreeMap::new()
            };
            // Dropping the guard of a stream ends it.
            streams.retain(|id, (node, _)| members.get(id) == Some(&*node));
            for (id, node) in members {
                streams.entry(id).or_insert_with(|| {
                    let end = CancellationToken::new();
                    let client = parts.peers.client(id, &node, Lane::Forward);
                    let requests = Arc::clone(&parts.requests);
                    tasks::spawn("collect", keep(client, requests, end.clone()));
                    (node, end.drop_guard())
                });
            }
            // Cancel-safe: the next iteration sees the same state.
            let changed = timeout(parts.interval, parts.leadership.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return;
            }
        }
    });
}

/// The other members, including learners.
fn others(parts: &Parts) -> BTreeMap<MemberId, PeerNode> {
    let metrics = parts.raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let nodes = metrics.membership_config.nodes();
    nodes
        .map(|(id, node)| (MemberId(*id), node.clone()))
        .filter(|(id, _)| *id != parts.own)
        .collect()
}

/// Keeps a stream to one member open until `end` is cancelled.
async fn keep(mut client: PeerClient, requests: Arc<dyn PeerRequests>, end: CancellationToken) {
    let streams = async {
        let mut pause = REOPEN_PAUSE;
        loop {
            let (answers, outgoing) = mpsc::channel(ASKS_IN_FLIGHT);
            let ended = match client.collect(ReceiverStream::new(outgoing)).await {
                Ok(asks) => {
                    pause = REOPEN_PAUSE;
                    serve(asks.into_inner(), answers, &requests).await
                }
                Err(refused) => Err(refused),
            };
            if let Err(error) = ended {
                debug!(%error, "a stream to a follower ended");
            }
            sleep(pause).await;
            pause = (pause * 2).min(REOPEN_PAUSE_MAX);
        }
    };
    // Proposals in flight continue in the log, from which the member learns their outcome.
    end.run_until_cancelled(streams).await;
}

/// Answers the requests of one stream until it ends.
async fn serve(
    asks: Streaming<CollectAsk>,
    answers: mpsc::Sender<CollectAnswer>,
    requests: &Arc<dyn PeerRequests>,
) -> Result<(), Status> {
    let mut answered = asks
        .map(|ask| async { Ok::<_, Status>(answer(requests, ask?).await) })
        .buffer_unordered(ASKS_IN_FLIGHT);
    while let Some(answer) = answered.next().await {
        if answers.send(answer?).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn answer(requests: &Arc<dyn PeerRequests>, ask: CollectAsk) -> CollectAnswer {
    let answer = match ask.ask {
        Some(Ask::Group(group)) => {
            let outcome = requests.forward(group.group, group.term).await;
            Some(Answer::Group(outcome.answer_to(group.sequence)))
        }
        Some(Ask::Read(sequence)) => {
            let read = requests.read_index().await;
            Some(Answer::Read(CollectedRead {
                sequence,
                read_log_id: read.as_ref().map(convert::log_id_to),
            }))
        }
        // A kind of a later version, which awaits no answer from an older leader.
        None => None,
    };
    CollectAnswer { answer }
}
