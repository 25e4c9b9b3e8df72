//! The caller of a stream that is open for long: what it may do is checked message by message, and
//! once more when users or permissions change.

use std::sync::Arc;

use tenure_statemachine::{KeyRange, Need, ReadError, Reader};
use tokio::sync::watch;

use super::{Caller, Gate};

/// The caller of a stream.
#[derive(Debug)]
pub(in crate::rpc) struct StreamCaller {
    gate: Arc<Gate>,
    caller: Caller,
    changes: watch::Receiver<u64>,
}

impl StreamCaller {
    /// `changes` counts the changes of users and permissions.
    pub(in crate::rpc) const fn new(
        gate: Arc<Gate>,
        caller: Caller,
        changes: watch::Receiver<u64>,
    ) -> Self {
        Self {
            gate,
            caller,
            changes,
        }
    }

    /// Refuses unless the caller meets every need in the state of `reader`.
    pub(in crate::rpc) fn check(
        &self,
        reader: &Reader<'_>,
        needs: &[Need],
    ) -> Result<(), ReadError> {
        self.gate.check(reader, &self.caller, needs)
    }

    /// Refuses unless the caller may read every key of `range` in the state of `reader`.
    pub(in crate::rpc) fn check_read(
        &self,
        reader: &Reader<'_>,
        range: &KeyRange,
    ) -> Result<(), ReadError> {
        self.check(reader, &[Need::Read(range.clone())])
    }

    /// Whether users or permissions changed since this was asked last.
    pub(in crate::rpc) fn has_changed(&mut self) -> bool {
        let changed = self.changes.has_changed().unwrap_or(false);
        if changed {
            self.changes.mark_unchanged();
        }
        changed
    }

    /// Resolves when users or permissions have changed, of which [`StreamCaller::has_changed`]
    /// tells.
    ///
    /// # Cancel safety
    /// A change that was not seen is seen by the next call.
    pub(in crate::rpc) async fn changed(&mut self) {
        let mut changes = self.changes.clone();
        if changes.changed().await.is_err() {
            // The node stops, which ends the stream.
            std::future::pending::<()>().await;
        }
    }
}
