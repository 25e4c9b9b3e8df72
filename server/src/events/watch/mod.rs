//! Distribution of key changes to watch streams.

mod hub;
mod index;
mod ranges;

pub use self::hub::{WatchHub, WatchHubStats};
pub(crate) use self::{
    hub::{Delivery, Subscription, WatcherKey},
    index::Index,
    ranges::{Refused, StreamRanges},
};
