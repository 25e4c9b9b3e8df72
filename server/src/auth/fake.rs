//! Clocks and entropy for tests: they repeat themselves.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::Entropy;
use crate::clock::{Clock, UnixTime, WallClock};

/// A clock that moves only when a test moves it; both kinds in one.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeClock(Arc<Mutex<Duration>>);

impl FakeClock {
    pub(crate) fn at(seconds: u64) -> Self {
        let clock = Self::default();
        clock.advance(Duration::from_secs(seconds));
        clock
    }

    pub(crate) fn advance(&self, time: Duration) {
        *self.0.lock() += time;
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Duration {
        *self.0.lock()
    }
}

impl WallClock for FakeClock {
    fn now(&self) -> UnixTime {
        UnixTime(*self.0.lock())
    }
}

/// Counts instead of being random, so that two fills differ and a test repeats itself.
#[derive(Debug, Default)]
pub(crate) struct CountingEntropy(Mutex<u8>);

impl Entropy for CountingEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut next = self.0.lock();
        for byte in bytes {
            *next = next.wrapping_add(1);
            *byte = *next;
        }
    }
}
