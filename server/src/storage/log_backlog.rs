//! Backlog of the log's writer: the bytes and appends that are not on disk yet, and how long the
//! current write has taken.
//!
//! Bounds the memory that a slow disk costs, and makes a hung disk visible. It only measures:
//! `log_watch.rs` decides, and appenders wait for room here first.
//!
//! # Invariants
//! While nothing is being written, nothing is overdue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::clock::Clock;

/// Bytes in flight beyond which no more appends are accepted: eight of the writer's batches. A disk
/// that writes 100 MB/s drains them within a third of a second.
const BYTES_MAX: usize = 32 << 20;

/// Appends in flight beyond which no more are accepted. Half of the capacity of the writer's queue:
/// the consensus core must never wait for room in it, because it would miss heartbeats.
const APPENDS_MAX: usize = super::log_writer::REQUESTS_MAX / 2;

/// Marks a time that is not set.
const NEVER: u64 = u64::MAX;

/// One write to the disk has taken so long that this node no longer leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk of the log does not answer")]
pub struct Stalled;

/// The writes of the log that are in flight to the disk.
#[derive(Debug)]
pub struct LogBacklog {
    clock: Arc<dyn Clock>,
    bytes: AtomicUsize,
    appends: AtomicUsize,
    /// Number of writes begun.
    begun: AtomicU64,
    /// Start of the current write, in milliseconds; [`NEVER`] while idle.
    busy_since: AtomicU64,
    /// End of the last write, in milliseconds; [`NEVER`] while one is in progress.
    idle_since: AtomicU64,
    stalled: AtomicBool,
    changed: Notify,
}

