//! Locks and elections outside the state machine: who waits here is told, and what falls due by
//! time is proposed.
//!
//! Nothing here decides who holds: the state machine does, and says so in the signals of outcomes.

mod follower;
mod hub;
mod waiter;
mod waker;
mod withdrawal;

pub(crate) use self::{
    follower::Follower,
    waiter::{News, Waiter},
};
pub use self::{hub::Hub, waker::Waker};
