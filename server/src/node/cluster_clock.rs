//! This node's estimate of cluster time.
//!
//! Cluster time is the time that leaders stamp on entries. A follower adopts each stamp when it
//! applies the entry and advances it by its own monotonic clock, so its estimate is never ahead of
//! the leader's. A new leader continues from its estimate, so a change of leader neither shortens
//! nor renews a lease.
//!
//! # Invariants
//! A leader's readings never go back. A period in which the process did not run counts as at most
//! [`GAP_MAX`]: lease holders could not renew during it either.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tenure_statemachine::ClusterTime;

use crate::clock::Clock;

/// Longest time between two readings that counts. The node's own ticks read the clock several times
/// a second, so a longer gap means that the process was suspended.
const GAP_MAX: Duration = Duration::from_secs(1);

/// This node's estimate of cluster time.
#[derive(Debug)]
pub(crate) struct ClusterClock {
    clock: Arc<dyn Clock>,
    estimate: Mutex<Estimate>,
}

#[derive(Debug)]
struct Estimate {
    micros: u64,
    /// The greatest stamp adopted, in milliseconds.
    stamped: u64,
    read_at: Duration,
    leading: bool,
}

impl ClusterClock {
    /// Starts from `last`, the greatest stamp in the state.
    pub(crate) fn new(clock: Arc<dyn Clock>, last: ClusterTime) -> Self {
        let read_at = clock.now();
        let micros = last.0.saturating_mul(1000);
        Self {
            clock,
            estimate: Mutex::new(Estimate {
                micros,
                stamped: last.0,
                read_at,
                leading: false,
            }),
        }
    }

    /// Returns the current estimate.
    pub(crate) fn now(&self) -> ClusterTime {
        let mut estimate = self.estimate.lock();
        estimate.advance(self.clock.now());
        ClusterTime(estimate.micros / 1000)
    }

    /// Adopts the greatest stamp of the applied entries. An entry without a stamp, such as a new
    /// leader's first one, leaves the estimate unchanged.
    pub(crate) fn observe(&self, stamp: ClusterTime) {
        let mut estimate = self.estimate.lock();
        estimate.advance(self.clock.now());
        if stamp.0 <= estimate.stamped {
            return;
        }
        estimate.stamped = stamp.0;
        let stamped = stamp.0.saturating_mul(1000);
        if estimate.micros < stamped || !estimate.leading {
            estimate.micros = stamped;
        }
    }

    /// Sets whether this node leads.
    pub(crate) fn set_leading(&self, leading: bool) {
        self.estimate.lock().leading = leading;
    }
}

impl Estimate {
    fn advance(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.read_at).min(GAP_MAX);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.micros = self.micros.saturating_add(micros);
        self.read_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Hand(Mutex<Duration>);

    impl Hand {
        fn turn(&self, by: Duration) {
            *self.0.lock() += by;
        }
    }

    impl Clock for Hand {
        fn now(&self) -> Duration {
            *self.0.lock()
        }
    }

    fn clock(last: u64) -> (Arc<Hand>, ClusterClock) {
        let hand = Arc::new(Hand::default());
        (
            Arc::clone(&hand),
            ClusterClock::new(hand, ClusterTime(last)),
        )
    }

    #[test]
    fn it_goes_on_from_the_last_stamp() {
        let (hand, clock) = clock(5_000);
        hand.turn(Duration::from_millis(300));
        assert_eq!(clock.now(), ClusterTime(5_300));
    }

    #[test]
    fn a_stretch_in_which_the_process_stood_still_counts_as_one_gap_at_most() {
        let (hand, clock) = clock(0);
        hand.turn(Duration::from_secs(3600));
        assert_eq!(clock.now(), ClusterTime(1_000));
    }

    #[test]
    fn a_follower_falls_back_to_a_stamp_behind_its_estimate() {
        let (hand, clock) = clock(0);
        hand.turn(Duration::from_millis(900));
        clock.observe(ClusterTime(700));
        assert_eq!(clock.now(), ClusterTime(700));
    }

    #[test]
    fn a_stamp_that_was_taken_over_before_does_not_set_a_follower_back() {
        let (hand, clock) = clock(0);
        clock.observe(ClusterTime(500));
        hand.turn(Duration::from_millis(900));
        clock.observe(ClusterTime(500));
        assert_eq!(clock.now(), ClusterTime(1_400));
    }

    #[test]
    fn a_leader_never_goes_back() {
        let (hand, clock) = clock(0);
        clock.set_leading(true);
        hand.turn(Duration::from_millis(900));
        clock.observe(ClusterTime(700));
        assert_eq!(clock.now(), ClusterTime(900));
        clock.observe(ClusterTime(1_200));
        assert_eq!(clock.now(), ClusterTime(1_200));
    }
}
