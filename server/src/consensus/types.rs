//! The concrete types for openraft's type parameters, which no other module names.

use std::fmt;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::runtime::Runtime;

/// A batch of commands, encoded once by the node that received them. Clones share the bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch(pub Bytes);

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.0.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A member as recorded in the replicated membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNode {
    /// The member's name from its first configuration.
    pub name: String,
    /// URLs at which the other members reach it.
    pub peer_urls: Vec<String>,
    /// While it has no vote: whether it stays a learner until it is promoted by a call. Otherwise
    /// it becomes a voter once it has caught up.
    pub stays_learner: bool,
}

/// Notifies the proposer that an entry was applied, or why it will not be.
///
/// Carries no outcomes: the node that received a command reports its outcome on applying the entry.
#[derive(Debug)]
pub struct Responder<T>(pub oneshot::Sender<T>);

impl<T: openraft::OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T>
    for Responder<T>
{
    fn on_complete(self, result: T) {
        // The proposer may have given up, and the result has no other receiver.
        _ = self.0.send(result);
    }
}

/// The type parameters of openraft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

/// A leader: its term and its member id.
pub type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Batch;
    type R = ();
    type NodeId = u64;
    type Node = PeerNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::impls::Vote<LeaderId>;
    type Payload = openraft::EntryPayload<Batch, u64, PeerNode>;
    type Entry = openraft::Entry<LeaderId, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Responder<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// A log position: leader, term and index.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A vote: the term and candidate it is for, and whether a quorum granted it.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// A log entry: its log id and its payload.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// The payload of an entry: a batch, a membership, or nothing.
pub type Payload = openraft::type_config::alias::EntryPayloadOf<TypeConfig>;
/// The voters and the learners, with their addresses.
pub type Membership = openraft::Membership<u64, PeerNode>;
/// A membership and the log id of its entry.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// The last log id and the membership that a snapshot covers.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
