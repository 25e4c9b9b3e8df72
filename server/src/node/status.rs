//! Plain values that describe a node and its view of the quorum.

use tenure_statemachine::MemberId;

/// The ids and the name of a node. Fixed for the life of its data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of the quorum, the same on all its members.
    pub cluster_id: u64,
    /// Id of this member.
    pub member_id: MemberId,
    /// Human-readable name of this member.
    pub name: String,
}

/// One member in the log's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member's id.
    pub id: MemberId,
    /// The name from the first configuration; a name that the member published takes precedence.
    pub name: String,
    /// URLs at which the other members reach it.
    pub peer_urls: Vec<String>,
    /// Whether it stays a learner until it is promoted.
    pub is_learner: bool,
    /// Whether it votes.
    pub has_vote: bool,
}

/// A node's local view at one moment; not confirmed by the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The current term.
    pub term: u64,
    /// The leader, as far as this node knows.
    pub leader: Option<MemberId>,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Whether this node stays a learner until it is promoted.
    pub is_learner: bool,
    /// Whether this node votes. A member that was added as a voter does once it has caught up.
    pub has_vote: bool,
    /// Term of the last entry in this node's log.
    pub last_log_term: u64,
    /// Index of the last entry in this node's log.
    pub last_log_index: u64,
    /// Index of the last entry known to be committed.
    pub committed_index: u64,
    /// Index of the last entry applied here.
    pub applied_index: u64,
    /// Everyone in the membership, by id.
    pub members: Vec<Member>,
    /// Members that were removed, by id.
    pub removed: Vec<MemberId>,
    /// Faults of other members, each with its remedy.
    pub faults: Vec<String>,
}

/// The leader and this node's part in this node's view; sent on every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, as far as this node knows.
    pub leader: Option<MemberId>,
    /// The current term.
    pub term: u64,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Whether this node is a learner, which serves little.
    pub is_learner: bool,
}
