//! The adapter to openraft: network, state machine, snapshots.

mod applier;
mod counted;
mod digest_point;
mod discovery;
mod forwarding;
mod introduction;
mod levels;
mod machine;
mod network;
mod newcomers;
mod peer_access;
mod peers;
mod refusals;
mod removed_members;
mod repair;
mod roster;
mod service;
mod shelf;
mod sound;
mod transfer;

pub use self::digest_point::DigestPoint;
pub use self::discovery::{Discovered, DiscoveryService, discover};
pub use self::forwarding::ForwardOutcome;
pub use self::introduction::{Met, Unmet, introduce};
pub use self::levels::Levels;
pub use self::machine::{AppliedGroup, ApplyListener, ApplyTimes, Builder, Machine};
pub use self::network::Network;
pub use self::newcomers::Newcomers;
pub use self::peer_access::PeerAccess;
pub(crate) use self::peers::is_unknown_call;
pub use self::peers::{Client as PeerClient, Lane, Peers};
pub use self::refusals::Refusals;
pub use self::removed_members::RemovedMembers;
pub use self::repair::fetch;
pub use self::roster::{PeerFault, Roster};
pub use self::service::{PeerRequests, PeerService, Stored};
pub use self::shelf::NewestSnapshot;

/// The consensus handle of a node.
pub type Raft = openraft::Raft<crate::consensus::TypeConfig, Machine>;
