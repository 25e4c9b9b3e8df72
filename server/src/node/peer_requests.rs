//! Handlers for the other members' requests beyond consensus itself.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tenure_proto::peer;
use tenure_statemachine::{HashKv, MemberId, Revision};
use tokio::sync::mpsc;
use tonic::Streaming;
use tracing::error;

use super::{
    collected::Collected, history_hashes::HistoryHashes, leadership::Contact,
    member_calls::MemberCalls, proposer::Proposer, read_index::ReadIndex,
};
use crate::{
    consensus::LogId,
    metrics::NetworkMetrics,
    raft::{DigestPoint, ForwardOutcome, PeerRequests, Raft},
    storage::LogBacklog,
};

/// The dependencies of the handlers.
pub(super) struct Requests {
    pub(super) proposer: Proposer,
    pub(super) raft: Raft,
    pub(super) contact: Arc<Contact>,
    pub(super) backlog: Arc<LogBacklog>,
    pub(super) reads: ReadIndex,
    pub(super) point: Arc<DigestPoint>,
    pub(super) hashes: Arc<HistoryHashes>,
    pub(super) collected: Arc<Collected>,
    pub(super) metrics: NetworkMetrics,
    pub(super) member_calls: MemberCalls,
}

/// Metric label for groups that do not decode, the same as for entries that do not.
const ENTRY: &str = "entry";

/// The answer to a group that does not decode; `None` when it decodes. Such a group must never
/// reach the log: every member would stop on it.
fn refusal(group: &Bytes, metrics: &NetworkMetrics) -> Option<ForwardOutcome> {
    let error = tenure_statemachine::codec::check_group(group).err()?;
    metrics.peer_refused(ENTRY);
    error!(%error, "a member forwarded writes that do not decode");
    // The only answer that members of every version treat as a refusal: they do not offer the group
    // again, and report to its callers that nothing was written.
    Some(ForwardOutcome::Overloaded)
}

impl PeerRequests for Requests {
    fn forward(&self, group: Bytes, term: u64) -> BoxFuture<'static, ForwardOutcome> {
        let (raft, proposer) = (self.raft.clone(), self.proposer.clone());
        let metrics = self.metrics.clone();
        async move {
            if let Some(refused) = refusal(&group, &metrics) {
                return refused;
            }
            if !raft.is_leader() {
                return ForwardOutcome::NotLeader;
            }
            proposer.propose(group, term).await
        }
        .boxed()
    }

    fn collect(
        &self,
        leader: MemberId,
        answers: Streaming<peer::CollectAnswer>,
    ) -> mpsc::Receiver<peer::CollectAsk> {
        self.collected.open(leader, answers)
    }

    fn heard_from_leader(&self) {
        self.contact.note();
    }

    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        if self.backlog.has_room() {
            return None;
        }
        let backlog = Arc::clone(&self.backlog);
        Some(async move { backlog.room_at_last().await }.boxed())
    }

    fn digest(&self, index: u64) -> BoxFuture<'static, Option<u64>> {
        let point = Arc::clone(&self.point);
        async move { point.at(index).await }.boxed()
    }

    fn history_hash(&self, revision: Revision) -> BoxFuture<'static, Option<HashKv>> {
        let hashes = Arc::clone(&self.hashes);
        async move { hashes.at(revision).await }.boxed()
    }

    fn replication_ended(&self) {
        self.contact.note_end();
    }

    fn read_index(&self) -> BoxFuture<'static, Option<LogId>> {
        let reads = self.reads.clone();
        async move { reads.index_for_peer().await.ok() }.boxed()
    }

    fn change_members(
        &self,
        change: peer::ChangeMembersRequest,
    ) -> BoxFuture<'static, peer::ChangeMembersResponse> {
        let calls = self.member_calls.clone();
        async move { calls.forwarded(change).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::MetricsLevel, metrics::Metrics};

    #[test]
    fn a_group_that_does_not_decode_is_refused_for_certain_and_counted() {
        let metrics = Metrics::new(MetricsLevel::Basic);
        let damaged = Bytes::from_static(b"no group");
        let refused = refusal(&damaged, &metrics.network);
        assert_eq!(refused, Some(ForwardOutcome::Overloaded));
        let text = String::from_utf8(metrics.render()).unwrap();
        let counted = "tenure_peer_refused_total{reason=\"entry\"} 1";
        assert!(text.contains(counted), "{text}");
    }
}
