//! Changes of keys, and the streams that watch them.

mod hub;
mod index;
mod ranges;

pub use self::hub::{WatchHub, WatchHubStats};
pub(crate) use self::{
    hub::{Delivery, Subscription, WatcherKey},
    index::Index,
    ranges::{Refused, StreamRanges},
};
