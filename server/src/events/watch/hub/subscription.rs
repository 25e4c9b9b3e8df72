//! A stream's side of the hub: its queue, and the watchers that its deliveries match.
//!
//! The hub knows ranges; the subscription knows the watchers that share one. A queued change goes
//! to the watchers that are attached when it is taken, and each of them knows its first revision.
//!
//! Invariant: a group is in the hub's index exactly while it has a watcher.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::{Arc, atomic::Ordering},
};

use tenure_statemachine::{KeyRange, Revision};
use tokio::{runtime::Handle, sync::mpsc, task::yield_now};

use super::{Delivery, GroupKey, Shared, Target, WatchHub, WatcherKey};
use crate::tasks;

/// Groups removed from the index per step when a stream closes or has lost changes: a step takes a
/// fraction of a millisecond and then yields to other tasks.
const GROUPS_REMOVED_AT_ONCE: usize = 512;

/// A stream's side of the hub. Dropping it closes the stream.
pub(crate) struct Subscription {
    hub: Arc<WatchHub>,
    stream: u64,
    queue: mpsc::Receiver<Delivery>,
    shared: Arc<Shared>,
    groups: HashMap<GroupKey, Group>,
    by_range: HashMap<KeyRange, GroupKey>,
    by_watcher: HashMap<WatcherKey, GroupKey>,
    groups_made: GroupKey,
}

/// The watchers of one range.
struct Group {
    range: KeyRange,
    watchers: BTreeSet<WatcherKey>,
}

