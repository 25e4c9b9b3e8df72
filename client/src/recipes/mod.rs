//! Recipes on keys, watches and leases: barriers, latches, counters and queues.
//!
//! Unlike locks and elections they are implemented by the client: the server executes transactions.
//! Every write has a sequence number in a session that a handle opens with its first write, so that
//! a write whose answer is lost takes effect once. Keep handles: clones share the session.
//!
//! The keys of a recipe are below its name, which no other keys may use.

mod barrier;
mod counter;
mod delivery;
mod double_barrier;
mod latch;
mod queue;
mod state;

#[cfg(test)]
mod tests;

pub use barrier::Barrier;
pub use counter::{Counter, CounterValue};
pub use delivery::Delivery;
pub use double_barrier::{DoubleBarrier, DoubleBarrierGuard};
pub use latch::Latch;
pub use queue::{DeadLetter, Queue};

use crate::client::Client;

/// Recipes on keys, watches and leases. Made by [`Client::recipes`].
#[derive(Debug, Clone, Copy)]
pub struct Recipes<'a> {
    client: &'a Client,
}

impl Client {
    /// Barriers, latches, counters and queues.
    #[must_use]
    pub fn recipes(&self) -> Recipes<'_> {
        Recipes { client: self }
    }
}
