//! Lookups in the membership that this node knows.

use std::fmt;

use tenure_statemachine::MemberId;

use super::status::Member;
use crate::{consensus::PeerNode, raft::Raft};

/// Looks up the addresses of members.
pub(super) trait Directory: Send + Sync + fmt::Debug {
    /// The member as recorded in the log's membership.
    fn node(&self, id: MemberId) -> Option<PeerNode>;
}

impl Directory for Raft {
    fn node(&self, id: MemberId) -> Option<PeerNode> {
        let metrics = self.server_metrics();
        let membership = openraft::async_runtime::watch::WatchReceiver::borrow_watched(&metrics)
            .membership_config
            .clone();
        membership.get_node(&id.0).cloned()
    }
}

/// All members, including learners, by id.
pub(super) fn members(membership: &crate::consensus::StoredMembership) -> Vec<Member> {
    let voters: Vec<u64> = membership.voter_ids().collect();
    membership
        .nodes()
        .map(|(id, node)| Member {
            id: MemberId(*id),
            name: node.name.clone(),
            peer_urls: node.peer_urls.clone(),
            is_learner: !voters.contains(id),
        })
        .collect()
}
