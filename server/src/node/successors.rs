//! Finds members to which leadership can be transferred.

use std::time::Duration;

use openraft::{Instant, async_runtime::watch::WatchReceiver};
use tenure_statemachine::MemberId;

use crate::raft::Raft;

/// The other voters that answered this leader within `lately`, the one with the longest log first.
pub(super) fn find(raft: &Raft, own: MemberId, lately: Duration) -> Vec<MemberId> {
    let voters: Vec<u64> = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().collect()
    };
    let metrics = raft.data_metrics();
    let metrics = metrics.borrow_watched();
    let (Some(logs), Some(beats)) = (&metrics.replication, &metrics.heartbeat) else {
        return Vec::new();
    };
    let mut found: Vec<_> = logs
        .iter()
        .filter(|(id, _)| **id != own.0 && voters.contains(id))
        .filter(|(id, _)| {
            let answered = beats.get(id).and_then(Option::as_ref);
            answered.is_some_and(|at| at.elapsed() < lately)
        })
        .map(|(id, matching)| (*matching, MemberId(*id)))
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, id)| id).collect()
}
