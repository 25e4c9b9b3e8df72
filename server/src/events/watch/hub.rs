//! The hub: the apply path tells it of every change, it tells the streams that want to know.
//!
//! It keeps no history. A stream that cannot take a change is told from which revision on it lost
//! some, and reads those from the state; so the apply path never waits and memory stays bounded.
//! What it does for a change follows from the streams and the ranges that want it, never from how
//! many watchers of a stream share a range: those are one *group*, and the stream knows them.
//!
//! Invariant: a stream's queue holds, in revision order, every change its attached watchers want
//! from the revision each was attached at, up to the revision the stream is said to have lost.

mod subscription;

use std::{
    collections::{HashMap, HashSet},
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tenure_statemachine::{Event, KeyRange, Revision};
use tokio::sync::{Notify, mpsc};

pub(crate) use self::subscription::Subscription;
use super::{index::Index, ranges::Ranges};

/// Changes that may wait for one stream. Enough for a burst of a second at ten thousand writes per
/// second to find a busy consumer again; an entry is a few words, the events themselves are shared.
const QUEUE_LEN_MAX: usize = 8192;
/// Bytes of events that may wait for one stream, so that few large values cannot fill memory
/// through a stream whose client does not read.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Events of one delivery, and their bytes: what a stream makes of more is no small response, and
/// it reads them from history instead, under a share of what all streams may hold.
const DELIVERY_EVENTS_MAX: usize = 1000;
/// As above.
const DELIVERY_BYTES_MAX: usize = 256 * 1024;
/// Bytes that may wait for all streams together. Beyond them a stream is given a change only while
/// it holds less than its equal part, so that what few slow clients leave unread costs them and not
/// the others.
const QUEUES_BYTES_MAX: usize = 256 << 20;
/// What an event costs beside its key and values.
const EVENT_OVERHEAD_BYTES: usize = 128;
/// What a delivery costs beside its events.
const DELIVERY_OVERHEAD_BYTES: usize = 128;

/// The hub. One per node.
pub struct WatchHub {
    state: Mutex<State>,
    ranges: Arc<Ranges>,
}

/// How much is being watched, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchHubStats {
    /// Open streams.
    pub streams: usize,
    /// Watchers that get changes as they happen.
    pub watchers_live: usize,
    /// Watchers that read history, because they start in the past or could not keep up.
    pub watchers_behind: usize,
    /// Changes that wait in the queues of streams.
    pub pending: usize,
    /// Events handed to streams since start.
    pub events_total: u64,
}

/// A change as it is told to one stream.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The changes, shared by everyone who is told of them. Of one revision, unless one command
    /// made several, as the end of many leases does.
    pub(crate) events: Arc<[Event]>,
    /// Which groups of the stream's watchers want some of them.
    groups: Vec<GroupKey>,
    /// What it adds to the stream's queue.
    bytes: usize,
    /// What it adds to all queues: the events are shared by everyone who is told of them.
    share_bytes: usize,
}

/// Names a watcher within its stream; never used twice, unlike the id that clients see.
pub(crate) type WatcherKey = u64;

/// Names the watchers of one range within their stream; never used twice.
type GroupKey = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    stream: u64,
    group: GroupKey,
}

#[derive(Default)]
struct State {
    /// Everything up to here was published.
    revision: Revision,
    index: Index<Target>,
    streams: HashMap<u64, Slot>,
    streams_opened: u64,
    events_total: u64,
    /// Kept to be used again: the targets of the change at hand.
    found: Vec<Target>,
    /// What waits for all streams.
    queued_bytes: Arc<AtomicUsize>,
}

/// The hub's side of a stream.
struct Slot {
    queue: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
    /// The groups that are told of changes.
    groups: HashSet<GroupKey>,
    /// How many watchers are in them.
    attached: usize,
    /// The first revision this stream was not told of.
    lost: Option<Revision>,
}

/// What both sides of a stream look at.
#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    /// Of all streams.
    all_queued_bytes: Arc<AtomicUsize>,
    behind: AtomicUsize,
    lost: Notify,
}

impl Delivery {
    /// What it takes in memory, events included.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl WatchHub {
    /// A hub for a state whose latest revision is `revision`.
    #[must_use]
    pub fn new(revision: Revision) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                revision,
                ..State::default()
            }),
            ranges: Arc::default(),
        })
    }

    /// Tells everyone who wants to know that `events` happened. `revision` is the latest revision
    /// after them.
    ///
    /// For the apply path, once per command with events, in the order of revisions, after the state
    /// that holds them can be read and before the command is answered. Never waits for a watcher;
    /// without watchers it costs one uncontended lock.
    pub fn publish(&self, revision: Revision, events: Vec<Event>) {
        let Some(first) = events.first().map(|event| event.kv.mod_revision) else {
            return;
        };
        let mut state = self.state.lock();
        state.revision = state.revision.max(revision);
        if state.streams.is_empty() {
            return;
        }
        let mut found = mem::take(&mut state.found);
        for event in &events {
            state.index.find(&event.kv.key, &mut found);
        }
        if !found.is_empty() {
            found.sort_unstable();
            found.dedup();
            state.deliver(first, events, &found);
            found.clear();
        }
        state.found = found;
    }

    /// The state was replaced by one whose latest revision is `revision`, and no events were
    /// published for what changed: everyone reads history.
    pub fn reset(&self, revision: Revision) {
        let mut state = self.state.lock();
        let first = state.revision.next();
        state.revision = revision;
        for slot in state.streams.values_mut() {
            slot.lose(first);
        }
    }

    /// The revision up to which everything was published.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.lock().revision
    }

    /// How much is being watched.
    #[must_use]
    pub fn stats(&self) -> WatchHubStats {
        let state = self.state.lock();
        let mut stats = WatchHubStats {
            streams: state.streams.len(),
            events_total: state.events_total,
            ..WatchHubStats::default()
        };
        for slot in state.streams.values() {
            let attached = slot.attached;
            stats.pending += QUEUE_LEN_MAX - slot.queue.capacity();
            stats.watchers_behind += slot.shared.behind.load(Ordering::Relaxed);
            if slot.lost.is_some() {
                stats.watchers_behind += attached;
            } else {
                stats.watchers_live += attached;
            }
        }
        stats
    }

    /// What the key ranges of all watchers take.
    pub(crate) const fn ranges(&self) -> &Arc<Ranges> {
        &self.ranges
    }

    /// Opens a stream.
    pub(crate) fn open(self: &Arc<Self>) -> Subscription {
        let (sender, queue) = mpsc::channel(QUEUE_LEN_MAX);
        let mut state = self.state.lock();
        let shared = Arc::new(Shared {
            all_queued_bytes: Arc::clone(&state.queued_bytes),
            ..Shared::default()
        });
        state.streams_opened += 1;
        let stream = state.streams_opened;
        let slot = Slot {
            queue: sender,
            shared: Arc::clone(&shared),
            groups: HashSet::new(),
            attached: 0,
            lost: None,
        };
        state.streams.insert(stream, slot);
        drop(state);
        Subscription::new(Arc::clone(self), stream, queue, shared)
    }
}

