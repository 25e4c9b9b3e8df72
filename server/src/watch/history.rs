//! Reads history for the watchers of a stream that the hub does not tell, in bounded steps.
//!
//! One step scans once for many watchers. It holds a snapshot only while it runs, and a share of
//! what all streams may hold until what it read has left. Invariant: a watcher that a step advanced
//! was given every event it wants from its position up to the step's end.

use std::{fmt, sync::Arc};

use tenure_proto::mvccpb;
use tenure_statemachine::{Event, KeyValue, ReadError, Reader, Refusal, Revision};
use tokio::sync::Semaphore;

use super::{
    hub::WatcherKey,
    share::{Account, SHARES_BYTES_MAX, STEP_BYTES_MAX, Share},
    watcher::Interest,
};
use crate::{fatal, rpc::backend::Backend, tasks};

/// Revisions that one step reads; etcd's own measure.
const STEP_REVISIONS_MAX: usize = 1000;
/// Events that one step hands to all its watchers together, so that many watchers of one busy
/// prefix cannot multiply a step into memory; who does not fit has the next step.
const STEP_EVENTS_MAX: usize = 65_536;
/// What an event costs beside what it shares with others of its step.
const EVENT_BYTES: usize = size_of::<mvccpb::Event>();
/// Steps that read at once on this node: reading history is disk work that must leave room for
/// the reads of clients.
const STEPS_CONCURRENT_MAX: usize = 4;

/// Reads history on the runtime's blocking threads.
pub(crate) struct History {
    backend: Arc<dyn Backend>,
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

/// What one step came to.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The end of the step: the last revision it read.
    pub(super) through: Revision,
    /// The watchers it advanced, each with its events.
    pub(super) advanced: Vec<(WatcherKey, Vec<mvccpb::Event>)>,
    /// The watchers whose history is gone.
    pub(super) compacted: Vec<WatcherKey>,
    /// The oldest revision that can be read.
    pub(super) floor: Revision,
    /// The latest revision of the store.
    pub(super) latest: Revision,
    /// What the events take in memory.
    bytes: usize,
    /// Covers that; for what is told of the step to hold.
    pub(super) share: Option<Arc<Share>>,
}

impl History {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self {
            backend,
            permits: Arc::new(Semaphore::new(STEPS_CONCURRENT_MAX)),
            account: Account::new(SHARES_BYTES_MAX),
        })
    }

    /// What all streams may hold of what they read.
    pub(super) const fn account(&self) -> &Account {
        &self.account
    }

    /// Makes one step for `seekers`, beginning where the first of them stands. Those that stand
    /// within the step are advanced with it, the others stay.
    pub(super) async fn step(self: Arc<Self>, seekers: Vec<Seeker>) -> Step {
        let seekers: Arc<[Seeker]> = seekers.into();
        let mut share = self.account.take(STEP_BYTES_MAX).await;
        loop {
            let mut step = self.read(Arc::clone(&seekers)).await;
            if self.account.grow(&mut share, step.bytes) {
                step.share = Some(Arc::new(share));
                return step;
            }
            // One large revision. It is read again once there is memory for it.
            let needed = step.bytes;
            drop((step, share));
            share = self.account.take(needed).await;
        }
    }

    async fn read(&self, seekers: Arc<[Seeker]>) -> Step {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let backend = Arc::clone(&self.backend);
        let step = tasks::spawn_blocking(move || {
            // Also of a stream that has gone meanwhile.
            let _permit = permit;
            match read(backend.as_ref(), &seekers) {
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

fn read(backend: &dyn Backend, seekers: &[Seeker]) -> Result<Step, ReadError> {
    let engine = backend.engine();
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
        return Ok(step);
    };
    let from = first.max(meta.floor);
    let mut events = Vec::new();
    if from <= meta.revision {
        let read = reader.history(from, meta.revision, STEP_REVISIONS_MAX, STEP_BYTES_MAX);
        let revisions = match read {
            Ok(revisions) => revisions,
            Err(ReadError::Refused(Refusal::FutureRevision { .. })) => Vec::new(),
            Err(error) => return Err(error),
        };
        if let Some(last) = revisions.last() {
            // Every revision has events, so what follows the last was cut off, or is not there.
            step.through = last.revision;
        }
        events = revisions;
    }
    let read = events.iter().flat_map(|revision| &revision.events);
    step.bytes = read.map(event_bytes).sum();
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
        let told: Vec<_> = events
            .iter()
            .filter(|revision| revision.revision >= seeker.next)
            .flat_map(|revision| &revision.events)
            .filter_map(|event| seeker.interest.tell(event, seeker.next))
            .collect();
        budget = budget.saturating_sub(told.len());
        step.bytes += told.len() * EVENT_BYTES;
        step.advanced.push((seeker.watcher, told));
    }
    Ok(step)
}

fn event_bytes(event: &Event) -> usize {
    let previous = event.previous.as_ref();
    let record = |kv: &KeyValue| kv.key.len() + kv.value.len();
    EVENT_BYTES + record(&event.kv) + previous.map_or(0, record)
}
