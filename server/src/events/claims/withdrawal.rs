//! Withdrawals in progress on this node: a new request for the same claim waits until they end.
//!
//! Without this, a client that gives up and retries at once would be refused for the claim it gave
//! up. Only works when both requests reach the same node; on another, the retry is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Claims whose withdrawal is in progress, by key.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    /// Number of withdrawals in progress for each key.
    keys: Mutex<HashMap<Bytes, usize>>,
    ended: Notify,
}

/// A withdrawal in progress; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Withdrawal {
    keys: Vec<Bytes>,
    all: Weak<Withdrawals>,
}

impl Withdrawals {
    pub(super) fn begin(self: &Arc<Self>, keys: Vec<Bytes>) -> Withdrawal {
        let mut all = self.keys.lock();
        for key in &keys {
            *all.entry(key.clone()).or_default() += 1;
        }
        drop(all);
        Withdrawal {
            keys,
            all: Arc::downgrade(self),
        }
    }

    /// Whether any of these claims is being withdrawn.
    pub(super) fn any(&self, keys: &[Bytes]) -> bool {
        let all = self.keys.lock();
        keys.iter().any(|key| all.contains_key(key))
    }

    /// Resolves when none of these claims is being withdrawn.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn none(&self, keys: &[Bytes]) {
        loop {
            let mut ended = Box::pin(self.ended.notified());
            // Enabled before the check, so that an end in between is not missed.
            ended.as_mut().enable();
            if !self.any(keys) {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        let Some(all) = self.all.upgrade() else {
            return;
        };
        let mut keys = all.keys.lock();
        for key in &self.keys {
            if let Some(count) = keys.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    keys.remove(key);
                }
            }
        }
        drop(keys);
        all.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn who_asks_waits_until_the_last_withdrawal_of_a_claim_has_ended() {
        let all = Arc::<Withdrawals>::default();
        let (a, b) = (Bytes::from_static(b"a/1"), Bytes::from_static(b"b/1"));
        let first = all.begin(vec![a.clone(), b.clone()]);
        let second = all.begin(vec![a.clone()]);
        let keys = [a];
        let mut none = Box::pin(all.none(&keys));
        assert!(poll!(&mut none).is_pending());
        drop(first);
        assert!(poll!(&mut none).is_pending());
        assert!(!all.any(&[b]));
        drop(second);
        none.await;
    }
}