impl fmt::Debug for WatchHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchHub")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Counts one more watcher of `group`, and whether that was done: not while its stream has
    /// lost changes.
    fn attach(&mut self, stream: u64, group: GroupKey, range: &KeyRange) -> bool {
        let slot = self.streams.get_mut(&stream);
        let Some(slot) = slot.filter(|slot| slot.lost.is_none()) else {
            return false;
        };
        slot.attached += 1;
        if slot.groups.insert(group) {
            self.index.insert(range, Target { stream, group });
        }
        true
    }

    /// Counts one watcher less, and forgets `group` when it was the last of it.
    fn detach(&mut self, stream: u64, group: GroupKey, range: &KeyRange, is_last: bool) {
        if let Some(slot) = self.streams.get_mut(&stream) {
            slot.attached = slot.attached.saturating_sub(1);
            if is_last && slot.groups.remove(&group) {
                self.index.remove(range, Target { stream, group });
            }
        }
    }

    /// `found` is sorted, so the targets of one stream are neighbours.
    fn deliver(&mut self, first: Revision, events: Vec<Event>, found: &[Target]) {
        let event_bytes: usize = events.iter().map(event_bytes).sum();
        if events.len() > DELIVERY_EVENTS_MAX || event_bytes > DELIVERY_BYTES_MAX {
            for target in found {
                if let Some(slot) = self.streams.get_mut(&target.stream) {
                    slot.lose(first);
                }
            }
            return;
        }
        let events: Arc<[Event]> = events.into();
        let told = found.chunk_by(|left, right| left.stream == right.stream);
        let told = told.count().max(1);
        let equal_part = QUEUES_BYTES_MAX / self.streams.len().max(1);
        for targets in found.chunk_by(|left, right| left.stream == right.stream) {
            let stream = targets.first().map(|target| target.stream);
            let Some(slot) = stream.and_then(|stream| self.streams.get_mut(&stream)) else {
                continue;
            };
            let groups: Vec<GroupKey> = targets.iter().map(|target| target.group).collect();
            let own_bytes = DELIVERY_OVERHEAD_BYTES + size_of_val(groups.as_slice());
            let delivery = Delivery {
                events: Arc::clone(&events),
                groups,
                bytes: own_bytes + event_bytes,
                share_bytes: own_bytes + event_bytes / told,
            };
            if slot.offer(delivery, equal_part) {
                self.events_total += events.len() as u64;
            } else {
                slot.lose(first);
            }
        }
    }
}

impl Slot {
    /// Whether the stream took it.
    fn offer(&self, delivery: Delivery, equal_part: usize) -> bool {
        if self.lost.is_some() {
            return false;
        }
        let (bytes, share_bytes) = (delivery.bytes, delivery.share_bytes);
        let (queued, all_queued) = self.shared.add(bytes, share_bytes);
        let now = queued.saturating_add(bytes);
        let within_all =
            all_queued.saturating_add(share_bytes) <= QUEUES_BYTES_MAX || now <= equal_part;
        // One delivery always fits, as none is large.
        let fits = queued == 0 || (now <= QUEUE_BYTES_MAX && within_all);
        let taken = fits && self.queue.try_send(delivery).is_ok();
        if !taken {
            self.shared.subtract(bytes, share_bytes);
        }
        taken
    }

    fn lose(&mut self, first: Revision) {
        if self.lost.is_none() && self.attached > 0 {
            self.lost = Some(first);
            self.shared.lost.notify_one();
        }
    }
}

impl Shared {
    /// Counts what is about to wait; what waited before, for this stream and for all.
    fn add(&self, bytes: usize, share_bytes: usize) -> (usize, usize) {
        let all = &self.all_queued_bytes;
        (
            self.queued_bytes.fetch_add(bytes, Ordering::AcqRel),
            all.fetch_add(share_bytes, Ordering::AcqRel),
        )
    }

    fn subtract(&self, bytes: usize, share_bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        let all = &self.all_queued_bytes;
        all.fetch_sub(share_bytes, Ordering::AcqRel);
    }
}

fn event_bytes(event: &Event) -> usize {
    let previous = event
        .previous
        .as_ref()
        .map_or(0, |kv| kv.key.len() + kv.value.len());
    EVENT_OVERHEAD_BYTES + event.kv.key.len() + event.kv.value.len() + previous
}

#[cfg(test)]
mod tests;
