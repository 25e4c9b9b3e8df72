//! Waiting for one's own claims: told of them by key, so a hand-over wakes one waiter.
//!
//! Invariant: whoever subscribed before its claim was proposed is told of all that becomes of it,
//! in order, or that something was lost and the state must be read.

use std::{collections::VecDeque, fmt, mem, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tenure_statemachine::Signal;
use tokio::sync::Notify;

use super::hub::ClaimHub;

/// Signals that may wait for one waiter. A claim sees a few in its life unless its queue is
/// reordered again and again; whoever does not keep up reads the state.
const SIGNALS_WAITING_MAX: usize = 256;

/// What a waiter is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// What became of one of its claims.
    Signal(Signal),
    /// Something was lost: only the state can tell.
    Lost,
}

/// Somebody who waits for claims. Dropping it ends the subscription.
pub(crate) struct Waiter {
    hub: Arc<ClaimHub>,
    keys: Vec<Bytes>,
    mailbox: Arc<Mailbox>,
}

impl Waiter {
    pub(super) fn new(hub: Arc<ClaimHub>, keys: Vec<Bytes>, mailbox: Arc<Mailbox>) -> Self {
        Self { hub, keys, mailbox }
    }

    /// What comes next.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> News {
        let mut waited = false;
        loop {
            if let Some(news) = self.mailbox.take() {
                if waited {
                    self.hub.count_wakeup();
                }
                return news;
            }
            // A permit is kept for what arrived between the look and this.
            self.mailbox.arrived.notified().await;
            waited = true;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.hub.leave(&self.keys, &self.mailbox);
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// Where a waiter finds its news.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    signals: VecDeque<Signal>,
    lost: bool,
}

impl Mailbox {
    pub(super) fn put(&self, signal: &Signal) {
        {
            let mut waiting = self.waiting.lock();
            if waiting.lost {
                return;
            }
            if waiting.signals.len() < SIGNALS_WAITING_MAX {
                waiting.signals.push_back(signal.clone());
            } else {
                waiting.lose();
            }
        }
        self.arrived.notify_one();
    }

    pub(super) fn lose(&self) {
        self.waiting.lock().lose();
        self.arrived.notify_one();
    }

    fn take(&self) -> Option<News> {
        let mut waiting = self.waiting.lock();
        if mem::take(&mut waiting.lost) {
            return Some(News::Lost);
        }
        waiting.signals.pop_front().map(News::Signal)
    }
}

impl Waiting {
    /// What waits is in the state as well.
    fn lose(&mut self) {
        self.lost = true;
        self.signals.clear();
    }
}
