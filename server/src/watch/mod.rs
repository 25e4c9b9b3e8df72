//! Watches: the hub that the apply path tells of every change, and the streams that it tells.

mod fragment;
mod history;
mod hub;
mod index;
mod outbox;
mod ranges;
mod share;
mod stream;
mod watcher;

pub use self::hub::{Hub, HubStats};
pub(crate) use self::{
    history::History,
    hub::{Delivery, Subscription},
    outbox::{Closed, Outbox, Responses, outbox},
    share::{STEP_BYTES_MAX, Share},
    stream::{StreamSettings, WatchStream},
};
