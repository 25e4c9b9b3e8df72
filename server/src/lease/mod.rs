//! Leases outside the state machine: renewals are gathered, and ends are proposed when due.

mod deadlines;
mod expirer;
mod feed;
mod grace;
mod renewals;

pub(crate) use self::renewals::{BATCH_LEASES_MAX, Renewals};
pub use self::{
    expirer::{Expirer, ExpirerSettings},
    feed::LeaseFeed,
};
