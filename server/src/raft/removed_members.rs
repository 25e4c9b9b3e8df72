//! The members that were removed, by id. An id is never used again: its member may still run.
//!
//! The applier keeps it current; it is stored with the membership.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tenure_statemachine::MemberId;
use tokio::sync::watch;

/// Ids of removed members.
#[derive(Debug)]
pub struct RemovedMembers {
    ids: Mutex<BTreeSet<u64>>,
    /// Whether this node is one of them, as far as it knows.
    own: watch::Sender<bool>,
    own_id: u64,
}

impl RemovedMembers {
    pub(super) fn new(own_id: u64) -> Self {
        Self {
            ids: Mutex::default(),
            own: watch::Sender::new(false),
            own_id,
        }
    }

    pub(super) fn set(&self, ids: &BTreeSet<u64>) {
        if *self.ids.lock() != *ids {
            self.ids.lock().clone_from(ids);
        }
        if ids.contains(&self.own_id) {
            self.set_own();
        }
    }

    /// Records that other members know this node as removed.
    pub fn set_own(&self) {
        self.own
            .send_if_modified(|own| !std::mem::replace(own, true));
    }

    /// Whether `member` was removed.
    #[must_use]
    pub fn contains(&self, member: MemberId) -> bool {
        self.ids.lock().contains(&member.0)
    }

    /// All of them.
    #[must_use]
    pub fn get(&self) -> BTreeSet<u64> {
        self.ids.lock().clone()
    }

    /// Resolves when this node is known to be removed.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn own_removed(&self) {
        let mut own = self.own.subscribe();
        // `self` owns the sender, so this cannot fail.
        _ = own.wait_for(|own| *own).await;
    }
}