impl Subscription {
    pub(super) fn new(
        hub: Arc<WatchHub>,
        stream: u64,
        queue: mpsc::Receiver<Delivery>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            hub,
            stream,
            queue,
            shared,
            groups: HashMap::new(),
            by_range: HashMap::new(),
            by_watcher: HashMap::new(),
            groups_made: 0,
        }
    }

    /// Attaches a watcher that has seen every change before `next`. Returns false when later
    /// changes were published already, which it must read from the state first, or while lost
    /// changes are not [`Subscription::surrender`]ed.
    pub(crate) fn attach(&mut self, watcher: WatcherKey, range: &KeyRange, next: Revision) -> bool {
        self.attach_when(watcher, range, |revision| next > revision)
    }

    /// Attaches a watcher that reads the state afterwards: it receives what is not yet published,
    /// and the state has the rest. Returns false while lost changes are not
    /// [`Subscription::surrender`]ed.
    pub(crate) fn attach_now(&mut self, watcher: WatcherKey, range: &KeyRange) -> bool {
        self.attach_when(watcher, range, |_| true)
    }

    fn attach_when(
        &mut self,
        watcher: WatcherKey,
        range: &KeyRange,
        may: impl FnOnce(Revision) -> bool,
    ) -> bool {
        let known = self.by_range.get(range).copied();
        let group = known.unwrap_or(self.groups_made + 1);
        {
            let mut state = self.hub.state.lock();
            if !may(state.revision) || !state.attach(self.stream, group, range) {
                return false;
            }
        }
        if known.is_none() {
            self.groups_made = group;
            self.by_range.insert(range.clone(), group);
        }
        let members = self.groups.entry(group).or_insert_with(|| Group {
            range: range.clone(),
            watchers: BTreeSet::new(),
        });
        members.watchers.insert(watcher);
        self.by_watcher.insert(watcher, group);
        true
    }

    /// Detaches a watcher. It no longer receives changes that are in the queue.
    pub(crate) fn detach(&mut self, watcher: WatcherKey) {
        let Some(key) = self.by_watcher.remove(&watcher) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&key) else {
            return;
        };
        group.watchers.remove(&watcher);
        let is_last = group.watchers.is_empty();
        let mut state = self.hub.state.lock();
        state.detach(self.stream, key, &group.range, is_last);
        drop(state);
        if is_last && let Some(group) = self.groups.remove(&key) {
            self.by_range.remove(&group.range);
        }
    }

    /// The watchers that match a delivery, in the order in which they were created.
    pub(crate) fn watchers_of(&self, delivery: &Delivery) -> Vec<WatcherKey> {
        let groups = delivery
            .groups
            .iter()
            .filter_map(|key| self.groups.get(key));
        let mut watchers: Vec<_> = groups.flat_map(|group| &group.watchers).copied().collect();
        if delivery.groups.len() > 1 {
            watchers.sort_unstable();
        }
        watchers
    }

    /// Detaches every watcher when changes were lost, and returns the first lost revision. Does
    /// nothing while the queue has changes, which are older; [`Subscription::next`] then returns
    /// `None` again.
    pub(crate) fn surrender(&mut self) -> Option<Revision> {
        let mut state = self.hub.state.lock();
        let slot = state.streams.get_mut(&self.stream)?;
        let lost = slot.lost?;
        if !self.queue.is_empty() {
            slot.shared.lost.notify_one();
            return None;
        }
        slot.lost = None;
        slot.attached = 0;
        slot.groups.clear();
        drop(state);
        self.by_range.clear();
        self.by_watcher.clear();
        self.remove_groups();
        Some(lost)
    }

    /// Waits for the next change. Returns `None` when changes were lost and the queue is empty: the
    /// caller must then call [`Subscription::surrender`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: the queue keeps the delivery, and the
    /// notification its permit.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            // The queue first: its changes are older than the lost ones.
            biased;
            // Cancel-safe: an unreceived delivery stays queued.
            delivery = self.queue.recv() => {
                let delivery = delivery.expect("the hub holds the sender until this is dropped");
                Some(self.received(delivery))
            }
            // Cancel-safe: a permit that was not consumed stays.
            () = self.shared.lost.notified() => None,
        }
    }

    /// Takes a queued change, without waiting.
    pub(crate) fn try_next(&mut self) -> Option<Delivery> {
        let delivery = self.queue.try_recv().ok()?;
        Some(self.received(delivery))
    }

    /// The revision up to which all changes were published. Those that this stream received are in
    /// its queue, for [`Subscription::try_next`] to take.
    pub(crate) fn published(&self) -> Revision {
        self.hub.revision()
    }

    /// Whether the stream has lost changes and must call [`Subscription::surrender`].
    pub(crate) fn has_lost(&self) -> bool {
        let state = self.hub.state.lock();
        state
            .streams
            .get(&self.stream)
            .is_some_and(|slot| slot.lost.is_some())
    }

    /// Sets the number of this stream's watchers that read history, for metrics.
    pub(crate) fn set_behind(&self, watchers: usize) {
        self.shared.behind.store(watchers, Ordering::Relaxed);
    }

    /// Bytes queued for this stream.
    #[cfg(test)]
    pub(super) fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes.load(Ordering::Relaxed)
    }

    fn received(&self, delivery: Delivery) -> Delivery {
        self.shared.subtract(delivery.bytes, delivery.share_bytes);
        delivery
    }

    /// Removes all groups from the index. Group keys are never reused, so what a lookup finds of
    /// them meanwhile belongs to no watcher.
    fn remove_groups(&mut self) {
        let groups = mem::take(&mut self.groups);
        let (hub, stream) = (Arc::clone(&self.hub), self.stream);
        if groups.len() <= GROUPS_REMOVED_AT_ONCE || Handle::try_current().is_err() {
            hub.remove_groups(stream, groups.into_iter());
            return;
        }
        tasks::spawn("watch-groups", async move {
            let mut groups = groups.into_iter();
            while groups.len() > 0 {
                hub.remove_groups(stream, groups.by_ref().take(GROUPS_REMOVED_AT_ONCE));
                yield_now().await;
            }
        });
    }
}

impl WatchHub {
    fn remove_groups(&self, stream: u64, groups: impl Iterator<Item = (GroupKey, Group)>) {
        let mut state = self.state.lock();
        for (group, members) in groups {
            let target = Target { stream, group };
            state.index.remove(&members.range, target);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.state.lock().streams.remove(&self.stream);
        self.queue.close();
        while let Some(delivery) = self.try_next() {
            drop(delivery);
        }
        self.remove_groups();
    }
}
