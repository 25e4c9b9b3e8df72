//! Subscriptions to claims: waiters receive the signals of their claims, followers are notified of
//! changes to names.

mod follower;
mod hub;
mod waiter;
mod withdrawal;

pub use self::hub::ClaimHub;
pub(crate) use self::{
    follower::Follower,
    waiter::{News, Waiter},
};
