//! The hub: the apply path tells it of every change, it tells the streams that want to know.
//!
//! It keeps no history. A stream that cannot take a change is told from which revision on it lost
//! some, and reads those from the state; so the apply path never waits and memory stays bounded.
//!
//! Invariant: a stream's queue holds, in revision order, every change its attached watchers want
//! from the revision each was attached at, up to the revision the stream is said to have lost.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tenure_statemachine::{Event, KeyRange, Revision};
use tokio::sync::{Notify, mpsc};

use super::index::Index;

/// Changes that may wait for one stream. Enough for a burst of a second at ten thousand writes per
/// second to find a busy consumer again; an entry is a few words, the events themselves are shared.
const QUEUE_LEN_MAX: usize = 8192;
/// Bytes of events that may wait for one stream, so that few large values cannot fill memory
/// through a stream whose client does not read.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// What an event costs beside its key and values.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// The hub. One per node.
pub struct Hub {
    state: Mutex<State>,
}

/// How much is being watched, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
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
    /// Which of the stream's watchers want some of them.
    pub(super) watchers: Vec<WatcherKey>,
    bytes: usize,
}

/// Names a watcher within its stream; never used twice, unlike the id that clients see.
pub(crate) type WatcherKey = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    stream: u64,
    watcher: WatcherKey,
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
}

/// The hub's side of a stream.
struct Slot {
    queue: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
    attached: HashMap<WatcherKey, KeyRange>,
    /// The first revision this stream was not told of.
    lost: Option<Revision>,
}

/// What both sides of a stream look at.
#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    behind: AtomicUsize,
    lost: Notify,
}

