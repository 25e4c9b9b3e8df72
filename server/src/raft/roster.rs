//! Records about the other members beyond the replicated membership: the data directory that each
//! uses, how far it acknowledged the log, and its faults.
//!
//! Makes no calls; `raft/peer_access.rs` and `node/founding.rs` act on it.
//!
//! # Invariants
//! A member is known by one instance. Another instance is accepted only while neither side has ever
//! held an entry, so that a member that lost its data is never mistaken for the former one.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tenure_statemachine::MemberId;
use thiserror::Error;
use tokio::time::Instant;
use tracing::error;

use super::removed_members::RemovedMembers;
use crate::{
    consensus::{LogId, Vote},
    fatal,
    storage::{KnownPeers, Owner},
};

/// Shortest time between two log lines about one member's fault, which recurs with every call.
const FAULT_LOG_INTERVAL: Duration = Duration::from_secs(30);

/// A fault of a member, and its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PeerFault {
    /// The member uses another data directory than the one it was met with.
    #[error(
        "member {0} has already been bootstrapped, with another data directory than it uses now: \
         it lost what it had acknowledged and is refused; stop it and replace it: remove the \
         member and add it again with an empty data directory"
    )]
    OtherInstance(MemberId),
    /// The member's log lacks entries that it acknowledged.
    #[error(
        "the log of member {member} went back: it acknowledged entry {acknowledged} as durable and \
         lacks entry {lacks}; stop it and replace it: remove the member and add it again with an \
         empty data directory"
    )]
    LogWentBack {
        /// The member.
        member: MemberId,
        /// The last entry that the member acknowledged.
        acknowledged: u64,
        /// An entry up to `acknowledged` that the member does not have.
        lacks: u64,
    },
}

/// Records about the other members.
#[derive(Debug)]
pub struct Roster {
    owner: Owner,
    founded: AtomicBool,
    known: KnownPeers,
    reached: Mutex<BTreeMap<u64, Reached>>,
    faults: Mutex<BTreeMap<u64, (PeerFault, Instant)>>,
    removed: Arc<RemovedMembers>,
}

/// How far a member acknowledged this node's log.
#[derive(Clone, Copy, Debug)]
struct Reached {
    /// The vote of this node's leadership at that time.
    vote: Vote,
    /// The last entry that the member holds, as of that leadership.
    matching: u64,
    /// The last committed entry that the member holds: no later leader may remove it.
    vouched: Option<u64>,
}

impl Roster {
    /// Creates the roster of `owner`, whose log holds entries if `founded`, from the `known` peers.
    #[must_use]
    pub fn new(owner: Owner, founded: bool, known: KnownPeers) -> Self {
        Self {
            owner,
            founded: AtomicBool::new(founded),
            known,
            reached: Mutex::default(),
            faults: Mutex::default(),
            removed: Arc::new(RemovedMembers::new(owner.member_id)),
        }
    }

    /// The members that were removed.
    #[must_use]
    pub const fn removed(&self) -> &Arc<RemovedMembers> {
        &self.removed
    }

