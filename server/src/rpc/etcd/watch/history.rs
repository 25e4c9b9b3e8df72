//! Reads history in bounded steps for the watchers of a stream that are behind.
//!
//! One step scans once for many watchers, and keeps the events that one of them matches. It holds a
//! snapshot only while it runs, and a share of the memory of all streams until its events have been
//! sent; a step that needs more than one share is measured, and read once a share of that size is
//! granted. Invariant: a watcher that a step advanced got every matching event from its position up
//! to the step's end.

use std::{fmt, sync::Arc};

use tenure_proto::mvccpb;
use tenure_statemachine::{
    Event, EventKind, History as Found, HistoryQuery, KeyValue, Meta, ReadError, Reader, Revision,
    RevisionEvents, Wanted,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::watcher::Interest;
use crate::{
    events::{Index, WatcherKey},
    fatal,
    node::Replica,
    rpc::answer::share::{Account, SHARES_BYTES_MAX, STEP_BYTES_MAX, Share},
    tasks,
};

/// Revisions that one step reads; etcd's value.
const STEP_REVISIONS_MAX: usize = 1000;
/// Events of one step for all its watchers together, so that many watchers of one busy prefix
/// cannot multiply a step in memory; the remaining watchers are in the next step.
const STEP_EVENTS_MAX: usize = 65_536;
/// Bytes of rows that one step scans, matching or not, unless one revision has more: some
/// milliseconds of work, after which other streams have their turn.
const STEP_SCANNED_BYTES_MAX: usize = 4 << 20;
/// Size of an event beside the parts it shares with others of its step.
const EVENT_BYTES: usize = size_of::<mvccpb::Event>();
/// The same for an event as read, with its copy for the first watcher.
const EVENT_TOLD_BYTES: usize = EVENT_BYTES + size_of::<Event>();
/// Steps, and snapshots of endpoints, that are read at once on this node: disk work that must leave
/// room for clients' reads.
const STEPS_CONCURRENT_MAX: usize = 4;

/// Reads history on the runtime's blocking threads.
pub(crate) struct History {
    replica: Arc<dyn Replica>,
    permits: Arc<Semaphore>,
    account: Account,
}

/// A watcher that is behind.
#[derive(Debug)]
pub(super) struct Seeker {
    pub(super) watcher: WatcherKey,
    pub(super) interest: Interest,
    pub(super) next: Revision,
}

/// The result of one step.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The end of the step: the last revision it read.
    pub(super) through: Revision,
    /// The watchers that it advanced, each with its events.
    pub(super) advanced: Vec<(WatcherKey, Vec<mvccpb::Event>)>,
    /// The watchers whose history is compacted.
    pub(super) compacted: Vec<WatcherKey>,
    /// The oldest revision that can be read.
    pub(super) floor: Revision,
    /// The latest revision of the store.
    pub(super) latest: Revision,
    /// Size of the events in memory.
    bytes: usize,
    /// Covers `bytes`; held by the responses that are made from the step.
    pub(super) share: Option<Arc<Share>>,
}

impl History {
    pub(crate) fn new(replica: Arc<dyn Replica>) -> Arc<Self> {
        Arc::new(Self {
            replica,
            permits: Arc::new(Semaphore::new(STEPS_CONCURRENT_MAX)),
            account: Account::new(SHARES_BYTES_MAX),
        })
    }

    /// The memory of all streams' responses.
    pub(crate) const fn account(&self) -> &Account {
        &self.account
    }

    /// Waits for a permit to read for a stream of changes.
    pub(crate) async fn permit(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.expect("permits are never closed")
    }

    /// Makes one step for `seekers`, starting at the position of the first. Those whose positions
    /// are within the step are advanced with it, the others stay.
    pub(super) async fn step(self: Arc<Self>, seekers: Vec<Seeker>) -> Step {
        let seekers: Arc<[Seeker]> = seekers.into();
        let (mut bytes_max, mut needed) = (STEP_BYTES_MAX, STEP_BYTES_MAX);
        loop {
            let mut share = self.account.take(needed).await;
            match self.read(Arc::clone(&seekers), bytes_max).await {
                Ok(mut step) if self.account.grow(&mut share, step.bytes) => {
                    step.share = Some(Arc::new(share));
                    return step;
                }
                // Read again once there is memory for it; nothing is held meanwhile.
                Ok(step) => needed = step.bytes,
                Err(TooLarge(bytes)) => (bytes_max, needed) = (bytes, bytes),
            }
        }
    }

