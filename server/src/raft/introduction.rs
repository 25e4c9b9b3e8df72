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
    /// The member uses another data directory than before.
    #[error(transparent)]
    Fault(#[from] PeerFault),
    /// The member did not answer, or cannot at the moment.
    #[error("it does not answer: {0}")]
    Silent(String),
}

/// Introduces this node to `target`, and records the answer. The caller bounds the time.
///
/// # Errors
/// See [`Unmet`].
pub async fn introduce(
    peers: &Arc<Peers>,
    target: MemberId,
    node: &PeerNode,
) -> Result<Met, Unmet> {
    let roster = Arc::clone(peers.roster());
    let mut client = peers.client(target, node, Lane::Heartbeat);
    let request = peer::IntroduceRequest {
        founded: roster.is_founded(),
    };
    let answer = match client.introduce(request).await {
        Ok(response) => response.into_inner(),
        Err(status) if is_final(&status) => return Err(Unmet::Replaced),
        Err(status) => return Err(Unmet::Silent(status.message().to_owned())),
    };
    roster.meet(target, answer.instance_id, answer.founded)?;
    Ok(Met {
        founded: answer.founded,
        knows_caller: answer.known_instance_id == roster.owner().instance_id,
        vouched: answer.vouched_index,
    })
}

fn is_final(status: &Status) -> bool {
    let refusal = status.metadata().get(peer_metadata::REFUSAL_KEY);
    refusal.is_some_and(|value| value.as_bytes() == peer_metadata::REFUSAL_REPLACED.as_bytes())
}
