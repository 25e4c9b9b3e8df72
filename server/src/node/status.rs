//! What a node knows of itself and of the quorum, as a plain value.

use tenure_statemachine::MemberId;

/// Who a node is. Fixed for the life of its data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The quorum, the same on all its members.
    pub cluster_id: u64,
    /// This member.
    pub member_id: MemberId,
    /// Its human-readable name.
    pub name: String,
}

/// One member as the log's membership has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member.
    pub id: MemberId,
    /// Its name, as first configured; what it published itself wins.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Receives the log without a vote.
    pub is_learner: bool,
}

/// A node's view at one moment; local, not confirmed by the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Present term.
    pub term: u64,
    /// The leader, as far as this node knows.
    pub leader: Option<MemberId>,
    /// Whether this node is it.
    pub is_leader: bool,
    /// Whether this node has no vote.
    pub is_learner: bool,
    /// Index of the last entry in this node's log.
    pub last_log_index: u64,
    /// Index of the last entry known to be committed.
    pub committed_index: u64,
    /// Index of the last entry applied here.
    pub applied_index: u64,
    /// Everyone in the membership, by id.
    pub members: Vec<Member>,
    /// What is wrong with other members, each with its remedy.
    pub faults: Vec<String>,
}

/// Who leads, as this node sees it; sent to whoever follows changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, as far as this node knows.
    pub leader: Option<MemberId>,
    /// Present term.
    pub term: u64,
    /// Whether this node leads.
    pub is_leader: bool,
}