    async fn read(&self, seekers: Arc<[Seeker]>, bytes_max: usize) -> Result<Step, TooLarge> {
        let permit = self.permit().await;
        let replica = Arc::clone(&self.replica);
        let step = tasks::spawn_blocking(move || {
            // Also for a stream that is gone.
            let _permit = permit;
            match read(replica.as_ref(), &seekers, bytes_max) {
                Ok(step) => step,
                Err(ReadError::Fault(fault)) => fatal::stop(&fault),
                // Positions from the floor to the latest revision are readable in one snapshot.
                Err(ReadError::Refused(refusal)) => fatal::stop(&refusal),
            }
        });
        step.await.expect("a step neither panics nor is aborted")
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

/// A step that was not made: one revision takes this many bytes.
#[derive(Debug)]
struct TooLarge(usize);

fn read(
    replica: &dyn Replica,
    seekers: &[Seeker],
    bytes_max: usize,
) -> Result<Result<Step, TooLarge>, ReadError> {
    let engine = replica.engine();
    let view = engine.snapshot()?;
    let reader = Reader::new(view.as_ref())?;
    let meta = reader.meta();
    let mut step = Step {
        through: meta.revision,
        floor: meta.floor,
        latest: meta.revision,
        ..Step::default()
    };
    let Some(first) = seekers.first().map(|seeker| seeker.next) else {
        return Ok(Ok(step));
    };
    let from = first.max(meta.floor);
    let mut revisions = Vec::new();
    if from <= meta.revision {
        match look(&reader, seekers, from, bytes_max)? {
            Found::Part {
                revisions: found,
                through,
            } => (revisions, step.through) = (found, through),
            Found::TooLarge(bytes) => return Ok(Err(TooLarge(bytes))),
        }
    }
    let events = revisions.iter().flat_map(|revision| &revision.events);
    step.bytes = events.map(event_bytes).sum();
    share_out(&mut step, seekers, &revisions, from, meta);
    Ok(Ok(step))
}

/// The events that the seekers match from `from` on.
fn look(
    reader: &Reader<'_>,
    seekers: &[Seeker],
    from: Revision,
    bytes_max: usize,
) -> Result<Found, ReadError> {
    let query = HistoryQuery {
        from,
        through: reader.meta().revision,
        revisions_max: STEP_REVISIONS_MAX,
        bytes_max,
        event_bytes: EVENT_TOLD_BYTES,
        scanned_bytes_max: STEP_SCANNED_BYTES_MAX,
    };
    let mut index = Index::default();
    // The other seekers lost history that they need, or are before this step: they are not
    // advanced.
    for seeker in seekers.iter().filter(|seeker| seeker.next >= from) {
        index.insert(&seeker.interest.range, Want::of(seeker));
    }
    let mut found: Vec<Want> = Vec::new();
    reader.history_of(&query, &mut |revision, kind, key| {
        found.clear();
        index.find(key, &mut found);
        let wanted = found.iter().filter(|want| want.next <= revision);
        let wanted = wanted.map(|want| match kind {
            EventKind::Put => want.puts,
            EventKind::Delete => want.deletes,
        });
        wanted.max().unwrap_or(Wanted::Nothing)
    })
}

/// Which changes to the keys of its range a seeker matches.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Want {
    next: Revision,
    puts: Wanted,
    deletes: Wanted,
}

impl Want {
    const fn of(seeker: &Seeker) -> Self {
        Self {
            next: seeker.next,
            puts: seeker.interest.wants(EventKind::Put),
            deletes: seeker.interest.wants(EventKind::Delete),
        }
    }
}

/// Distributes the events that were read to their seekers.
fn share_out(
    step: &mut Step,
    seekers: &[Seeker],
    revisions: &[RevisionEvents],
    from: Revision,
    meta: &Meta,
) {
    let mut budget = STEP_EVENTS_MAX;
    for seeker in seekers {
        if seeker.next < meta.floor {
            step.compacted.push(seeker.watcher);
            continue;
        }
        let ahead = seeker.next > step.through.next() && seeker.next <= meta.revision;
        if seeker.next < from || ahead || budget == 0 {
            continue;
        }
        let events: Vec<_> = revisions
            .iter()
            .filter(|revision| revision.revision >= seeker.next)
            .flat_map(|revision| &revision.events)
            .filter_map(|event| seeker.interest.matching(event, seeker.next))
            .collect();
        budget = budget.saturating_sub(events.len());
        step.bytes += events.len() * EVENT_BYTES;
        step.advanced.push((seeker.watcher, events));
    }
}

fn event_bytes(event: &Event) -> usize {
    let previous = event.previous.as_ref();
    let record = |kv: &KeyValue| kv.key.len() + kv.value.len();
    size_of::<Event>() + record(&event.kv) + previous.map_or(0, record)
}

#[cfg(test)]
mod tests;