    /// The ids of this node.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether this node's log holds entries, or has held some.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.founded.load(Ordering::SeqCst)
    }

    /// Records that this node's log is about to hold entries.
    pub fn set_founded(&self) {
        self.founded.store(true, Ordering::SeqCst);
    }

    /// The instance id of `member`, if it was met.
    #[must_use]
    pub fn instance_of(&self, member: MemberId) -> Option<u64> {
        self.known.get(member.0)
    }

    /// Whether any other member was ever met.
    #[must_use]
    pub fn has_met_others(&self) -> bool {
        !self.known.is_empty()
    }

    /// Records that `member` uses `instance`, if acceptable. `founded`: whether it holds entries;
    /// `is_voter`: whether the membership of this node gives it a vote.
    ///
    /// # Errors
    /// When the member is known by another instance, or has lost its data.
    pub fn meet(
        &self,
        member: MemberId,
        instance: u64,
        founded: bool,
        is_voter: bool,
    ) -> Result<(), PeerFault> {
        let fresh = !self.is_founded() && !founded;
        let acceptable = match self.known.get(member.0) {
            Some(known) if known == instance => {
                self.faults.lock().remove(&member.0);
                return Ok(());
            }
            Some(_) => fresh,
            // First met by a log with entries: a voter without data has lost its own. A member
            // without a vote was added and has none yet.
            None => founded || fresh || !is_voter,
        };
        if !acceptable {
            return Err(self.blame(PeerFault::OtherInstance(member)));
        }
        self.remember(member, instance)
            .unwrap_or_else(|error| fatal::stop(&error));
        self.faults.lock().remove(&member.0);
        Ok(())
    }

    fn remember(&self, member: MemberId, instance: u64) -> io::Result<()> {
        self.known.remember(member.0, instance)
    }

    /// Records that `member` holds the log through `matching`, as it answered this node as leader
    /// under `vote`, which had sent it the commit index `commit`.
    pub(super) fn acknowledged(
        &self,
        member: MemberId,
        vote: Vote,
        matching: LogId,
        commit: Option<LogId>,
    ) {
        let vouched = commit.map(|commit| commit.index.min(matching.index));
        let mut reached = self.reached.lock();
        let entry = reached.entry(member.0).or_insert(Reached {
            vote,
            matching: 0,
            vouched: None,
        });
        if entry.vote != vote {
            entry.vote = vote;
            entry.matching = 0;
        }
        entry.matching = entry.matching.max(matching.index);
        entry.vouched = entry.vouched.max(vouched);
    }

    /// Handles the answer that `member` lacks `conflict`: a fault if it had acknowledged it.
    pub(super) fn went_back(
        &self,
        member: MemberId,
        vote: Vote,
        conflict: LogId,
    ) -> Option<PeerFault> {
        let reached = self.reached.lock().get(&member.0).copied()?;
        let acknowledged = if reached.vote == vote {
            reached.vouched.max(Some(reached.matching))
        } else {
            reached.vouched
        };
        let acknowledged = acknowledged.filter(|index| conflict.index <= *index)?;
        Some(self.blame(PeerFault::LogWentBack {
            member,
            acknowledged,
            lacks: conflict.index,
        }))
    }

    /// The last committed entry that `member` acknowledged to this node.
    #[must_use]
    pub fn vouched(&self, member: MemberId) -> Option<u64> {
        self.reached.lock().get(&member.0)?.vouched
    }

    /// The faults of the other members.
    #[must_use]
    pub fn faults(&self) -> Vec<PeerFault> {
        self.faults.lock().values().map(|(it, _)| *it).collect()
    }

    /// Records and logs `fault`, unless it was logged a moment ago.
    pub(super) fn blame(&self, fault: PeerFault) -> PeerFault {
        let (PeerFault::OtherInstance(member) | PeerFault::LogWentBack { member, .. }) = fault;
        let now = Instant::now();
        let mut faults = self.faults.lock();
        let told = faults
            .get(&member.0)
            .is_some_and(|(_, at)| now.duration_since(*at) < FAULT_LOG_INTERVAL);
        if !told {
            error!(peer = %member, "{fault}");
            faults.insert(member.0, (fault, now));
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::LeaderId;

    const PEER: MemberId = MemberId(2);

    fn roster(founded: bool) -> (tempfile::TempDir, Roster) {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownPeers::open(&dir.path().join("peers")).unwrap();
        let owner = Owner {
            cluster_id: 9,
            member_id: 1,
            instance_id: 7,
        };
        (dir, Roster::new(owner, founded, known))
    }

    fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: 1 }, index)
    }

    #[test]
    fn a_member_is_known_by_one_instance_once_either_side_holds_entries() {
        let (_dir, roster) = roster(false);
        roster.meet(PEER, 1, false, true).unwrap();
        roster
            .meet(PEER, 2, false, true)
            .expect("neither has anything to lose");
        roster.set_founded();
        roster.meet(PEER, 2, true, true).unwrap();
        let fault = roster.meet(PEER, 3, false, true).unwrap_err();
        assert_eq!(fault, PeerFault::OtherInstance(PEER));
        assert_eq!(roster.faults(), [fault]);
        assert_eq!(roster.instance_of(PEER), Some(2));
        roster.meet(PEER, 2, true, true).unwrap();
        assert_eq!(roster.faults(), []);
    }

    #[test]
    fn a_member_without_data_is_no_stranger_to_a_log_that_exists() {
        let (_dir, roster) = roster(true);
        assert!(roster.meet(PEER, 1, false, true).is_err());
        roster.meet(PEER, 1, true, true).unwrap();
    }

    #[test]
    fn a_member_that_was_added_has_no_data_and_is_known_from_then_on() {
        let (_dir, roster) = roster(true);
        roster.meet(PEER, 1, false, false).unwrap();
        roster.meet(PEER, 1, true, true).unwrap();
        assert!(roster.meet(PEER, 2, false, false).is_err());
    }

    #[test]
    fn a_member_that_lacks_what_it_acknowledged_is_blamed() {
        let (_dir, roster) = roster(true);
        let vote = Vote::new_committed(3, 1);
        assert_eq!(roster.went_back(PEER, vote, log_id(3, 0)), None);
        roster.acknowledged(PEER, vote, log_id(3, 10), Some(log_id(3, 8)));
        assert_eq!(roster.vouched(PEER), Some(8));
        assert_eq!(roster.went_back(PEER, vote, log_id(3, 11)), None);
        assert!(roster.went_back(PEER, vote, log_id(3, 10)).is_some());
        // Another leader may have removed uncommitted entries in between.
        let later = Vote::new_committed(5, 1);
        assert_eq!(roster.went_back(PEER, later, log_id(3, 9)), None);
        assert!(roster.went_back(PEER, later, log_id(3, 8)).is_some());
    }
}