impl LogBacklog {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let backlog = Self {
            clock,
            bytes: AtomicUsize::new(0),
            appends: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            busy_since: AtomicU64::new(NEVER),
            idle_since: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            changed: Notify::new(),
        };
        backlog.idle_since.store(backlog.now(), Ordering::Relaxed);
        Arc::new(backlog)
    }

    /// Bytes in flight to the disk.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the log accepts another append.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes() < BYTES_MAX && self.appends.load(Ordering::Relaxed) < APPENDS_MAX
    }

    /// Waits until the log accepts another append.
    ///
    /// # Errors
    /// When the disk has stalled: waiting is of no use, and another node should lead.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn room(&self) -> Result<(), Stalled> {
        loop {
            // Created before the check, so that a later change is not missed.
            let changed = self.changed.notified();
            if self.is_stalled() {
                return Err(Stalled);
            }
            if self.has_room() {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Waits until the log accepts another append, regardless of a stall.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn room_at_last(&self) {
        loop {
            let changed = self.changed.notified();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Whether the current write has taken so long that the disk counts as hung.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Returns how long the current write has taken; `None` while idle.
    #[must_use]
    pub fn busy_for(&self) -> Option<Duration> {
        self.since(&self.busy_since)
    }

    /// Returns the number of writes begun, which distinguishes one write from the next.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Returns how long the disk has been idle; `None` during a write.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.since(&self.idle_since)
    }

    /// Sets whether the disk counts as hung; returns whether that is a change.
    pub(super) fn set_stalled(&self, stalled: bool) -> bool {
        let new = self.stalled.swap(stalled, Ordering::Relaxed) != stalled;
        if new {
            self.changed.notify_waiters();
        }
        new
    }

    /// Adds an append that is sent to the writer.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.appends.fetch_add(1, Ordering::Relaxed);
    }

    /// Marks the start of a write.
    pub(super) fn begin(&self) {
        debug_assert!(
            self.busy_for().is_none(),
            "one write at a time is in progress"
        );
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.idle_since.store(NEVER, Ordering::Relaxed);
        self.busy_since.store(self.now(), Ordering::Relaxed);
    }

    /// Marks the end of a write, which contained `appends` appends of `bytes` bytes.
    pub(super) fn end(&self, bytes: usize, appends: usize) {
        self.busy_since.store(NEVER, Ordering::Relaxed);
        self.idle_since.store(self.now(), Ordering::Relaxed);
        // The values that the subtraction returns, not those of an earlier load: an append between
        // the two might find no room, and would wait for a notification that never comes.
        let bytes_before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let appends_before = self.appends.fetch_sub(appends, Ordering::Relaxed);
        debug_assert!(
            bytes <= bytes_before && appends <= appends_before,
            "no more is written than was taken"
        );
        if bytes_before >= BYTES_MAX || appends_before >= APPENDS_MAX {
            self.changed.notify_waiters();
        }
    }

    fn since(&self, moment: &AtomicU64) -> Option<Duration> {
        let moment = moment.load(Ordering::Relaxed);
        (moment != NEVER).then(|| Duration::from_millis(self.now().saturating_sub(moment)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::{hint, sync::atomic::AtomicU32, thread};

    use futures::FutureExt;

    use super::*;
    use crate::clock::RuntimeClock;

    #[tokio::test(start_paused = true)]
    async fn no_more_is_taken_while_too_many_bytes_or_appends_wait() {
        let backlog = LogBacklog::new(RuntimeClock::shared());
        backlog.add(BYTES_MAX);
        let mut room = Box::pin(backlog.room());
        assert!((&mut room).now_or_never().is_none());
        backlog.end(1, 1);
        assert_eq!(room.await, Ok(()));
        backlog.end(BYTES_MAX - 1, 0);
        for _ in 0..APPENDS_MAX {
            backlog.add(1);
        }
        let mut room = Box::pin(backlog.room_at_last());
        assert!((&mut room).now_or_never().is_none());
        backlog.end(1, 1);
        room.await;
    }

    /// The writer ends a batch while an append takes the last of the room. Waiters were not
    /// notified from then on, and the leader accepted no more writes until it was restarted.
    #[test]
    fn room_that_is_made_while_it_runs_out_is_told_to_whoever_waits_for_it() {
        const ROUNDS: u32 = 300_000;
        let backlog = LogBacklog::new(RuntimeClock::shared());
        backlog.add(BYTES_MAX - 1);
        let (begun, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        let waits_for = |turn: &AtomicU32, round| {
            while turn.load(Ordering::Acquire) < round {
                thread::yield_now();
            }
        };
        // Varies the offset between the two threads, so that they interleave at every point.
        let idle = |steps: u32| (0..steps).for_each(|_| hint::spin_loop());
        let lost = thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    waits_for(&begun, round);
                    idle(round % 17);
                    backlog.end(1, 1);
                    ended.store(round, Ordering::Release);
                }
            });
            let mut lost = 0;
            for round in 1..=ROUNDS {
                begun.store(round, Ordering::Release);
                idle(round % 23);
                backlog.add(1);
                let mut room = Box::pin(backlog.room());
                let found = (&mut room).now_or_never();
                waits_for(&ended, round);
                assert!(backlog.has_room());
                lost += u32::from(found.or_else(|| room.now_or_never()).is_none());
            }
            lost
        });
        assert_eq!(lost, 0, "of {ROUNDS} waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_ends_the_wait_of_a_leader_and_not_of_a_follower() {
        let backlog = LogBacklog::new(RuntimeClock::shared());
        backlog.add(BYTES_MAX);
        let (leader, mut follower) = (backlog.room(), Box::pin(backlog.room_at_last()));
        let mut leader = Box::pin(leader);
        assert!((&mut leader).now_or_never().is_none());
        assert!((&mut follower).now_or_never().is_none());
        assert!(backlog.set_stalled(true) && !backlog.set_stalled(true));
        assert_eq!(leader.await, Err(Stalled));
        assert!((&mut follower).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_as_old_as_its_batch_and_an_idle_log_has_none() {
        let backlog = LogBacklog::new(RuntimeClock::shared());
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(
            (backlog.busy_for(), backlog.idle_for()),
            (None, Some(second))
        );
        backlog.begin();
        tokio::time::advance(second).await;
        assert_eq!(
            (backlog.busy_for(), backlog.idle_for()),
            (Some(second), None)
        );
        backlog.end(0, 0);
        assert_eq!(backlog.busy_for(), None);
    }
}
