//! The types that consensus is used with, for the parts that keep a log and the parts that
//! replicate one. Nothing here does anything: the adapter to openraft is `raft`.

pub(crate) mod convert;
mod runtime;
mod types;

pub use self::types::{
    Batch, Entry, LeaderId, LogId, Membership, Payload, PeerNode, Responder, SnapshotMeta,
    StoredMembership, TypeConfig, Vote,
};
