//! The adapter to openraft: types, runtime, network, state machine.

pub(crate) mod convert;
mod counted;
mod levels;
mod machine;
mod network;
mod peers;
mod runtime;
mod service;
mod transfer;
mod types;

pub use self::levels::Levels;
pub use self::machine::{AppliedGroup, ApplySink, ApplyTimes, Builder, Machine, NewestSnapshot};
pub use self::network::Network;
pub use self::peers::{Client as PeerClient, Lane, Peers};
pub use self::service::{ForwardOutcome, Gatekeeper, PeerRequests, PeerService};
pub use self::types::{
    Batch, Entry, LeaderId, LogId, Membership, Payload, PeerNode, Raft, Responder, SnapshotMeta,
    StoredMembership, TypeConfig, Vote,
};
