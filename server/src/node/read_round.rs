//! Rounds by which a leader confirms that it still leads, each with its own identity.
//!
//! openraft dates a quorum's answers by log position: an answer to an old append can acknowledge a
//! later, empty one that was never answered, and with delayed packets a deposed leader would answer
//! reads. So the rounds are counted here, and openraft provides only state, read from its core.
//!
//! # Why a read of a round is linearizable
//! 1. A round reads its leader's vote and the committed index after all its readers have arrived.
//! 2. Each call names that vote and round, its answer cannot be taken for another's, and a voter
//!    agrees only while it has accepted no later vote.
//! 3. A later leader with anything acknowledged before the round began had the votes of a quorum by
//!    then, which shares a voter with the round's quorum; that voter would have refused.
//! 4. So everything acknowledged by then was committed by this leader, hence at or below the index
//!    that its core called committed, or by an earlier one, hence below the first entry of this
//!    leader's term.
//! 5. The index is at least both, and the read waits until the node has applied it.
//!
//! # Invariants
//! One call per member is in flight, so a hanging member costs one; it delays no round that a
//! quorum has answered. A round gives no answer under another membership than it began with.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use openraft::{RaftState, ServerState};
use tenure_proto::peer;
use tenure_statemachine::MemberId;
use tokio::time::{sleep, timeout};

use super::error::ReadIndexError;
use crate::{
    consensus::{LogId, StoredMembership, TypeConfig, Vote, convert},
    raft::{Lane, PeerClient, Peers, Raft, is_unknown_call},
};

/// Time limit for one member's answer; the attempt of a round lasts as long.
const CALL_MAX: Duration = Duration::from_millis(500);

/// Pause before a silent member is asked again. A member that is down refuses at once, and rounds
/// follow each other without pause.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The content of a member's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Follows,
    Refuses,
    Nothing,
}

/// The answer of a member to the call of a round.
#[derive(Clone, Copy, Debug)]
struct Answer {
    member: u64,
    round: u64,
    word: Word,
}

/// The state that a round is based on.
#[derive(Debug)]
struct Ground {
    vote: Vote,
    index: u64,
    membership: Arc<StoredMembership>,
}

/// The rounds of one node, one at a time.
pub(super) struct Rounds {
    raft: Raft,
    peers: Arc<Peers>,
    own: u64,
    number: u64,
    /// Members with a call in flight, of this round or an earlier one.
    asked: BTreeSet<u64>,
    calls: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl Rounds {
    /// Starts without a round.
    pub(super) fn new(raft: Raft, peers: Arc<Peers>, own: MemberId) -> Self {
        Self {
            raft,
            peers,
            own: own.0,
            number: 0,
            asked: BTreeSet::new(),
            calls: FuturesUnordered::new(),
        }
    }

    /// Runs a round. Returns the index that reads which arrived before it must have applied, with
    /// the leader of the round.
    ///
    /// # Errors
    /// When this node does not lead. Keeps asking while no quorum answers.
    ///
    /// # Cancel safety
    /// Dropping the future ends the round; its calls continue, and count for no other round.
    pub(super) async fn make(&mut self) -> Result<LogId, ReadIndexError> {
        let own = self.own;
        let ground = self.raft.with_raft_state(move |state| ground(state, own));
        let ground = match ground.await {
            Ok(Some(ground)) => ground,
            Ok(None) => return Err(ReadIndexError::LeaderChanged),
            Err(_) => return Err(ReadIndexError::Stopping),
        };
        self.number += 1;
        let read = LogId::new(ground.vote.leader_id, ground.index);
        let mut tally = Tally::new(&ground.membership, own);
        if tally.is_won() {
            return Ok(read);
        }
        for member in tally.open() {
            self.ask(member, &ground);
        }
        while let Some(answer) = self.calls.next().await {
            self.asked.remove(&answer.member);
            if answer.round == self.number {
                tally.count(answer.member, answer.word);
            }
            if tally.is_won() {
                return Ok(read);
            }
            if tally.is_lost() {
                return Err(ReadIndexError::LeaderChanged);
            }
            if tally.is_open(answer.member) {
                self.ask(answer.member, &ground);
            }
        }
        Err(ReadIndexError::TimedOut)
    }

    /// Asks a member, unless an earlier call to it is in flight.
    fn ask(&mut self, member: u64, ground: &Ground) {
        let Some(node) = ground.membership.membership().get_node(&member) else {
            return;
        };
        if self.asked.insert(member) {
            let client = self.peers.client(MemberId(member), node, Lane::Heartbeat);
            let (vote, round) = (ground.vote, self.number);
            let call = async move {
                let word = call(client, vote, round).await;
                if word == Word::Nothing {
                    sleep(RETRY_PAUSE).await;
                }
                Answer {
                    member,
                    round,
                    word,
                }
            };
            self.calls.push(call.boxed());
        }
    }
}

async fn call(mut client: PeerClient, vote: Vote, round: u64) -> Word {
    let request = peer::ReadRoundRequest {
        vote: Some(convert::vote_to(&vote)),
        round,
    };
    let answer = match timeout(CALL_MAX, client.read_round(request)).await {
        Ok(Ok(response)) => {
            let response = response.into_inner();
            (response.round == round).then_some(response.follows)
        }
        Ok(Err(status)) if is_unknown_call(&status) => {
            timeout(CALL_MAX, call_of_before(client, vote))
                .await
                .unwrap_or(None)
        }
        Ok(Err(_)) | Err(_) => None,
    };
    match answer {
        Some(true) => Word::Follows,
        Some(false) => Word::Refuses,
        None => Word::Nothing,
    }
}

/// Asks a member of a version without rounds by an empty heartbeat. It is a call of its own, too,
/// and is accepted only from a leader while no later vote is known.
async fn call_of_before(mut client: PeerClient, vote: Vote) -> Option<bool> {
    use peer::append_response::Outcome;
    let request = peer::AppendRequest {
        vote: Some(convert::vote_to(&vote)),
        ..peer::AppendRequest::default()
    };
    let response = client.heartbeat(request).await.ok()?.into_inner();
    match response.outcome() {
        _ if !response.error.is_empty() => None,
        Outcome::Success | Outcome::PartialSuccess => Some(true),
        Outcome::HigherVote => Some(false),
        Outcome::Conflict => None,
    }
}

/// Reads the core's current state; `None` when this node does not lead.
fn ground(state: &RaftState<TypeConfig>, own: u64) -> Option<Ground> {
    let vote = *state.vote_ref();
    let leads = state.server_state == ServerState::Leader
        && vote.is_committed()
        && vote.leader_id.node_id == own;
    if !leads {
        return None;
    }
    // Followers may have acknowledged entries that this node has yet to write itself.
    let committed = state.cluster_committed().max(state.local_committed());
    let in_term = |id: &&LogId| id.leader_id == vote.leader_id;
    // Nothing of this leader's term is committed yet: its last entry is not before its first.
    let read = committed
        .filter(in_term)
        .or(state.log_ids.last().filter(in_term))?;
    Some(Ground {
        vote,
        index: read.index,
        membership: Arc::clone(state.membership_state.effective()),
    })
}

/// The answers to one round, which a majority of each set of voters wins.
#[derive(Debug)]
struct Tally {
    sets: Vec<BTreeSet<u64>>,
    follows: BTreeSet<u64>,
    refuses: BTreeSet<u64>,
}

impl Tally {
    fn new(membership: &StoredMembership, own: u64) -> Self {
        Self::of(membership.membership().get_joint_config().clone(), own)
    }

