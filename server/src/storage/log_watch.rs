//! Watchdog of the log's disk: a write that takes too long marks the disk as hung, and finally ends
//! the process.
//!
//! Runs on its own thread, because a hung disk may block the runtime too. It only detects stalls;
//! the code that leads, proposes and answers probes decides how to react.
//!
//! # Invariants
//! An idle disk is not judged, but probed from time to time. Time in which this process did not run
//! does not count.

use std::{sync::Weak, thread, time::Duration};

use thiserror::Error;
use tokio::sync::mpsc::WeakSender;
use tracing::{info, warn};

use super::{log_backlog::LogBacklog, log_writer::LogRequest};
use crate::fatal;

/// Election timeouts that one write may take before this node gives up leadership. An election
/// takes one anyway, so a disk that is only slow does not cost the leadership.
const STEP_DOWN_TIMEOUTS: u32 = 2;

/// Election timeouts that one write may take before the process ends: a controller that resets
/// itself, or a virtual disk that moves, has recovered by then.
const END_TIMEOUTS: u32 = 20;

/// Minimum time before the process ends, for quorums with short timeouts.
const END_MIN: Duration = Duration::from_secs(10);

/// Idle time after which the disk is probed. A small sync at this interval costs nothing, and a
/// node whose disk is gone does not stay up for lack of writes.
const IDLE_PROBE: Duration = Duration::from_secs(5);

/// Maximum number of intervals counted between two checks. A later check was delayed because the
/// process was paused or starved, and the disk may have responded long ago.
const INTERVALS_COUNTED_MAX: u32 = 2;

/// Limits on the duration of one write to the log.
#[derive(Clone, Copy, Debug)]
pub struct StallLimits {
    /// Time after which the disk counts as hung, and another node should lead.
    pub step_down: Duration,
    /// Time after which the process ends.
    pub end: Duration,
}

impl StallLimits {
    /// Returns the limits for a quorum with this election timeout.
    #[must_use]
    pub fn of(election_timeout: Duration) -> Self {
        Self {
            step_down: election_timeout * STEP_DOWN_TIMEOUTS,
            end: (election_timeout * END_TIMEOUTS).max(END_MIN),
        }
    }

    /// Interval between checks: short enough that a limit is not exceeded by much.
    fn interval(&self) -> Duration {
        self.step_down / 8
    }
}

/// The disk did not finish a write.
#[derive(Clone, Copy, Debug, Error)]
#[error(
    "a write to the log has not ended after {:.1} s: the disk hangs, and the node is of no use",
    .0.as_secs_f64()
)]
struct Hung(Duration);

/// Checks the disk periodically until the log's writer is gone.
pub(super) fn run(
    backlog: &Weak<LogBacklog>,
    writer: &WeakSender<LogRequest>,
    limits: StallLimits,
) {
    let mut watch = Watch::new(limits);
    loop {
        thread::park_timeout(limits.interval());
        let (Some(backlog), Some(writer)) = (backlog.upgrade(), writer.upgrade()) else {
            return;
        };
        watch.look(&backlog);
        if backlog.idle_for().is_some_and(|idle| idle >= IDLE_PROBE) {
            // A writer whose queue is full is not idle.
            _ = writer.try_send(LogRequest::Probe);
        }
    }
}

/// State of the checks between intervals.
#[derive(Debug)]
struct Watch {
    limits: StallLimits,
    /// Number of the write in progress.
    write: u64,
    /// Its duration so far, by the clock.
    age: Duration,
    /// The part of that duration that counts.
    counted: Duration,
}

impl Watch {
    const fn new(limits: StallLimits) -> Self {
        Self {
            limits,
            write: 0,
            age: Duration::ZERO,
            counted: Duration::ZERO,
        }
    }

    fn look(&mut self, backlog: &LogBacklog) {
        let busy = self.count(backlog);
        if busy >= self.limits.end {
            fatal::stop(&Hung(busy));
        }
        let stalled = busy >= self.limits.step_down;
        if !backlog.set_stalled(stalled) {
            return;
        }
        let bytes = backlog.bytes();
        if stalled {
            warn!(
                busy_ms = busy.as_millis(),
                bytes, "the disk of the log does not answer: this node does not lead meanwhile"
            );
        } else {
            info!(bytes, "the disk of the log answers again");
        }
    }

    /// Returns how long the current write has taken, as far as this thread could observe it.
    fn count(&mut self, backlog: &LogBacklog) -> Duration {
        let write = backlog.begun();
        let age = backlog.busy_for().unwrap_or_default();
        if write != self.write || age < self.age {
            (self.write, self.age, self.counted) = (write, Duration::ZERO, Duration::ZERO);
        }
        let since = age.saturating_sub(self.age);
        self.counted += since.min(self.limits.interval() * INTERVALS_COUNTED_MAX);
        self.age = age;
        debug_assert!(
            self.counted <= self.age,
            "no more time counts than has passed"
        );
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RuntimeClock;

    /// Checks at the intervals of an undisturbed process, until `time` has passed.
    async fn looks(watch: &mut Watch, backlog: &LogBacklog, time: Duration) {
        let (mut left, interval) = (time, watch.limits.interval());
        while !left.is_zero() {
            let step = left.min(interval);
            tokio::time::advance(step).await;
            watch.look(backlog);
            left -= step;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_takes_too_long_is_a_stall_until_it_ends() {
        let limits = StallLimits::of(Duration::from_secs(1));
        let (backlog, mut watch) = (LogBacklog::new(RuntimeClock::shared()), Watch::new(limits));
        looks(&mut watch, &backlog, limits.end * 2).await;
        assert!(!backlog.is_stalled(), "an idle disk is not judged");
        backlog.begin();
        let moment = Duration::from_millis(1);
        looks(&mut watch, &backlog, limits.step_down - moment).await;
        assert!(!backlog.is_stalled());
        looks(&mut watch, &backlog, moment).await;
        assert!(backlog.is_stalled());
        backlog.end(0, 0);
        watch.look(&backlog);
        assert!(!backlog.is_stalled());
    }

    /// A paused container, or a machine that slept, ended its process on resuming.
    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_the_process_did_not_run_is_not_the_disks() {
        let limits = StallLimits::of(Duration::from_secs(1));
        let (backlog, mut watch) = (LogBacklog::new(RuntimeClock::shared()), Watch::new(limits));
        backlog.begin();
        looks(&mut watch, &backlog, limits.step_down / 2).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(watch.count(&backlog) < limits.step_down);
        // The disk still hangs.
        let (mut left, interval) = (limits.end, limits.interval());
        while watch.count(&backlog) < limits.end {
            tokio::time::advance(interval).await;
            left = left.checked_sub(interval).expect("it counts every look");
        }
        // Another write starts a new wait.
        backlog.end(0, 0);
        backlog.begin();
        tokio::time::advance(interval).await;
        assert_eq!(watch.count(&backlog), interval);
    }

    #[test]
    fn a_quorum_with_short_timeouts_gives_its_disks_ten_seconds_all_the_same() {
        let limits = StallLimits::of(Duration::from_millis(100));
        assert_eq!(limits.end, END_MIN);
        assert_eq!(limits.step_down, Duration::from_millis(200));
    }
}
