//! The only module that reads time.
//!
//! All time is monotonic: the server does not depend on the wall clock, except that certificates
//! are valid by it. Sleeps and timeouts are the
//! runtime's (`tokio::time`), which a simulation controls; time is read here for the same reason.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// Reads monotonic time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since a fixed but arbitrary moment of this process.
    fn now(&self) -> Duration;
}

/// The time of day, from which and until which a new certificate is to be valid.
#[must_use]
pub fn time_of_day() -> SystemTime {
    SystemTime::now()
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
