//! Followers of names: notified that a name changed, not of the change. Changes before the next
//! read are merged, so a slow follower costs no more than a fast one.

use std::{collections::BTreeSet, fmt, mem, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::hub::ClaimHub;

/// A subscription to names. Dropping it ends the subscription.
pub(crate) struct Follower {
    hub: Arc<ClaimHub>,
    id: u64,
    names: Vec<Bytes>,
    marks: Arc<Marks>,
}

impl Follower {
    pub(super) fn new(hub: Arc<ClaimHub>, id: u64, names: Vec<Bytes>, marks: Arc<Marks>) -> Self {
        Self {
            hub,
            id,
            names,
            marks,
        }
    }

    /// Waits for a change, and returns the names that changed.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn changed(&mut self) -> BTreeSet<Bytes> {
        loop {
            let changed = mem::take(&mut *self.marks.changed.lock());
            if !changed.is_empty() {
                return changed;
            }
            // `Notify` keeps a permit for a mark set since the check above.
            self.marks.marked.notified().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.unfollow(&self.names, self.id);
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// The names that changed since the follower last took them.
#[derive(Debug, Default)]
pub(super) struct Marks {
    changed: Mutex<BTreeSet<Bytes>>,
    marked: Notify,
}

impl Marks {
    pub(super) fn set(&self, name: &Bytes) {
        {
            let mut changed = self.changed.lock();
            if !changed.contains(name) {
                changed.insert(name.clone());
            }
        }
        self.marked.notify_one();
    }
}
