//! The types that openraft is parameterized with, shared by log storage and replication. Contains
//! no behaviour: the adapter to openraft is `raft`.

pub(crate) mod convert;
mod runtime;
mod types;

pub use self::types::{
    Batch, Entry, LeaderId, LogId, Membership, Payload, PeerNode, Responder, SnapshotMeta,
    StoredMembership, TypeConfig, Vote,
};