    fn of(sets: Vec<BTreeSet<u64>>, own: u64) -> Self {
        Self {
            sets,
            follows: BTreeSet::from([own]),
            refuses: BTreeSet::new(),
        }
    }

    fn count(&mut self, member: u64, word: Word) {
        match word {
            Word::Follows => _ = self.follows.insert(member),
            Word::Refuses => _ = self.refuses.insert(member),
            Word::Nothing => {}
        }
    }

    fn is_won(&self) -> bool {
        let won = |set: &BTreeSet<u64>| 2 * set.intersection(&self.follows).count() > set.len();
        !self.sets.is_empty() && self.sets.iter().all(won)
    }

    /// Whether so many voters refuse that the round cannot be won.
    fn is_lost(&self) -> bool {
        let lost = |set: &BTreeSet<u64>| 2 * set.difference(&self.refuses).count() <= set.len();
        self.sets.iter().any(lost)
    }

    /// Whether the member is a voter that has not answered.
    fn is_open(&self, member: u64) -> bool {
        self.sets.iter().any(|set| set.contains(&member))
            && !self.follows.contains(&member)
            && !self.refuses.contains(&member)
    }

    fn open(&self) -> Vec<u64> {
        let voters: BTreeSet<u64> = self.sets.iter().flatten().copied().collect();
        voters.into_iter().filter(|id| self.is_open(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sets: &[&[u64]]) -> Tally {
        let sets = sets.iter().map(|set| set.iter().copied().collect());
        Tally::of(sets.collect(), 1)
    }

    #[test]
    fn a_round_is_won_by_a_majority_and_a_lone_voter_is_one() {
        assert!(tally(&[&[1]]).is_won());
        assert!(!tally(&[]).is_won());
        let mut round = tally(&[&[1, 2, 3, 4, 5]]);
        assert_eq!(round.open(), [2, 3, 4, 5]);
        round.count(2, Word::Follows);
        round.count(2, Word::Follows);
        round.count(9, Word::Follows);
        round.count(3, Word::Nothing);
        assert!(!round.is_won() && !round.is_lost());
        round.count(4, Word::Follows);
        assert!(round.is_won());
    }

    #[test]
    fn while_the_membership_changes_a_round_needs_a_majority_of_both_sets() {
        let mut round = tally(&[&[1, 2, 3], &[3, 4, 5]]);
        round.count(2, Word::Follows);
        assert!(!round.is_won());
        round.count(4, Word::Follows);
        assert!(!round.is_won());
        round.count(5, Word::Follows);
        assert!(round.is_won());
    }

    #[test]
    fn a_leader_outside_the_set_does_not_count_itself() {
        let mut round = tally(&[&[2, 3]]);
        round.count(2, Word::Follows);
        assert!(!round.is_won());
        round.count(3, Word::Follows);
        assert!(round.is_won());
    }

    #[test]
    fn one_refusal_ends_no_round_that_can_still_be_won() {
        let mut round = tally(&[&[1, 2, 3]]);
        round.count(2, Word::Refuses);
        assert!(!round.is_lost() && !round.is_open(2) && round.is_open(3));
        round.count(3, Word::Refuses);
        assert!(round.is_lost());
    }
}
