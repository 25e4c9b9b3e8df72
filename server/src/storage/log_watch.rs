//! Watches over the log's disk: one that takes too long over a write counts as hung, and in the end
//! the process ends with it.
//!
//! On a thread of its own, since a hung disk may stop the runtime, too. It judges; what a node does
//! about a stall is decided where it leads, proposes and answers probes.
//!
//! # Invariants
//! A disk that was given nothing to do is not judged, but asked now and then.

use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use thiserror::Error;
use tokio::sync::mpsc::WeakSender;
use tracing::{info, warn};

use super::{log_backlog::LogBacklog, log_writer::LogRequest};
use crate::fatal;

/// Election timeouts that one write may take before this node leaves the lead to others. One is
/// what an election takes anyway, so a disk that is only slow does not cost the lead.
const STEP_DOWN_TIMEOUTS: u32 = 2;

/// Election timeouts that one write may take before the process ends: a controller that resets
/// itself, or a virtual disk that moves, is back by then.
const END_TIMEOUTS: u32 = 20;

/// The least time after which the process ends, for quorums with short timeouts.
const END_MIN: Duration = Duration::from_secs(10);

/// How long nothing was written before the disk is asked whether it is still there. One small sync
/// in so long costs nothing, and a node whose disk is gone does not stay up for want of writes.
const IDLE_PROBE: Duration = Duration::from_secs(5);

/// How long one write to the log may take.
#[derive(Clone, Copy, Debug)]
pub struct StallLimits {
    /// After this the disk counts as hung, and another node should lead.
    pub step_down: Duration,
    /// After this the process ends.
    pub end: Duration,
}

impl StallLimits {
    /// The limits for a quorum with this election timeout.
    #[must_use]
    pub fn of(election_timeout: Duration) -> Self {
        Self {
            step_down: election_timeout * STEP_DOWN_TIMEOUTS,
            end: (election_timeout * END_TIMEOUTS).max(END_MIN),
        }
    }

    /// How often to look: often enough that a limit is not passed by much.
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

/// Looks until the log's writer is gone.
pub(super) fn run(
    backlog: &Weak<LogBacklog>,
    writer: &WeakSender<LogRequest>,
    limits: StallLimits,
) {
    loop {
        thread::park_timeout(limits.interval());
        let (Some(backlog), Some(writer)) = (backlog.upgrade(), writer.upgrade()) else {
            return;
        };
        look(&backlog, limits);
        if backlog.idle_for().is_some_and(|idle| idle >= IDLE_PROBE) {
            // A writer whose queue is full is not idle.
            drop(writer.try_send(LogRequest::Probe));
        }
    }
}

fn look(backlog: &Arc<LogBacklog>, limits: StallLimits) {
    let busy = backlog.busy_for().unwrap_or_default();
    if busy >= limits.end {
        fatal::stop(&Hung(busy));
    }
    let stalled = busy >= limits.step_down;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RuntimeClock;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_takes_too_long_is_a_stall_until_it_ends() {
        let limits = StallLimits::of(Duration::from_secs(1));
        let backlog = LogBacklog::new(RuntimeClock::shared());
        tokio::time::advance(limits.end * 2).await;
        look(&backlog, limits);
        assert!(!backlog.is_stalled(), "an idle disk is not judged");
        backlog.begin();
        tokio::time::advance(limits.step_down - Duration::from_millis(1)).await;
        look(&backlog, limits);
        assert!(!backlog.is_stalled());
        tokio::time::advance(Duration::from_millis(1)).await;
        look(&backlog, limits);
        assert!(backlog.is_stalled());
        backlog.end(0, 0);
        look(&backlog, limits);
        assert!(!backlog.is_stalled());
    }

    #[test]
    fn a_quorum_with_short_timeouts_gives_its_disks_ten_seconds_all_the_same() {
        let limits = StallLimits::of(Duration::from_millis(100));
        assert_eq!(limits.end, END_MIN);
        assert_eq!(limits.step_down, Duration::from_millis(200));
    }
}
