//! Lookups in the membership that this node knows.

use std::fmt;

use tenure_statemachine::MemberId;

use super::status::Member;
use crate::{
    consensus::{Membership, PeerNode},
    raft::Raft,
};

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

/// Whether a member stays a learner until it is promoted by a call.
pub(super) fn is_learner(membership: &Membership, id: MemberId) -> bool {
    let node = membership.get_node(&id.0);
    let stays = node.is_some_and(|node| node.stays_learner);
    stays && membership.voter_ids().all(|voter| voter != id.0)
}

/// All members, including learners, by id. A member that is to become a voter is no learner.
pub(crate) fn members_of(membership: &Membership) -> Vec<Member> {
    let voters: Vec<u64> = membership.voter_ids().collect();
    membership
        .nodes()
        .map(|(id, node)| Member {
            id: MemberId(*id),
            name: node.name.clone(),
            peer_urls: node.peer_urls.clone(),
            is_learner: node.stays_learner && !voters.contains(id),
            has_vote: voters.contains(id),
        })
        .collect()
}
