//! Signals of claims, and to whom they go: waiters hear what became of their claims, followers that
//! something changed on their names.

mod follower;
mod hub;
mod waiter;
mod withdrawal;

pub use self::hub::ClaimHub;
pub(crate) use self::{
    follower::Follower,
    waiter::{News, Waiter},
};
