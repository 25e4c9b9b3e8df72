//! The node: proposals, linearizable reads, status. The services use Raft only through it.

mod abdication;
mod agreement;
mod apply_events;
mod batcher;
mod cluster_clock;
mod collected;
mod collection;
mod collector;
mod compaction_hashes;
mod confirmed;
mod core_watch;
mod digests;
mod error;
mod feature;
mod forwarder;
mod founding;
mod fresh;
mod history_hashes;
mod initial_check;
mod integrity;
mod known_members;
mod leadership;
mod log_retention;
mod member_calls;
mod membership;
#[expect(
    clippy::module_inception,
    reason = "the handle is what the module is named for"
)]
mod node;
mod offer;
mod peer_requests;
mod progress;
mod proposer;
mod quarantine;
mod read_index;
mod read_round;
mod reclaim;
mod reconfiguration;
mod recovery;
mod replica;
mod reply;
mod slow_apply;
mod start;
mod status;
mod successors;
mod waiters;

#[cfg(test)]
pub(crate) use self::apply_events::hand_on;
pub(crate) use self::membership::members_of;
pub(crate) use self::reply::reply_to;
pub use self::{
    collection::CollectionPace,
    error::{ProposeError, ReadIndexError, TransferError},
    founding::run,
    initial_check::{Inconsistent, check_history},
    integrity::Integrity,
    log_retention::LogLimits,
    node::Node,
    reconfiguration::{ChangeError, Changed, MemberChange, ReconfigurationRules, Refusal},
    recovery::Recovery,
    replica::{Replica, StorageBytes},
    start::{Environment, NodeConfig, StartError, Started, start},
    status::{Identity, Leadership, Member, Status},
};
