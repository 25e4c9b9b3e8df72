//! Waiters: receive the signals of their own claims by key, so that a hand-over wakes one waiter.
//!
//! Invariant: a waiter that subscribed before its claim was proposed receives all signals of the
//! claim in order, or [`News::Lost`], after which it must read the state.

use std::{collections::VecDeque, fmt, mem, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tenure_statemachine::Signal;
use tokio::sync::Notify;

use super::hub::ClaimHub;

/// Bound on the signals queued for one waiter. A claim receives few in its life unless its queue is
/// reordered repeatedly; a waiter that falls behind reads the state.
const SIGNALS_WAITING_MAX: usize = 256;

/// A notification to a waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A signal of one of its claims.
    Signal(Signal),
    /// Signals were lost: the waiter must read the state.
    Lost,
}

/// A subscription to claims. Dropping it ends the subscription.
pub(crate) struct Waiter {
    hub: Arc<ClaimHub>,
    keys: Vec<Bytes>,
    mailbox: Arc<Mailbox>,
}

impl Waiter {
    pub(super) fn new(hub: Arc<ClaimHub>, keys: Vec<Bytes>, mailbox: Arc<Mailbox>) -> Self {
        Self { hub, keys, mailbox }
    }

    /// Waits for the next notification.
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
            // `Notify` keeps a permit for a signal queued since the check above.
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

/// The queue of a waiter.
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
    /// Drops the queued signals: their effects are in the state, too.
    fn lose(&mut self) {
        self.lost = true;
        self.signals.clear();
    }
}
