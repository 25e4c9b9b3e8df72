//! The only place that reads time.
//!
//! Monotonic throughout: nothing in the server depends on the wall clock. Sleeps and timeouts are
//! the runtime's (`tokio::time`), which a simulation drives; readings come from here for the same
//! reason.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

/// Reads monotonic time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since a fixed but arbitrary moment of this process.
    fn now(&self) -> Duration;
}

/// The runtime's clock.
#[derive(Debug)]
pub struct RuntimeClock {
    start: Instant,
}

impl RuntimeClock {
    /// A clock that starts at zero. Must be called on a runtime.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self {
            start: Instant::now(),
        })
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
