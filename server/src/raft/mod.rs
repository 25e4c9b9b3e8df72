//! The adapter to openraft: types, runtime, network, state machine.

mod applier;
pub(crate) mod convert;
mod counted;
mod digest_point;
mod forwarding;
mod gate;
mod introduction;
mod levels;
mod machine;
mod network;
mod peers;
mod repair;
mod roster;
mod runtime;
mod service;
mod shelf;
mod sound;
mod transfer;
mod types;

pub use self::digest_point::DigestPoint;
pub use self::forwarding::ForwardOutcome;
pub use self::gate::Gatekeeper;
pub use self::introduction::{Met, Unmet, introduce};
pub use self::levels::Levels;
pub use self::machine::{AppliedGroup, ApplySink, ApplyTimes, Builder, Machine};
pub use self::network::Network;
pub use self::peers::{Client as PeerClient, Lane, Peers};
pub use self::repair::fetch;
pub use self::roster::{PeerFault, Roster};
pub use self::service::{PeerRequests, PeerService, Stored};
pub use self::shelf::NewestSnapshot;
pub use self::types::{
    Batch, Entry, LeaderId, LogId, Membership, Payload, PeerNode, Raft, Responder, SnapshotMeta,
    StoredMembership, TypeConfig, Vote,
};
