//! Fetches a snapshot from another member before consensus runs, when this member's state is
//! damaged and its log does not begin at the first entry.
//!
//! Any member's snapshot will do: it holds only committed entries.

use std::{io, sync::Arc, time::Duration};

use tenure_proto::peer::FetchSnapshotRequest;
use tenure_statemachine::MemberId;
use tokio::time::timeout;
use tracing::info;

use super::{
    introduction::introduce,
    peers::{Lane, Peers},
    transfer::{self, STALL_MAX, TransferError},
};
use crate::{
    consensus::{PeerNode, convert},
    storage::{AdapterRecord, Checkpoint, SnapshotDir},
    tasks,
};

/// Time limit for a member to introduce itself.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Fetches a snapshot that covers the log up to `index_min` from `target`. Files received before a
/// failure are kept for the next call.
///
/// # Errors
/// As text for a log: another member or a later attempt may succeed in every case.
///
/// # Cancel safety
/// Files already received are kept.
pub async fn fetch(
    peers: &Arc<Peers>,
    (target, node): (MemberId, &PeerNode),
    snapshots: &Arc<SnapshotDir>,
    index_min: u64,
) -> Result<(AdapterRecord, Checkpoint), String> {
    let met = timeout(ANSWER_MAX, introduce(peers, target, node, true)).await;
    let met = met.map_err(|_| "it does not answer".to_owned())?;
    met.map_err(|unmet| unmet.to_string())?;
    let instance = peers.roster().instance_of(target);
    let instance = instance.ok_or_else(|| "its data directory is not known".to_owned())?;
    let fetched = fetch_from(peers, (target, node), instance, snapshots, index_min).await;
    fetched.map_err(|error| crate::fatal::chain(&error))
}

async fn fetch_from(
    peers: &Arc<Peers>,
    (target, node): (MemberId, &PeerNode),
    instance: u64,
    snapshots: &Arc<SnapshotDir>,
    index_min: u64,
) -> Result<(AdapterRecord, Checkpoint), TransferError> {
    let (mut turn, superseded) = snapshots.incoming().take().await;
    let refused = turn.take_refused(instance);
    let refused = refused.and_then(|it| it.last_applied);
    let read = tasks::spawn_blocking(move || turn.held(instance).map(|held| (turn, held)));
    let (turn, held) = read.await.map_err(io::Error::other)??;
    let request = FetchSnapshotRequest {
        index_min,
        held: transfer::held_to(held),
        refused: refused.as_ref().map(convert::log_id_to),
    };
    let mut client = peers.client(target, node, Lane::Snapshot);
    let answer = timeout(STALL_MAX, client.fetch_snapshot(request)).await;
    let chunks = answer.map_err(|_| TransferError::Stalled)??.into_inner();
    info!(from = %target, "fetching a snapshot");
    let turn = (turn, superseded);
    let received = transfer::receive_in_turn(snapshots, instance, chunks, turn).await?;
    let last = received.record.last_applied;
    if last.is_none_or(|last| last.index < index_min) {
        return Err(TransferError::Damaged("it ends before the log begins"));
    }
    Ok((received.record, received.checkpoint))
}
