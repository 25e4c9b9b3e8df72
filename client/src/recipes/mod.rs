//! Recipes on keys, watches and leases: barriers, latches, counters and queues.
//!
//! Unlike locks and elections they are the client's own doing: the server sees transactions. Every
//! write is numbered in a session that a handle opens when it first writes, so that one whose
//! answer is lost takes effect once. So keep handles: clones share the session.
//!
//! Keys lie below the name of the recipe, and are for it alone.

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
pub use counter::{Counted, Counter};
pub use delivery::Delivery;
pub use double_barrier::{DoubleBarrier, Inside};
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
