//! Publishes the effects of applied commands on this node: key changes to watch streams, signals of
//! claims to their waiters, new leases to the expirer.
//!
//! Makes no decisions and never blocks: the apply path publishes to bounded queues.

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
