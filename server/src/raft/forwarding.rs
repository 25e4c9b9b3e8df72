//! What becomes of a group that a follower sent to the leader, here and on the wire.

use tenure_proto::peer::{self, forward_response::Outcome};

/// What happened to a group that a follower sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// Committed; what it came to comes with the log.
    Committed,
    /// Never handed to the log: this node does not lead.
    NotLeader,
    /// Never handed to the log: too much is waiting.
    Overloaded,
    /// Handed to the log and lost from it with leadership: the outcome is unknown.
    Lost,
}

impl ForwardOutcome {
    /// The answer to the group of this number.
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

    /// What an answer says.
    pub(crate) fn of(response: &peer::ForwardResponse) -> Self {
        match response.outcome() {
            Outcome::Committed => Self::Committed,
            Outcome::NotLeader => Self::NotLeader,
            Outcome::Overloaded => Self::Overloaded,
            Outcome::Lost => Self::Lost,
        }
    }
}