impl Hub {
    /// A hub for a state whose latest revision is `revision`.
    #[must_use]
    pub fn new(revision: Revision) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                revision,
                ..State::default()
            }),
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
    pub fn stats(&self) -> HubStats {
        let state = self.state.lock();
        let mut stats = HubStats {
            streams: state.streams.len(),
            events_total: state.events_total,
            ..HubStats::default()
        };
        for slot in state.streams.values() {
            let attached = slot.attached.len();
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

    /// Opens a stream.
    pub(crate) fn open(self: &Arc<Self>) -> Subscription {
        let (sender, queue) = mpsc::channel(QUEUE_LEN_MAX);
        let shared = Arc::<Shared>::default();
        let mut state = self.state.lock();
        state.streams_opened += 1;
        let stream = state.streams_opened;
        let slot = Slot {
            queue: sender,
            shared: Arc::clone(&shared),
            attached: HashMap::new(),
            lost: None,
        };
        state.streams.insert(stream, slot);
        drop(state);
        Subscription {
            hub: Arc::clone(self),
            stream,
            queue,
            shared,
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Whether the watcher was attached: not while its stream has lost changes.
    fn attach(&mut self, stream: u64, watcher: WatcherKey, range: &KeyRange) -> bool {
        let slot = self.streams.get_mut(&stream);
        let Some(slot) = slot.filter(|slot| slot.lost.is_none()) else {
            return false;
        };
        slot.attached.insert(watcher, range.clone());
        self.index.insert(range, Target { stream, watcher });
        true
    }

    /// `found` is sorted, so the targets of one stream are neighbours.
    fn deliver(&mut self, first: Revision, events: Vec<Event>, found: &[Target]) {
        let bytes = events.iter().map(event_bytes).sum();
        let events: Arc<[Event]> = events.into();
        for targets in found.chunk_by(|left, right| left.stream == right.stream) {
            let stream = targets.first().map(|target| target.stream);
            let Some(slot) = stream.and_then(|stream| self.streams.get_mut(&stream)) else {
                continue;
            };
            let watchers = targets.iter().map(|target| target.watcher).collect();
            let delivery = Delivery {
                events: Arc::clone(&events),
                watchers,
                bytes,
            };
            if slot.offer(delivery) {
                self.events_total += events.len() as u64;
            } else {
                slot.lose(first);
            }
        }
    }
}

impl Slot {
    /// Whether the stream took it.
    fn offer(&self, delivery: Delivery) -> bool {
        if self.lost.is_some() {
            return false;
        }
        let bytes = delivery.bytes;
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        // One delivery always fits, or a change larger than the bound could never be told.
        let fits = queued == 0 || queued.saturating_add(bytes) <= QUEUE_BYTES_MAX;
        let taken = fits && self.queue.try_send(delivery).is_ok();
        if !taken {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        taken
    }

    fn lose(&mut self, first: Revision) {
        if self.lost.is_none() && !self.attached.is_empty() {
            self.lost = Some(first);
            self.shared.lost.notify_one();
        }
    }
}

/// A stream's side of the hub. Dropping it closes the stream.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    stream: u64,
    queue: mpsc::Receiver<Delivery>,
    shared: Arc<Shared>,
}

impl Subscription {
    /// Attaches a watcher that has seen everything before `next`, unless changes it has not seen
    /// were published already; those are in the state and must be read first.
    pub(super) fn attach(&self, watcher: WatcherKey, range: &KeyRange, next: Revision) -> bool {
        let mut state = self.hub.state.lock();
        next > state.revision && state.attach(self.stream, watcher, range)
    }

    /// Attaches a watcher that reads the state afterwards: it is told of everything that is not
    /// yet published, and what is published can be read. Whether it was, which is unless changes
    /// were lost that are not [`Subscription::surrender`]ed.
    pub(crate) fn attach_now(&self, watcher: WatcherKey, range: &KeyRange) -> bool {
        self.hub.state.lock().attach(self.stream, watcher, range)
    }

    /// Detaches a watcher. Changes that wait in the queue may still name it.
    pub(super) fn detach(&self, watcher: WatcherKey) {
        let mut state = self.hub.state.lock();
        let Some(slot) = state.streams.get_mut(&self.stream) else {
            return;
        };
        if let Some(range) = slot.attached.remove(&watcher) {
            state.index.remove(
                &range,
                Target {
                    stream: self.stream,
                    watcher,
                },
            );
        }
    }

    /// When changes were lost: detaches every watcher and says from which revision on. Not while
    /// changes wait in the queue, for those are older; [`Subscription::next`] reminds once more.
    pub(crate) fn surrender(&self) -> Option<Revision> {
        let mut state = self.hub.state.lock();
        let slot = state.streams.get_mut(&self.stream)?;
        let lost = slot.lost?;
        if !self.queue.is_empty() {
            slot.shared.lost.notify_one();
            return None;
        }
        slot.lost = None;
        for (watcher, range) in mem::take(&mut slot.attached) {
            state.index.remove(
                &range,
                Target {
                    stream: self.stream,
                    watcher,
                },
            );
        }
        Some(lost)
    }

    /// The next change, or `None` when some were lost and nothing waits any more: the caller must
    /// then [`Subscription::surrender`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: both the queue and the notification keep what
    /// was not taken.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            // The queue first: what waits there is older than what was lost.
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

    /// A change that waits already.
    pub(crate) fn try_next(&mut self) -> Option<Delivery> {
        let delivery = self.queue.try_recv().ok()?;
        Some(self.received(delivery))
    }

    /// The revision up to which everything was published. All of it that this stream was told of
    /// waits in the queue, and [`Subscription::try_next`] gives it.
    pub(crate) fn published(&self) -> Revision {
        self.hub.revision()
    }

    /// Whether the stream is to [`Subscription::surrender`].
    pub(crate) fn has_lost(&self) -> bool {
        let state = self.hub.state.lock();
        state
            .streams
            .get(&self.stream)
            .is_some_and(|slot| slot.lost.is_some())
    }

    /// Tells how many watchers of this stream read history.
    pub(super) fn set_behind(&self, watchers: usize) {
        self.shared.behind.store(watchers, Ordering::Relaxed);
    }

    fn received(&self, delivery: Delivery) -> Delivery {
        self.shared
            .queued_bytes
            .fetch_sub(delivery.bytes, Ordering::AcqRel);
        delivery
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.state.lock();
        let Some(slot) = state.streams.remove(&self.stream) else {
            return;
        };
        for (watcher, range) in slot.attached {
            state.index.remove(
                &range,
                Target {
                    stream: self.stream,
                    watcher,
                },
            );
        }
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
