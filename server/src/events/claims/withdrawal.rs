//! Claims that are being withdrawn here: whoever claims the same again waits until they are gone.
//!
//! Without it a client that gives up and asks again at once would be refused for the claim that it
//! gave up. Only for the node that both requests come to; elsewhere the refusal is the answer.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The claims that are being withdrawn, by key.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    /// How often each.
    keys: Mutex<HashMap<Bytes, usize>>,
    ended: Notify,
}

/// Claims that are being withdrawn until this is dropped.
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

    /// Whether any of these is being withdrawn.
    pub(super) fn any(&self, keys: &[Bytes]) -> bool {
        let all = self.keys.lock();
        keys.iter().any(|key| all.contains_key(key))
    }

    /// Resolves when none of these is being withdrawn.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn none(&self, keys: &[Bytes]) {
        loop {
            let mut ended = Box::pin(self.ended.notified());
            // Before the look, so that an end in between is not missed.
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
