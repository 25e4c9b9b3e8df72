//! Keeps the disk small: makes a snapshot whenever enough was applied since the last one, and lets
//! the log before it go.
//!
//! A snapshot is also what makes the state durable up to there, so that the log before it may go.
//! Bounds count entries and bytes: a few entries may be large, and many are small.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::progress::Applied;
use crate::{
    metrics::DiskMetrics,
    raft::{NewestSnapshot, Raft},
    storage::LogStore,
    tasks,
};

/// How often to look: a look is a few loads.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks between two that read the files of the newest snapshot.
const LOOKS_PER_MEASURE: u32 = 10;

/// What a node may keep on disk beside its state.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Entries after which a snapshot is made.
    pub entries: u64,
    /// Bytes of log after which a snapshot is made even when the entries are few. Bounds what a
    /// restart replays.
    pub bytes: u64,
    /// Bytes of log kept behind a snapshot for followers that lag; the entries are bounded, too.
    pub catchup_bytes: u64,
    /// Bytes that only the snapshot still holds, the state having let go of them, after which
    /// another is made, when they are most of it.
    pub stale_bytes: u64,
}

impl LogLimits {
    /// The limits of a node that makes a snapshot after so many entries. The log takes at most as
    /// much as the bytes together, and what comes in while a snapshot is made.
    #[must_use]
    pub const fn of(entries: u64) -> Self {
        Self {
            entries,
            bytes: 128 << 20,
            catchup_bytes: 64 << 20,
            stale_bytes: 64 << 20,
        }
    }
}

/// What the keeper works with.
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) log: LogStore,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) newest: NewestSnapshot,
    pub(super) metrics: DiskMetrics,
    pub(super) limits: LogLimits,
}

/// Starts the keeper.
pub(super) fn spawn(parts: Parts) {
    tasks::spawn("keeper", async move {
        let mut keeper = Keeper {
            appended_before: parts.log.appended_bytes(),
            requested: None,
            stale: 0,
            looks: 0,
            parts,
        };
        loop {
            tokio::time::sleep(INTERVAL).await;
            if keeper.look().await.is_none() {
                return;
            }
        }
    });
}

struct Keeper {
    parts: Parts,
    /// Bytes appended when the last snapshot was asked for.
    appended_before: u64,
    /// The index that a snapshot which was asked for will cover.
    requested: Option<u64>,
    /// Bytes that only the newest snapshot holds, when they were last counted.
    stale: u64,
    looks: u32,
}

impl Keeper {
    /// Looks once; `None` when consensus has ended.
    async fn look(&mut self) -> Option<()> {
        self.observe().await;
        let covered = {
            let metrics = self.parts.raft.data_metrics();
            let snapshot = metrics.borrow_watched().snapshot;
            snapshot.map_or(0, |log_id| log_id.index)
        };
        if self.requested.is_some_and(|requested| covered < requested) {
            return Some(());
        }
        if self.requested.take().is_some() {
            self.stale = 0;
        }
        self.purge(covered).await?;
        let index = self.parts.applied.borrow().index;
        let entries = index.saturating_sub(covered);
        let appended = self.parts.log.appended_bytes();
        let bytes = appended.saturating_sub(self.appended_before);
        let limits = &self.parts.limits;
        let grown = entries > 0 && (entries >= limits.entries || bytes >= limits.bytes);
        if !grown && self.stale < limits.stale_bytes {
            return Some(());
        }
        debug!(entries, bytes, stale = self.stale, "making a snapshot");
        self.appended_before = appended;
        self.stale = 0;
        self.parts.raft.trigger().snapshot().await.ok()?;
        self.requested = Some(index);
        Some(())
    }

    /// Lets go of the log behind the snapshot that is more than is kept for followers.
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
                // Compaction rewrites live data, too: a snapshot is replaced when mostly dead.
                self.stale = if bytes.own > bytes.total / 2 {
                    bytes.own
                } else {
                    0
                };
            }
            // It was replaced meanwhile, or the next read of it will tell.
            Ok(Err(error)) => warn!(%error, "the newest snapshot was not measured"),
            Err(error) => warn!(%error, "measuring the newest snapshot was cut off"),
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
