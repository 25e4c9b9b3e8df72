//! Keeps the log short: makes a snapshot whenever enough was applied since the last one.
//!
//! A snapshot is also what makes the state durable up to there, so that the log before it may go.

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tracing::debug;

use super::progress::Applied;
use crate::{raft::Raft, storage::LogStore, tasks};

/// Bytes of log after which a snapshot is made even when the entries are few. Bounds what a restart
/// replays, and what a follower that lags is sent from the log.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// How often to look: a look is two loads.
const INTERVAL: Duration = Duration::from_millis(500);

/// Starts the keeper.
pub(super) fn spawn(
    raft: Raft,
    log: LogStore,
    applied: watch::Receiver<Applied>,
    entries_max: u64,
) {
    let raft = Arc::new(raft);
    tasks::spawn("keeper", async move {
        let mut appended_before = log.appended_bytes();
        let mut requested = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let covered = {
                let metrics = raft.data_metrics();
                let snapshot = metrics.borrow_watched().snapshot;
                snapshot.map_or(0, |log_id| log_id.index)
            };
            if requested.is_some_and(|requested| covered < requested) {
                continue;
            }
            requested = None;
            let index = applied.borrow().index;
            let entries = index.saturating_sub(covered);
            let bytes = log.appended_bytes().saturating_sub(appended_before);
            if entries == 0 || (entries < entries_max && bytes < LOG_BYTES_MAX) {
                continue;
            }
            debug!(entries, bytes, "making a snapshot");
            appended_before = log.appended_bytes();
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
            requested = Some(index);
        }
    });
}
