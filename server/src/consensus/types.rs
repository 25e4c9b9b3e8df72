//! The concrete types that openraft is used with; its generics are named nowhere else.

use std::fmt;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::runtime::Runtime;

/// A batch of commands, encoded once where they were taken. Cloning shares the bytes.
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

/// What the log says of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNode {
    /// Name from the first configuration.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
}

/// Tells the proposer that an entry was applied, or why it will not be.
///
/// The outcomes of the commands travel another way: whoever took a command hears of it when its
/// own node applies it.
#[derive(Debug)]
pub struct Responder<T>(pub oneshot::Sender<T>);

impl<T: openraft::OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T>
    for Responder<T>
{
    fn on_complete(self, result: T) {
        // The proposer may have given up; nobody else waits.
        drop(self.0.send(result));
    }
}

/// openraft's parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

/// Who leads in which term.
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

/// A position in the log.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// A log entry.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// What an entry carries.
pub type Payload = openraft::type_config::alias::EntryPayloadOf<TypeConfig>;
/// Who votes, who learns.
pub type Membership = openraft::Membership<u64, PeerNode>;
/// A membership and where in the log it stands.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
