//! Conversions between openraft's types and the messages of the peer protocol.
//!
//! Decoding validates: a message without a required field is refused, never completed.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{raft, vote::RaftLeaderId};
use tenure_proto::peer;
use thiserror::Error;

use super::{
    Batch, Entry, LeaderId, LogId, Membership, Payload, PeerNode, StoredMembership, TypeConfig,
    Vote,
};

/// A message that no peer sends.
#[derive(Debug, Error)]
pub enum WireError {
    /// A required field is missing.
    #[error("peer message lacks {0}")]
    Missing(&'static str),
    /// The membership is inconsistent.
    #[error("peer message carries an invalid membership: {0}")]
    Membership(String),
}

pub(crate) fn log_id_to(id: &LogId) -> peer::LogId {
    peer::LogId {
        term: id.leader_id.term,
        node_id: id.leader_id.node_id,
        index: id.index,
    }
}

pub(crate) fn log_id_from(id: &peer::LogId) -> LogId {
    LogId::new(LeaderId::new(id.term, id.node_id), id.index)
}

pub(crate) fn vote_to(vote: &Vote) -> peer::Vote {
    peer::Vote {
        term: vote.leader_id.term,
        node_id: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from(vote: Option<peer::Vote>) -> Result<Vote, WireError> {
    let vote = vote.ok_or(WireError::Missing("vote"))?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.node_id)
    } else {
        Vote::new(vote.term, vote.node_id)
    })
}

pub(crate) fn membership_to(membership: &Membership) -> peer::Membership {
    let configs = membership
        .get_joint_config()
        .iter()
        .map(|ids| peer::MemberSet {
            ids: ids.iter().copied().collect(),
        })
        .collect();
    let nodes = membership
        .nodes()
        .map(|(id, node)| {
            (
                *id,
                peer::Node {
                    name: node.name.clone(),
                    peer_urls: node.peer_urls.clone(),
                    stays_learner: node.stays_learner,
                },
            )
        })
        .collect();
    peer::Membership { configs, nodes }
}

pub(crate) fn membership_from(membership: peer::Membership) -> Result<Membership, WireError> {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .into_iter()
        .map(|set| set.ids.into_iter().collect())
        .collect();
    let nodes: BTreeMap<u64, PeerNode> = membership
        .nodes
        .into_iter()
        .map(|(id, node)| {
            (
                id,
                PeerNode {
                    name: node.name,
                    peer_urls: node.peer_urls,
                    stays_learner: node.stays_learner,
                },
            )
        })
        .collect();
    Membership::new(configs, nodes).map_err(|e| WireError::Membership(e.to_string()))
}

pub(crate) fn stored_membership_from(
    log_id: Option<&peer::LogId>,
    membership: Option<peer::Membership>,
) -> Result<StoredMembership, WireError> {
    let membership = match membership {
        Some(membership) if !membership.configs.is_empty() => membership_from(membership)?,
        _ => Membership::default(),
    };
    Ok(StoredMembership::new(log_id.map(log_id_from), membership))
}

pub(crate) fn entry_to(entry: &Entry) -> peer::Entry {
    let payload = match &entry.payload {
        Payload::Blank => peer::entry::Payload::Blank(true),
        Payload::Normal(batch) => peer::entry::Payload::Batch(batch.0.clone()),
        Payload::Membership(membership) => {
            peer::entry::Payload::Membership(membership_to(membership))
        }
    };
    peer::Entry {
        log_id: Some(log_id_to(&entry.log_id)),
        payload: Some(payload),
    }
}

pub(crate) fn entry_from(entry: peer::Entry) -> Result<Entry, WireError> {
    let log_id = entry.log_id.as_ref().ok_or(WireError::Missing("log id"))?;
    let payload = match entry.payload.ok_or(WireError::Missing("entry payload"))? {
        peer::entry::Payload::Blank(_) => Payload::Blank,
        peer::entry::Payload::Batch(bytes) => Payload::Normal(Batch(bytes)),
        peer::entry::Payload::Membership(membership) => {
            Payload::Membership(membership_from(membership)?)
        }
    };
    Ok(Entry {
        log_id: log_id_from(log_id),
        payload,
    })
}

pub(crate) fn append_request_to(
    request: &raft::AppendEntriesRequest<TypeConfig>,
) -> peer::AppendRequest {
    peer::AppendRequest {
        vote: Some(vote_to(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_to),
        entries: request.entries.iter().map(entry_to).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_to),
    }
}

pub(crate) fn append_request_from(
    request: peer::AppendRequest,
) -> Result<raft::AppendEntriesRequest<TypeConfig>, WireError> {
    Ok(raft::AppendEntriesRequest {
        vote: vote_from(request.vote)?,
        prev_log_id: request.prev_log_id.as_ref().map(log_id_from),
        entries: request
            .entries
            .into_iter()
            .map(entry_from)
            .collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.as_ref().map(log_id_from),
    })
}

pub(crate) fn append_result_to(
    result: &raft::StreamAppendResult<TypeConfig>,
) -> peer::AppendResponse {
    let mut response = peer::AppendResponse::default();
    match result {
        Ok(matching) => {
            response.set_outcome(peer::append_response::Outcome::Success);
            response.matching = matching.as_ref().map(log_id_to);
        }
        Err(raft::StreamAppendError::Conflict(log_id)) => {
            response.set_outcome(peer::append_response::Outcome::Conflict);
            response.conflict = Some(log_id_to(log_id));
        }
        Err(raft::StreamAppendError::HigherVote(vote)) => {
            response.set_outcome(peer::append_response::Outcome::HigherVote);
            response.vote = Some(vote_to(vote));
        }
    }
    response
}

pub(crate) fn append_result_from(
    response: peer::AppendResponse,
) -> Result<raft::StreamAppendResult<TypeConfig>, WireError> {
    use peer::append_response::Outcome;
    Ok(match response.outcome() {
        Outcome::Success | Outcome::PartialSuccess => {
            Ok(response.matching.as_ref().map(log_id_from))
        }
        Outcome::Conflict => {
            let conflict = response
                .conflict
                .as_ref()
                .ok_or(WireError::Missing("conflict"))?;
            Err(raft::StreamAppendError::Conflict(log_id_from(conflict)))
        }
        Outcome::HigherVote => Err(raft::StreamAppendError::HigherVote(vote_from(
            response.vote,
        )?)),
    })
}

pub(crate) fn vote_request_to(request: &raft::VoteRequest<TypeConfig>) -> peer::VoteRequest {
    peer::VoteRequest {
        vote: Some(vote_to(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from(
    request: peer::VoteRequest,
) -> Result<raft::VoteRequest<TypeConfig>, WireError> {
    let last_log_id = request.last_log_id.as_ref().map(log_id_from);
    let mut vote_request = raft::VoteRequest::new(vote_from(request.vote)?, last_log_id);
    vote_request.leadership_transfer = request.leadership_transfer;
    Ok(vote_request)
}

pub(crate) fn vote_response_to(response: &raft::VoteResponse<TypeConfig>) -> peer::VoteResponse {
    peer::VoteResponse {
        vote: Some(vote_to(&response.vote)),
        vote_granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to),
    }
}

pub(crate) fn vote_response_from(
    response: peer::VoteResponse,
) -> Result<raft::VoteResponse<TypeConfig>, WireError> {
    let last_log_id = response.last_log_id.as_ref().map(log_id_from);
    Ok(raft::VoteResponse::new(
        vote_from(response.vote)?,
        last_log_id,
        response.vote_granted,
    ))
}
