//! The last applied entry, for tasks that wait for an index.

use tokio::sync::watch;

/// The last entry applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Its index.
    pub(crate) index: u64,
    /// Its term.
    pub(crate) term: u64,
}

/// Waits until entry `index` is applied. Returns false when the node stops first.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
pub(super) async fn reached(applied: &mut watch::Receiver<Applied>, index: u64) -> bool {
    applied
        .wait_for(|applied| applied.index >= index)
        .await
        .is_ok()
}
