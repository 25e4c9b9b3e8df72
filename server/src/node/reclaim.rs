//! Gives the bytes of collected history back to the file system, without an operator.
//!
//! RocksDB drops deleted rows when it compacts the files that hold them, and does so by itself only
//! as new rows come in: history that was collected from a store at its quota would stay on disk.
//! Invariant: at most twice as many live bytes are rewritten as collected ones are dropped, unless
//! the disk is short of space.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tenure_statemachine::{Collector, Meta, Revision};
use tokio::sync::watch;
use tracing::{info, warn};

use super::collection::Collected;
use crate::{
    storage::{DiskSpace, StateStore},
    tasks,
};

/// Collected bytes that are worth a compaction: some flushes of the table.
const GARBAGE_BYTES_MIN: u64 = 32 << 20;

/// Free bytes of the disk below which fewer collected bytes are worth one: twice the reserve.
const SHORT_BYTES: u64 = 1 << 30;

/// Bytes of history that are compacted at a time, about: so much is written again for a moment. On
/// a disk that is short, a quarter of what is free.
const SLICE_BYTES: u64 = 32 << 20;
const SLICE_PART: u64 = 4;

/// Most parts in which history is compacted; each is a scan of the list of files.
const SLICES_MAX: u64 = 1024;

/// Free bytes without which nothing is compacted: a file of the table.
const ROOM_BYTES: u64 = 16 << 20;

/// Pause between two parts, so that they take half of a disk at most.
const PAUSE: Duration = Duration::from_millis(50);

/// Dependencies of the task.
pub(super) struct Parts {
    pub(super) store: Arc<StateStore>,
    pub(super) directory: PathBuf,
    pub(super) meta: watch::Receiver<Meta>,
    pub(super) collected: watch::Receiver<Collected>,
}

/// Starts the task. It ends with the collection.
pub(super) fn spawn(mut parts: Parts) {
    tasks::spawn("reclaim", async move {
        // What earlier processes collected is known after the first pass, and was reclaimed then.
        if parts.collected.changed().await.is_err() {
            return;
        }
        let mut reclaimed = parts.collected.borrow_and_update().bytes;
        while parts.collected.changed().await.is_ok() {
            let collected = *parts.collected.borrow_and_update();
            if collected.bytes < reclaimed {
                // A snapshot has replaced the state, and holds no deleted rows.
                reclaimed = collected.bytes;
            }
            let garbage = collected.bytes - reclaimed;
            let live = parts
                .meta
                .borrow()
                .history_bytes
                .saturating_sub(collected.bytes);
            let short = || available(&parts).is_none_or(|bytes| bytes < SHORT_BYTES);
            if is_due(garbage, live, short) && compact(&parts, garbage, live).await {
                reclaimed = collected.bytes;
            }
        }
    });
}

/// Whether compaction is worth its cost.
fn is_due(garbage: u64, live: u64, is_short: impl Fn() -> bool) -> bool {
    garbage >= GARBAGE_BYTES_MIN && (garbage >= live / 2 || is_short())
}

/// Compacts history below the floor, part by part; returns whether it reached the floor.
async fn compact(parts: &Parts, garbage: u64, live: u64) -> bool {
    let floor = parts.meta.borrow().floor.0.max(0);
    let slice = available(parts).map_or(SLICE_BYTES, |free| SLICE_BYTES.min(free / SLICE_PART));
    let slices = (garbage.saturating_add(live) / slice.max(1)).clamp(1, SLICES_MAX);
    let step = floor / i64::try_from(slices).unwrap_or(i64::MAX) + 1;
    let mut from = 0;
    while from < floor {
        if available(parts).is_some_and(|bytes| bytes < ROOM_BYTES) {
            warn!("the disk has no room to compact history; free some of it");
            return false;
        }
        let to = from.saturating_add(step);
        let engine = parts.store.engine();
        let compacted = tasks::spawn_blocking(move || {
            let below = |revision| Collector::history_from(Revision(revision));
            engine.compact_history(&below(from), &below(to));
        });
        if compacted.await.is_err() {
            return false;
        }
        from = to;
        tokio::time::sleep(PAUSE).await;
    }
    info!(
        collected_bytes = garbage,
        "collected history was given back to the file system"
    );
    true
}

fn available(parts: &Parts) -> Option<u64> {
    DiskSpace::of(&parts.directory)
        .ok()
        .map(|space| space.available)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_compacted_when_a_third_of_it_is_garbage_or_the_disk_is_short() {
        let plenty = || false;
        assert!(!is_due(GARBAGE_BYTES_MIN - 1, 0, || true));
        assert!(is_due(GARBAGE_BYTES_MIN, 2 * GARBAGE_BYTES_MIN, plenty));
        assert!(!is_due(GARBAGE_BYTES_MIN, 3 * GARBAGE_BYTES_MIN, plenty));
        assert!(is_due(GARBAGE_BYTES_MIN, 3 * GARBAGE_BYTES_MIN, || true));
    }
}
