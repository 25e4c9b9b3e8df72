//! The call by which two members exchange their identities and whether they hold entries.

use std::sync::Arc;

use tenure_proto::{peer, peer_metadata};
use tenure_statemachine::MemberId;
use thiserror::Error;
use tonic::Status;

use super::{
    peers::{Lane, Peers},
    roster::PeerFault,
};
use crate::consensus::PeerNode;

/// A member's answer to an introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Whether its log holds entries, or has held some.
    pub founded: bool,
    /// Whether it knows the caller by the data directory that the caller uses.
    pub knows_caller: bool,
    /// The last committed entry that the caller has acknowledged to this member.
    pub vouched: Option<u64>,
}

/// Why an introduction failed.
#[derive(Debug, Error)]
pub enum Unmet {
    /// The member knows the caller with another data directory, permanently.
    #[error("it knows this member with another data directory")]
    Replaced,
    /// The member knows that the caller was removed.
    #[error("it knows this member as removed")]
    Removed,
    /// The member uses another data directory than before.
    #[error(transparent)]
    Fault(#[from] PeerFault),
    /// The member did not answer, or cannot at the moment.
    #[error("it does not answer: {0}")]
    Silent(String),
}

/// Introduces this node to `target`, which has a vote if `is_voter`, and records the answer. The
/// caller bounds the time.
///
/// # Errors
/// See [`Unmet`].
pub async fn introduce(
    peers: &Arc<Peers>,
    target: MemberId,
    node: &PeerNode,
    is_voter: bool,
) -> Result<Met, Unmet> {
    let roster = Arc::clone(peers.roster());
    let mut client = peers.client(target, node, Lane::Heartbeat);
    let request = peer::IntroduceRequest {
        founded: roster.is_founded(),
    };
    let answer = match client.introduce(request).await {
        Ok(response) => response.into_inner(),
        Err(status) if is_refusal(&status, peer_metadata::REFUSAL_REPLACED) => {
            return Err(Unmet::Replaced);
        }
        Err(status) if is_removal(&status) => return Err(Unmet::Removed),
        Err(status) => return Err(Unmet::Silent(status.message().to_owned())),
    };
    roster.meet(target, answer.instance_id, answer.founded, is_voter)?;
    Ok(Met {
        founded: answer.founded,
        knows_caller: answer.known_instance_id == roster.owner().instance_id,
        vouched: answer.vouched_index,
    })
}

/// Whether a member reports that the caller was removed.
pub(super) fn is_removal(status: &Status) -> bool {
    is_refusal(status, peer_metadata::REFUSAL_REMOVED)
}

fn is_refusal(status: &Status, of: &str) -> bool {
    let refusal = status.metadata().get(peer_metadata::REFUSAL_KEY);
    refusal.is_some_and(|value| value.as_bytes() == of.as_bytes())
}
