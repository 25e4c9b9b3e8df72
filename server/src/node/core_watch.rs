//! Ends the process when the consensus core ends, unless the node is stopping.
//!
//! A node without its core looks alive: it serves pages and stale reads, and calls hang. The
//! process must end instead, so that clients go elsewhere and a supervisor restarts it.

use openraft::async_runtime::watch::WatchReceiver;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{fatal, raft::Raft, tasks};

/// Consensus ended without being stopped.
#[derive(Debug, Error)]
#[error("consensus ended by itself: {0}")]
struct CoreEnded(String);

/// Starts to watch the core of `raft`, which may end once `stopping` is cancelled.
pub(super) fn spawn(raft: Raft, stopping: CancellationToken) {
    tasks::spawn("core-watch", async move {
        let mut changes = raft.server_metrics();
        // The core owns the sender, and drops it however it ends.
        while changes.changed().await.is_ok() {}
        if stopping.is_cancelled() {
            return;
        }
        let state = raft.metrics().borrow_watched().running_state.clone();
        let cause = state
            .err()
            .map_or_else(|| "it panicked".to_owned(), |e| e.to_string());
        fatal::stop(&CoreEnded(cause));
    });
}
