//! The only module that reads time.
//!
//! Time is monotonic, and consensus and storage depend on no other. The wall clock is for texts
//! that people read and for times that other systems set, such as the end of a JSON web token or of
//! a certificate. Sleeps and timeouts are the runtime's (`tokio::time`), which a simulation
//! controls; time is read here for the same reason.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
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

/// Time since 1970-01-01 in UTC, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub Duration);

/// Reads the time of the calendar, which may be wrong and may jump.
pub trait WallClock: Send + Sync + std::fmt::Debug {
    /// The time of the calendar.
    fn now(&self) -> UnixTime;
}

/// The wall clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    fn now(&self) -> UnixTime {
        // A clock before 1970 is not set; every token is then as good as new.
        let since = time_of_day().duration_since(UNIX_EPOCH);
        UnixTime(since.unwrap_or_default())
    }
}
