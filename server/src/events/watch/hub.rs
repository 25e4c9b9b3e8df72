//! The watch hub: distributes applied changes to the watch streams whose watchers match them.
//!
//! Keeps no history. A stream that cannot take a change learns the first revision it lost and reads
//! the state from there, so the apply path never blocks and memory stays bounded. The cost of a
//! change depends on the matching streams and ranges, not on the number of watchers: those of one
//! stream with the same range form a *group*, whose members only the stream knows.
//!
//! Invariant: a stream's queue holds, in revision order, every change that its attached watchers
//! match from the revision each was attached at, up to the first revision the stream lost.

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
use tokio::sync::{Notify, mpsc, watch};

pub(crate) use self::subscription::Subscription;
use super::{index::Index, ranges::Ranges};

/// Deliveries queued per stream. Enough for a consumer that is busy for most of a second at ten
/// thousand writes per second; an entry is a few words, the events themselves are shared.
const QUEUE_LEN_MAX: usize = 8192;
/// Bytes of events queued per stream, so that a few large values cannot fill memory through a
/// stream whose client does not read.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Events per delivery. A larger change makes a large response, so the stream reads it from
/// history, within its share of the memory of all streams.
const DELIVERY_EVENTS_MAX: usize = 1000;
/// Bytes per delivery, for the same reason.
const DELIVERY_BYTES_MAX: usize = 256 * 1024;
/// Bytes queued for all streams. Beyond them a stream receives a change only while it holds less
/// than its equal part, so that a few slow clients lose changes and the others do not.
const QUEUES_BYTES_MAX: usize = 256 << 20;
/// Memory of an event beside its key and values.
const EVENT_OVERHEAD_BYTES: usize = 128;
/// Memory of a delivery beside its events.
const DELIVERY_OVERHEAD_BYTES: usize = 128;

/// The watch hub. One per node.
pub struct WatchHub {
    state: Mutex<State>,
    ranges: Arc<Ranges>,
    /// Counts the changes of users and permissions: open streams are checked again then.
    auth_changes: watch::Sender<u64>,
}

/// Numbers of streams, watchers and events, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchHubStats {
    /// Open streams.
    pub streams: usize,
    /// Watchers that receive changes as they are applied.
    pub watchers_live: usize,
    /// Watchers that read history, because they start in the past or fell behind.
    pub watchers_behind: usize,
    /// Deliveries in the queues of all streams.
    pub pending: usize,
    /// Events queued since start, counted once per stream.
    pub events_total: u64,
}

/// The events of one command, as queued for one stream.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The events, shared by all streams. Of one revision, unless one command made several, as the
    /// expiry of many leases does.
    pub(crate) events: Arc<[Event]>,
    /// The groups of the stream's watchers that match some of them.
    groups: Vec<GroupKey>,
    /// Bytes charged to the stream's queue.
    bytes: usize,
    /// Bytes charged to all queues, which share the events.
    share_bytes: usize,
}

/// Identifies a watcher within its stream; never reused, unlike the id that clients see.
pub(crate) type WatcherKey = u64;

/// Identifies the watchers of one range within their stream; never reused.
type GroupKey = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    stream: u64,
    group: GroupKey,
}

#[derive(Default)]
struct State {
    /// Every change up to this revision was published.
    revision: Revision,
    index: Index<Target>,
    streams: HashMap<u64, Slot>,
    streams_opened: u64,
    events_total: u64,
    /// Buffer for the targets of the current change, kept for reuse.
    found: Vec<Target>,
    /// Bytes queued for all streams.
    queued_bytes: Arc<AtomicUsize>,
}

/// The hub's side of a stream.
struct Slot {
    queue: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
    /// The groups that receive changes.
    groups: HashSet<GroupKey>,
    /// Number of watchers in them.
    attached: usize,
    /// The first revision this stream did not receive.
    lost: Option<Revision>,
}

/// Counters and notifications shared by the hub and the stream.
#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    /// Bytes queued for all streams.
    all_queued_bytes: Arc<AtomicUsize>,
    behind: AtomicUsize,
    lost: Notify,
}

impl Delivery {
    /// Memory of the delivery in bytes, events included.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl WatchHub {
    /// Creates a hub for a state whose latest revision is `revision`.
    #[must_use]
    pub fn new(revision: Revision) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                revision,
                ..State::default()
            }),
            ranges: Arc::default(),
            auth_changes: watch::Sender::default(),
        })
    }

    /// Tells open streams that users or permissions changed. Called before any later change of a
    /// key is published.
    pub fn auth_changed(&self) {
        self.auth_changes.send_modify(|changes| *changes += 1);
    }

    /// How many changes of users and permissions there were.
    pub(crate) fn auth_changes_seen(&self) -> u64 {
        *self.auth_changes.borrow()
    }

    /// Sees every change of users and permissions from now on.
    pub(crate) fn auth_changes(&self) -> watch::Receiver<u64> {
        self.auth_changes.subscribe()
    }

    /// Publishes `events` to all streams with matching watchers. `revision` is the latest after
    /// them.
    ///
    /// For the apply path, once per command with events, in revision order, once the new state is
    /// readable and before the command is answered. Never waits for a watcher; without watchers it
    /// costs one uncontended lock.
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

    /// Marks all streams as having lost changes: the state was replaced by one whose latest
    /// revision is `revision`, without events, so every watcher reads history.
    pub fn reset(&self, revision: Revision) {
        let mut state = self.state.lock();
        let first = state.revision.next();
        state.revision = revision;
        for slot in state.streams.values_mut() {
            slot.lose(first);
        }
    }

    /// The revision up to which all changes were published.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.lock().revision
    }

    /// Counts streams, watchers and events.
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

    /// The memory of the key ranges of all watchers.
    pub(crate) const fn ranges(&self) -> &Arc<Ranges> {
        &self.ranges
    }

    /// Opens a stream without watchers.
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
    /// Counts one more watcher of `group`. Returns false, without effect, when the stream has lost
    /// changes.
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

    /// Counts one watcher less, and removes `group` when it was the last member.
    fn detach(&mut self, stream: u64, group: GroupKey, range: &KeyRange, is_last: bool) {
        if let Some(slot) = self.streams.get_mut(&stream) {
            slot.attached = slot.attached.saturating_sub(1);
            if is_last && slot.groups.remove(&group) {
                self.index.remove(range, Target { stream, group });
            }
        }
    }

    /// Queues the events for all streams in `found`, which is sorted, so that the targets of one
    /// stream are adjacent.
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
    /// Queues a delivery, and returns whether the stream took it.
    fn offer(&self, delivery: Delivery, equal_part: usize) -> bool {
        if self.lost.is_some() {
            return false;
        }
        let (bytes, share_bytes) = (delivery.bytes, delivery.share_bytes);
        let (queued, all_queued) = self.shared.add(bytes, share_bytes);
        let now = queued.saturating_add(bytes);
        let within_all =
            all_queued.saturating_add(share_bytes) <= QUEUES_BYTES_MAX || now <= equal_part;
        // An empty queue takes any delivery, as none is large.
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
    /// Charges a delivery, and returns the bytes queued before it: for this stream, and for all.
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
