//! The hash over this member's history of keys, for comparisons among the members.
//!
//! The same hash as `HashKV` gives to clients. Invariant: one is computed at a time, because each
//! may read the whole history.

use std::sync::Arc;

use tenure_statemachine::{HashKv, ReadError, Reader, Revision, engine::Engine as _};
use tokio::sync::Semaphore;

use crate::{fatal, storage::StateStore, tasks};

/// Hashes computed at once.
const COMPUTED_MAX: usize = 1;

/// Computes hashes of the history in the store.
#[derive(Debug)]
pub(super) struct HistoryHashes {
    store: Arc<StateStore>,
    turns: Arc<Semaphore>,
}

impl HistoryHashes {
    pub(super) fn new(store: Arc<StateStore>) -> Self {
        Self {
            store,
            turns: Arc::new(Semaphore::new(COMPUTED_MAX)),
        }
    }

    /// The hash of history up to `revision`; `None` when it is compacted or not applied yet, or
    /// another hash is being computed.
    ///
    /// # Cancel safety
    /// May be dropped at any time; a computation that began goes on to its end.
    pub(super) async fn at(&self, revision: Revision) -> Option<HashKv> {
        let turn = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        let store = Arc::clone(&self.store);
        let hashed = tasks::spawn_blocking(move || {
            let _turn = turn;
            let engine = store.engine();
            let view = engine.snapshot()?;
            Reader::new(view.as_ref())?.hash_kv(revision)
        });
        match hashed.await {
            Ok(Ok(hash)) => Some(hash),
            Ok(Err(ReadError::Fault(fault))) => fatal::stop(&fault),
            // The runtime ends, or the revision cannot be hashed.
            Ok(Err(ReadError::Refused(_))) | Err(_) => None,
        }
    }
}
