//! The hub of claims: passes signals from the apply path to the waiters and followers on this node.
//!
//! A waiter receives the signals of its own claims, by key; a follower is notified of changes to a
//! name. Invariant: a subscriber is notified of each such command applied after it subscribed, once
//! the new state is readable and before the command is answered.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tenure_statemachine::{
    ClaimState, Event, EventKind, LeaseId, Outcome, Signal, claim_key, claimed_name,
};
use tokio::sync::Notify;

use super::{
    follower::{Follower, Marks},
    waiter::{Mailbox, Waiter},
    withdrawal::{Withdrawal, Withdrawals},
};
use crate::metrics::LockMetrics;

/// The hub of claims. One per node.
pub struct ClaimHub {
    state: Mutex<State>,
    /// Number of followed names, readable without the lock.
    followed: AtomicUsize,
    withdrawals: Arc<Withdrawals>,
    /// Notified when a command sets a timer.
    timer_set: Notify,
    metrics: LockMetrics,
}

#[derive(Default)]
struct State {
    /// By the key of the claim. Several when a lease waits for the same claim more than once.
    waiters: HashMap<Bytes, Vec<Arc<Mailbox>>>,
    /// By name, and then by the follower's number.
    followers: HashMap<Bytes, BTreeMap<u64, Arc<Marks>>>,
    followers_made: u64,
}

impl ClaimHub {
    /// Creates a hub without subscribers.
    #[must_use]
    pub fn new(metrics: LockMetrics) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            followed: AtomicUsize::new(0),
            withdrawals: Arc::default(),
            timer_set: Notify::new(),
            metrics,
        })
    }

    /// Passes on the signals of a command. Called by the apply path, in order, once the new state
    /// is readable and before the command is answered. Never blocks; costs the check of an empty
    /// list for a command that touches no claims.
    pub fn observe(&self, outcome: &Outcome) {
        if outcome.facts.timer_set.is_some() {
            self.timer_set.notify_one();
        }
        let follows = self.followed.load(Ordering::Acquire) > 0;
        if outcome.signals.is_empty() && (!follows || outcome.events.is_empty()) {
            return;
        }
        let state = self.state.lock();
        for signal in &outcome.signals {
            let Some(claim) = claim_of(signal) else {
                continue;
            };
            if matches!(signal, Signal::Granted(_)) {
                self.metrics.grants.inc();
            }
            for mailbox in state.waiters.get(&claim.key).into_iter().flatten() {
                mailbox.put(signal);
            }
            state.mark(&claim.name);
        }
        if follows {
            let changed = outcome.events.iter().filter_map(changed_claim);
            for name in changed {
                state.mark(&name);
            }
        }
    }

    /// Notifies all subscribers that the state was replaced without signals, so that they read it.
    pub fn reset(&self) {
        let state = self.state.lock();
        for mailbox in state.waiters.values().flatten() {
            mailbox.lose();
        }
        state.mark_all();
        self.timer_set.notify_one();
    }

    /// Notifies followers that a command's events were omitted, since values of claims may have
    /// changed. Its signals were passed on, so waiters miss nothing.
    pub fn events_left_out(&self) {
        self.state.lock().mark_all();
    }

    /// Subscribes to the claims of a lease on these names. Must be called before they are proposed.
    pub(crate) fn wait_for(self: &Arc<Self>, names: &[Bytes], lease: LeaseId) -> Waiter {
        let keys = keys(names, lease);
        let mailbox = Arc::<Mailbox>::default();
        let mut state = self.state.lock();
        for key in &keys {
            let waiters = state.waiters.entry(key.clone()).or_default();
            waiters.push(Arc::clone(&mailbox));
        }
        self.metrics.waiters.inc();
        drop(state);
        Waiter::new(Arc::clone(self), keys, mailbox)
    }

    /// Subscribes to changes of names: their holders, and the values of their claims.
    pub(crate) fn follow(self: &Arc<Self>, names: Vec<Bytes>) -> Follower {
        let marks = Arc::<Marks>::default();
        let mut state = self.state.lock();
        state.followers_made += 1;
        let id = state.followers_made;
        for name in &names {
            let followers = state.followers.entry(name.clone()).or_default();
            followers.insert(id, Arc::clone(&marks));
        }
        self.followed
            .store(state.followers.len(), Ordering::Release);
        drop(state);
        Follower::new(Arc::clone(self), id, names, marks)
    }

    /// Registers a withdrawal of the claims of a lease on these names.
    pub(crate) fn withdrawal(&self, names: &[Bytes], lease: LeaseId) -> Withdrawal {
        self.withdrawals.begin(keys(names, lease))
    }

    /// Whether a claim of a lease on one of these names is being withdrawn here.
    pub(crate) fn is_withdrawn(&self, names: &[Bytes], lease: LeaseId) -> bool {
        self.withdrawals.any(&keys(names, lease))
    }

    /// Resolves when no claim of a lease on these names is being withdrawn here.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn withdrawn(&self, names: &[Bytes], lease: LeaseId) {
        self.withdrawals.none(&keys(names, lease)).await;
    }

    pub(super) fn leave(&self, keys: &[Bytes], mailbox: &Arc<Mailbox>) {
        let mut state = self.state.lock();
        for key in keys {
            let Some(waiters) = state.waiters.get_mut(key) else {
                continue;
            };
            waiters.retain(|waiter| !Arc::ptr_eq(waiter, mailbox));
            if waiters.is_empty() {
                state.waiters.remove(key);
            }
        }
        self.metrics.waiters.dec();
    }

    pub(super) fn count_wakeup(&self) {
        self.metrics.wakeups.inc();
    }

    pub(super) fn unfollow(&self, names: &[Bytes], id: u64) {
        let mut state = self.state.lock();
        for name in names {
            let Some(followers) = state.followers.get_mut(name) else {
                continue;
            };
            followers.remove(&id);
            if followers.is_empty() {
                state.followers.remove(name);
            }
        }
        self.followed
            .store(state.followers.len(), Ordering::Release);
    }

    /// Resolves when a command has set a timer since the last call.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn timer_set(&self) {
        self.timer_set.notified().await;
    }
}

impl State {
    fn mark_all(&self) {
        for (name, followers) in &self.followers {
            for marks in followers.values() {
                marks.set(name);
            }
        }
    }

    fn mark(&self, name: &Bytes) {
        for marks in self.followers.get(name).into_iter().flatten() {
            marks.1.set(name);
        }
    }
}

impl fmt::Debug for ClaimHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimHub")
            .field("waiters", &self.metrics.waiters.get())
            .field("followed", &self.followed)
            .finish_non_exhaustive()
    }
}

fn keys(names: &[Bytes], lease: LeaseId) -> Vec<Bytes> {
    names.iter().map(|name| claim_key(name, lease)).collect()
}

fn claim_of(signal: &Signal) -> Option<&ClaimState> {
    match signal {
        Signal::Granted(claim) | Signal::Ended(claim, _) | Signal::Requeued(claim, _) => {
            Some(claim)
        }
        Signal::Forced(_) => None,
    }
}

/// The name of a claim whose value changed: there is no signal for that.
fn changed_claim(event: &Event) -> Option<Bytes> {
    let changed = event.kind == EventKind::Put && event.kv.lease.is_some() && event.kv.version > 1;
    changed.then(|| claimed_name(&event.kv.key)).flatten()
}

#[cfg(test)]
mod tests;
