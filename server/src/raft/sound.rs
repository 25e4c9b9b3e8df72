//! Rejects peer messages that no correct member sends, before consensus receives them.
//!
//! Does not identify the sender; `raft/peer_access.rs` does.
//!
//! # Invariants
//! Accepted messages overflow no number in consensus, and every entry in the log can be applied.

use tenure_proto::peer::{self, entry::Payload};
use tenure_statemachine::{MemberId, codec};
use thiserror::Error;

/// How far a term may exceed this node's own. Members that were away for long receive high terms,
/// but an election every millisecond for a month does not reach this.
pub(super) const TERM_LEAP_MAX: u64 = 1 << 32;
/// How far an index may exceed this node's last one: more than a log can grow in years.
pub(super) const INDEX_LEAP_MAX: u64 = 1 << 48;
/// Largest accepted term and index, so that nothing overflows after any number of leaps.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

/// Why a message cannot come from a correct member.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Unsound {
    /// The vote is another member's.
    #[error("it carries the vote of member {0:x}, not of its sender")]
    Impostor(u64),
    /// The term cannot have been reached.
    #[error("term {0} is beyond every term that elections lead to from here")]
    Term(u64),
    /// The index cannot have been reached.
    #[error("index {0} is beyond every index that the log can have reached")]
    Index(u64),
    /// The entries are not contiguous.
    #[error("entry {0} does not follow the one before")]
    Gap(u64),
    /// An entry does not decode.
    #[error("entry {0} does not decode: {1}")]
    Entry(u64, String),
}

impl Unsound {
    /// The label of the metric.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Impostor(_) => "impostor",
            Self::Term(_) => "term",
            Self::Index(_) => "index",
            Self::Gap(_) => "gap",
            Self::Entry(..) => "entry",
        }
    }
}

/// The sender of a message, and this node's position that bounds its numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub(super) caller: MemberId,
    /// This node's term.
    pub(super) term: u64,
    /// The index of this node's last entry.
    pub(super) last_index: u64,
}

impl Measure {
    /// Checks a vote, which must be the caller's own as a candidate or leader.
    pub(super) fn vote(&self, vote: Option<&peer::Vote>) -> Result<(), Unsound> {
        // The conversion of the message refuses a missing vote.
        let Some(vote) = vote else { return Ok(()) };
        if vote.node_id != self.caller.0 {
            return Err(Unsound::Impostor(vote.node_id));
        }
        self.term(vote.term)
    }

    pub(super) fn log_id(&self, id: Option<&peer::LogId>) -> Result<(), Unsound> {
        let Some(id) = id else { return Ok(()) };
        self.term(id.term)?;
        if id.index > bound(self.last_index, INDEX_LEAP_MAX) {
            return Err(Unsound::Index(id.index));
        }
        Ok(())
    }

    pub(super) fn vote_request(&self, request: &peer::VoteRequest) -> Result<(), Unsound> {
        self.vote(request.vote.as_ref())?;
        self.log_id(request.last_log_id.as_ref())
    }

    pub(super) fn append(&self, request: &peer::AppendRequest) -> Result<(), Unsound> {
        self.vote(request.vote.as_ref())?;
        self.log_id(request.prev_log_id.as_ref())?;
        self.log_id(request.leader_commit.as_ref())?;
        let first = request.prev_log_id.as_ref().map_or(0, |id| id.index + 1);
        for (next, entry) in (first..).zip(&request.entries) {
            self.log_id(entry.log_id.as_ref())?;
            let index = entry.log_id.as_ref().map_or(next, |id| id.index);
            if index != next {
                return Err(Unsound::Gap(index));
            }
            if let Some(Payload::Batch(bytes)) = &entry.payload {
                codec::check_entry(bytes)
                    .map_err(|fault| Unsound::Entry(index, fault.to_string()))?;
            }
        }
        Ok(())
    }

    fn term(&self, term: u64) -> Result<(), Unsound> {
        if term > bound(self.term, TERM_LEAP_MAX) {
            return Err(Unsound::Term(term));
        }
        Ok(())
    }
}

fn bound(own: u64, leap: u64) -> u64 {
    own.saturating_add(leap).min(NUMBER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: Measure = Measure {
        caller: MemberId(2),
        term: 5,
        last_index: 100,
    };

    fn vote(term: u64, node_id: u64) -> Option<peer::Vote> {
        Some(peer::Vote {
            term,
            node_id,
            committed: true,
        })
    }

    fn entry(index: u64, payload: Payload) -> peer::Entry {
        peer::Entry {
            log_id: Some(peer::LogId {
                term: 5,
                node_id: 2,
                index,
            }),
            payload: Some(payload),
        }
    }

    fn append(entries: Vec<peer::Entry>) -> peer::AppendRequest {
        peer::AppendRequest {
            vote: vote(5, 2),
            prev_log_id: Some(peer::LogId {
                term: 5,
                node_id: 2,
                index: 100,
            }),
            entries,
            leader_commit: None,
        }
    }

    #[test]
    fn what_members_send_is_sound() {
        let bytes = codec::encode_entry(tenure_statemachine::ClusterTime(7), &[]);
        let request = append(vec![
            entry(101, Payload::Blank(true)),
            entry(102, Payload::Batch(bytes)),
        ]);
        assert_eq!(MEASURE.append(&request), Ok(()));
        let first = peer::AppendRequest {
            vote: vote(1_000_000, 2),
            ..peer::AppendRequest::default()
        };
        assert_eq!(MEASURE.append(&first), Ok(()));
    }

    #[test]
    fn absurd_terms_and_indices_are_refused_whatever_the_own_are() {
        for term in [u64::MAX, NUMBER_MAX + 1, 5 + TERM_LEAP_MAX + 1] {
            assert_eq!(
                MEASURE.vote(vote(term, 2).as_ref()),
                Err(Unsound::Term(term))
            );
        }
        let far = Measure {
            term: NUMBER_MAX,
            ..MEASURE
        };
        let beyond = NUMBER_MAX + 1;
        assert_eq!(
            far.vote(vote(beyond, 2).as_ref()),
            Err(Unsound::Term(beyond))
        );
        let index = u64::MAX;
        let mut request = append(Vec::new());
        request.leader_commit = Some(peer::LogId {
            term: 5,
            node_id: 2,
            index,
        });
        assert_eq!(MEASURE.append(&request), Err(Unsound::Index(index)));
    }

    #[test]
    fn a_vote_of_another_member_is_refused() {
        let refused = MEASURE.vote(vote(5, 3).as_ref());
        assert_eq!(refused, Err(Unsound::Impostor(3)));
    }

    #[test]
    fn entries_that_do_not_decode_or_do_not_follow_are_refused() {
        let bad = append(vec![entry(101, Payload::Batch("nonsense".into()))]);
        assert!(matches!(MEASURE.append(&bad), Err(Unsound::Entry(101, _))));
        let gap = append(vec![entry(102, Payload::Blank(true))]);
        assert_eq!(MEASURE.append(&gap), Err(Unsound::Gap(102)));
    }
}
