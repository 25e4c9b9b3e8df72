//! The hub: the apply path tells it what became of claims, it tells whoever waits here.
//!
//! A waiter is told of its own claims only, by key; a follower that something changed on a name.
//! Invariant: who subscribed before a command was applied is told of it before the command is
//! answered, and after the state that holds it can be read.

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

/// The hub. One per node.
pub struct ClaimHub {
    state: Mutex<State>,
    /// How many names are followed, to be looked at without the lock.
    followed: AtomicUsize,
    withdrawals: Arc<Withdrawals>,
    /// Says that a command has set a timer.
    timer_set: Notify,
    metrics: LockMetrics,
}

#[derive(Default)]
struct State {
    /// By the key of the claim. More than one when a lease waits for the same claim twice.
    waiters: HashMap<Bytes, Vec<Arc<Mailbox>>>,
    /// By name, and then by the follower's number.
    followers: HashMap<Bytes, BTreeMap<u64, Arc<Marks>>>,
    followers_made: u64,
}

impl ClaimHub {
    /// A hub that nobody waits at.
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

    /// Looks at what a command came to. For the apply path, in order, after the state that holds
    /// it can be read and before it is answered. Never waits; costs a look at an empty list for a
    /// command that has nothing to do with claims.
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

    /// The state was replaced, and nothing was told of what changed: everybody looks.
    pub fn reset(&self) {
        let state = self.state.lock();
        for mailbox in state.waiters.values().flatten() {
            mailbox.lose();
        }
        state.mark_all();
        self.timer_set.notify_one();
    }

    /// The events of a command were left out, and its signals were told: followers look, for values
    /// of claims may have changed. Waiters know all that became of their claims.
    pub fn events_left_out(&self) {
        self.state.lock().mark_all();
    }

    /// Waits for the claims of a lease on these names. To be called before they are proposed.
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

    /// Follows names: who holds them, and the values of their claims.
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

    /// Notes that the claims of a lease on these names are being withdrawn.
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

    /// Resolves when a command has set a timer since the last time.
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

/// The name whose claim was given another value: there is no signal for that.
fn changed_claim(event: &Event) -> Option<Bytes> {
    let changed = event.kind == EventKind::Put && event.kv.lease.is_some() && event.kv.version > 1;
    changed.then(|| claimed_name(&event.kv.key)).flatten()
}

#[cfg(test)]
mod tests;
