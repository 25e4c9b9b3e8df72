//! Bounds disk usage: builds a snapshot once enough entries were applied since the last one, and
//! purges the log before it.
//!
//! A snapshot also makes the state durable up to its last entry, so that the log before it may be
//! purged. Limits count both entries and bytes: a few entries may be large, and many are small.
//!
//! While another member catches up, the leader does neither. It would purge what the member needs
//! next, and send another snapshot, during which the log goes on growing: under large writes that
//! never ended. What is kept for a member is bounded, too.

use std::time::Duration;

use openraft::{Instant as _, async_runtime::watch::WatchReceiver};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, warn};

use super::progress::Applied;
use crate::{
    metrics::DiskMetrics,
    raft::{NewestSnapshot, Raft},
    storage::LogStore,
    tasks,
};

/// Time between two checks; a check is a few loads.
const INTERVAL: Duration = Duration::from_millis(500);

/// Checks between two that read the files of the newest snapshot.
const LOOKS_PER_MEASURE: u32 = 10;

/// How long a requested snapshot may take before it is requested again. Consensus silently ignores
/// a request while it builds another snapshot, and a repeated request costs nothing.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// A member that has answered the leader within this time may catch up, and the log is kept for as
/// long after it was last seen to lag: several heartbeats of a busy node. A snapshot that is being
/// installed counts as being sent.
const ANSWERED_MAX: Duration = Duration::from_secs(3);

/// A member that lacks more entries than this catches up. Others lack a few batches.
const LAG_MAX: u64 = 1000;

/// Limits on the files that a node keeps beside its state.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Applied entries after which a snapshot is built.
    pub entries: u64,
    /// Bytes of log after which a snapshot is built even when the entries are few. Bounds the log
    /// that a restart replays.
    pub bytes: u64,
    /// Bytes of log kept behind a snapshot for lagging followers; their entries are bounded, too.
    pub catchup_bytes: u64,
    /// Bytes of log up to which nothing is purged while a member catches up: what a member was seen
    /// to receive of a snapshot in ten seconds. One that takes longer may need another.
    pub held_bytes: u64,
    /// Bytes held only by the newest snapshot, because the state no longer uses those files, after
    /// which another is built, provided that they are more than half of it.
    pub stale_bytes: u64,
}

impl LogLimits {
    /// The limits of a node that builds a snapshot after this many entries. The log takes at most
    /// the sum of `bytes` and `catchup_bytes`, or `held_bytes` while a member catches up, and what
    /// is appended while a snapshot is built.
    #[must_use]
    pub const fn of(entries: u64) -> Self {
        Self {
            entries,
            bytes: 128 << 20,
            catchup_bytes: 64 << 20,
            held_bytes: 1 << 30,
            stale_bytes: 64 << 20,
        }
    }
}

/// Dependencies of the log retention task.
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) log: LogStore,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) newest: NewestSnapshot,
    pub(super) metrics: DiskMetrics,
    pub(super) limits: LogLimits,
}

/// Starts the task that builds snapshots and purges the log.
pub(super) fn spawn(parts: Parts) {
    tasks::spawn("log-retention", async move {
        let mut retention = LogRetention {
            plan: Plan {
                appended_before: parts.log.appended_bytes(),
                asked: None,
                stale: 0,
            },
            looks: 0,
            lagging_at: None,
            parts,
        };
        loop {
            tokio::time::sleep(INTERVAL).await;
            if retention.look().await.is_none() {
                return;
            }
        }
    });
}

struct LogRetention {
    parts: Parts,
    plan: Plan,
    looks: u32,
    /// When a member was last seen to lag.
    lagging_at: Option<Instant>,
}

/// The observations of one check.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The last index in the newest snapshot.
    covered: u64,
    /// The last index in the state.
    applied: u64,
    /// Bytes appended to the log since the process started.
    appended: u64,
}

/// Decides when to request a snapshot.
#[derive(Debug)]
struct Plan {
    /// Bytes appended when the last completed snapshot was requested.
    appended_before: u64,
    asked: Option<Asked>,
    /// Bytes held only by the newest snapshot, as last measured.
    stale: u64,
}

