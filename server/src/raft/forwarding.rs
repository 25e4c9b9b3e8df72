//! The outcome of a group that a follower forwarded to the leader, with its wire encoding.

use tenure_proto::peer::{self, forward_response::Outcome};

/// The outcome of a forwarded group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// Committed; the log delivers the outcomes of its commands.
    Committed,
    /// Never proposed: this node does not lead.
    NotLeader,
    /// Never proposed: too many groups are waiting.
    Overloaded,
    /// Proposed, and lost together with the leadership: the outcome is unknown.
    Lost,
}

impl ForwardOutcome {
    /// Encodes the answer to the group numbered `sequence`.
    pub(crate) fn answer_to(self, sequence: u64) -> peer::ForwardResponse {
        let mut response = peer::ForwardResponse {
            sequence,
            outcome: 0,
        };
        response.set_outcome(match self {
            Self::Committed => Outcome::Committed,
            Self::NotLeader => Outcome::NotLeader,
            Self::Overloaded => Outcome::Overloaded,
            Self::Lost => Outcome::Lost,
        });
        response
    }

    /// Decodes an answer.
    pub(crate) fn of(response: &peer::ForwardResponse) -> Self {
        match response.outcome() {
            Outcome::Committed => Self::Committed,
            Outcome::NotLeader => Self::NotLeader,
            Outcome::Overloaded => Self::Overloaded,
            Outcome::Lost => Self::Lost,
        }
    }
}
