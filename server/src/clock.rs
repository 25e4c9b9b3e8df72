//! The only module that reads time.
//!
//! All time is monotonic: the server does not depend on the wall clock. Sleeps and timeouts are the
//! runtime's (`tokio::time`), which a simulation controls; time is read here for the same reason.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

/// Reads monotonic time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since a fixed but arbitrary moment of this process.
    fn now(&self) -> Duration;
}

/// A clock that reads the runtime's time.
#[derive(Debug)]
pub struct RuntimeClock {
    start: Instant,
}

impl RuntimeClock {
    /// Creates a clock that starts at zero. Must be called on a runtime.
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