/// A requested snapshot.
#[derive(Debug)]
struct Asked {
    /// The observations at the time of the request.
    seen: Seen,
    at: Instant,
}

impl Plan {
    /// Returns whether the requested snapshot may still be in progress.
    fn waits(&mut self, covered: u64) -> bool {
        let Some(Asked { seen, at }) = &self.asked else {
            return false;
        };
        let made = covered >= seen.applied;
        if !made && covered == seen.covered && at.elapsed() < ASK_AGAIN {
            return true;
        }
        if made {
            self.appended_before = seen.appended;
        }
        self.stale = 0;
        self.asked = None;
        false
    }

    /// Returns whether enough was applied, or the newest snapshot holds too many unused bytes.
    fn is_due(&self, seen: &Seen, limits: &LogLimits) -> bool {
        let entries = seen.applied.saturating_sub(seen.covered);
        let bytes = seen.appended.saturating_sub(self.appended_before);
        let grown = entries > 0 && (entries >= limits.entries || bytes >= limits.bytes);
        grown || self.stale >= limits.stale_bytes
    }

    /// Records that a snapshot is requested.
    fn ask(&mut self, seen: Seen) {
        self.stale = 0;
        self.asked = Some(Asked {
            seen,
            at: Instant::now(),
        });
    }
}

impl LogRetention {
    /// Runs one check; `None` when consensus has ended.
    async fn look(&mut self) -> Option<()> {
        self.observe().await;
        let covered = {
            let metrics = self.parts.raft.data_metrics();
            let snapshot = metrics.borrow_watched().snapshot;
            snapshot.map_or(0, |log_id| log_id.index)
        };
        if self.plan.waits(covered) || self.holds(covered) {
            return Some(());
        }
        self.purge(covered).await?;
        let seen = Seen {
            covered,
            applied: self.parts.applied.borrow().index,
            appended: self.parts.log.appended_bytes(),
        };
        if self.plan.is_due(&seen, &self.parts.limits) {
            debug!(?seen, stale = self.plan.stale, "making a snapshot");
            self.parts.raft.trigger().snapshot().await.ok()?;
            self.plan.ask(seen);
        }
        Some(())
    }

    /// Whether the log is kept as it is, because a member catches up.
    fn holds(&mut self, covered: u64) -> bool {
        if self.parts.newest.is_sending() || self.is_behind(covered) {
            self.lagging_at = Some(Instant::now());
        }
        let lately = |at: Instant| at.elapsed() < ANSWERED_MAX;
        self.lagging_at.is_some_and(lately) && self.parts.log.bytes() < self.parts.limits.held_bytes
    }

    /// Whether a member that answers this leader lacks entries that the newest snapshot covers, or
    /// many.
    fn is_behind(&self, covered: u64) -> bool {
        let applied = self.parts.applied.borrow().index;
        let metrics = self.parts.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let (Some(logs), Some(beats)) = (&metrics.replication, &metrics.heartbeat) else {
            return false;
        };
        logs.iter().any(|(id, matching)| {
            let answered = beats.get(id).and_then(Option::as_ref);
            let matching = matching.map_or(0, |matching| matching.index);
            answered.is_some_and(|at| at.elapsed() < ANSWERED_MAX)
                && is_catching_up(matching, covered, applied)
        })
    }

    /// Purges the log behind the snapshot beyond the bytes kept for followers.
    async fn purge(&self, covered: u64) -> Option<()> {
        let (log, limits) = (&self.parts.log, &self.parts.limits);
        let Some(upto) = log.beyond(limits.catchup_bytes) else {
            return Some(());
        };
        let upto = upto.min(covered);
        if log.held().contains(&upto) {
            debug!(upto, "purging the log by its bytes");
            self.parts.raft.trigger().purge_log(upto).await.ok()?;
        }
        Some(())
    }

