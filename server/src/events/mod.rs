//! What this node tells of each command that it applied: key changes to watch streams, signals of
//! claims to those that wait for them, granted and ended leases to the expirer.
//!
//! Nothing here decides anything, and nothing here waits: the apply path publishes to bounded
//! queues.

mod claims;
mod lease_feed;
mod watch;

pub use self::{
    claims::ClaimHub,
    lease_feed::LeaseFeed,
    watch::{WatchHub, WatchHubStats},
};
pub(crate) use self::{
    claims::{Follower, News, Waiter},
    lease_feed::NewLeases,
    watch::{Delivery, Index, Refused, StreamRanges, Subscription, WatcherKey},
};