    async fn observe(&mut self) {
        let (log, metrics) = (&self.parts.log, &self.parts.metrics);
        let held = log.held();
        metrics.log_bytes.set(signed(log.bytes()));
        metrics.log_entries.set(signed(held.end - held.start));
        let unsynced = log.backlog().bytes();
        metrics.log_unsynced_bytes.set(signed(unsynced as u64));
        self.looks += 1;
        if self.looks < LOOKS_PER_MEASURE {
            return;
        }
        self.looks = 0;
        let Some(newest) = self.parts.newest.get() else {
            return;
        };
        match tasks::spawn_blocking(move || newest.bytes()).await {
            Ok(Ok(bytes)) => {
                metrics.snapshot_bytes.set(signed(bytes.total));
                // Compaction rewrites live data, too: only a mostly unused snapshot is replaced.
                self.plan.stale = if bytes.own > bytes.total / 2 {
                    bytes.own
                } else {
                    0
                };
            }
            // The snapshot was replaced meanwhile; other errors show up in its next read.
            Ok(Err(error)) => warn!(%error, "the newest snapshot was not measured"),
            Err(error) => warn!(%error, "measuring the newest snapshot was cut off"),
        }
    }
}

const fn is_catching_up(matching: u64, covered: u64, applied: u64) -> bool {
    matching < covered || matching.saturating_add(LAG_MAX) < applied
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits::of(100);

    fn plan() -> Plan {
        Plan {
            appended_before: 0,
            asked: None,
            stale: 0,
        }
    }

    fn seen(covered: u64, applied: u64, appended: u64) -> Seen {
        Seen {
            covered,
            applied,
            appended,
        }
    }

    /// Runs one check; returns whether it requests a snapshot.
    fn look(plan: &mut Plan, seen: Seen) -> bool {
        let asks = !plan.waits(seen.covered) && plan.is_due(&seen, &LIMITS);
        if asks {
            plan.ask(seen);
        }
        asks
    }

    /// Regression: a member that restored its state had a snapshot built at that moment. Consensus
    /// ignored the request for another one meanwhile, which was then awaited forever.
    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_was_asked_for_while_another_was_made_is_asked_for_again() {
        let mut plan = plan();
        assert!(look(&mut plan, seen(0, 150, 1)));
        assert!(!look(&mut plan, seen(0, 160, 1)), "it may be on its way");
        // The other snapshot ends before the requested index.
        assert!(look(&mut plan, seen(40, 170, 1)));
        assert!(!look(&mut plan, seen(170, 180, 1)));
        assert!(look(&mut plan, seen(170, 280, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_does_not_come_is_asked_for_again() {
        let mut plan = plan();
        assert!(look(&mut plan, seen(0, 150, 1)));
        tokio::time::advance(ASK_AGAIN - INTERVAL).await;
        assert!(!look(&mut plan, seen(0, 150, 1)));
        tokio::time::advance(INTERVAL).await;
        assert!(look(&mut plan, seen(0, 150, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_count_until_a_snapshot_covers_them() {
        let (mut plan, bytes) = (plan(), LIMITS.bytes);
        assert!(!look(&mut plan, seen(1, 9, bytes - 1)));
        assert!(look(&mut plan, seen(1, 10, bytes)));
        assert!(look(&mut plan, seen(2, 10, bytes)), "that was another one");
        assert!(!look(&mut plan, seen(10, 20, 2 * bytes - 1)));
        assert!(look(&mut plan, seen(10, 20, 2 * bytes)));
    }

    #[test]
    fn a_member_catches_up_while_it_lacks_what_a_snapshot_covers_or_much() {
        for (matching, covered, applied, expected) in [
            (10, 10, 20, false),
            (9, 10, 20, true),
            (20, 10, 20 + LAG_MAX, false),
            (20, 10, 21 + LAG_MAX, true),
        ] {
            let is = is_catching_up(matching, covered, applied);
            assert_eq!(is, expected, "{matching} {covered} {applied}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_snapshot_is_made_again_although_nothing_was_applied() {
        let mut plan = plan();
        plan.stale = LIMITS.stale_bytes;
        assert!(look(&mut plan, seen(10, 10, 1)));
        assert!(!look(&mut plan, seen(10, 10, 1)), "it is not measured yet");
    }
}
