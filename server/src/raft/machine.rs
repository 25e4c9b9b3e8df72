//! openraft's state machine: applies committed entries to the pure machine and reports outcomes.
//!
//! # Invariants
//! Entries are applied in log order, and the position is written in the same batch as their
//! effects. Outcomes are reported only after that batch is readable.

use std::{io, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
    type_config::alias::SnapshotOf,
};
use tenure_statemachine::{Fault, Meta, Outcome, StateMachine, engine::Engine};

use super::{
    applier::{self, Applier},
    digest_point::DigestPoint,
    refusals::Refusals,
    removed_members::RemovedMembers,
    shelf::NewestSnapshot,
};
use crate::{
    clock::Clock,
    consensus::{Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig},
    fatal,
    storage::{AdapterRecord, AppliedRecord, Checkpoint, SnapshotDir, StateStore},
    tasks,
};

/// Most entries taken at once. Bounds memory after a restart, when the log's whole tail is ready.
const BATCH_ENTRIES_MAX: usize = 64;

/// The outcomes of one group, for the node that received its commands.
#[derive(Debug)]
pub struct AppliedGroup {
    /// Identifies the node that took the group, and that node's life.
    pub origin: u64,
    /// The number of the group at its origin.
    pub sequence: u64,
    /// One outcome per command.
    pub outcomes: Vec<Outcome>,
    /// Whether the group was skipped: too old to tell whether it was applied before.
    pub is_void: bool,
}

/// Duration and size of a batch of entries.
#[derive(Clone, Copy, Debug)]
pub struct ApplyTimes {
    /// From the start of its first entry until it was readable.
    pub whole: Duration,
    /// The write of the batch, the last part of `whole`.
    pub commit: Duration,
    /// Bytes of the commands in the log.
    pub bytes: u64,
}

/// Receives applied entries in log order, on the applying task or thread. Must not block.
pub trait ApplyListener: Send + Sync + std::fmt::Debug {
    /// Whether this node needs the full outcomes of commands from this origin.
    fn awaits(&self, origin: u64) -> bool {
        _ = origin;
        true
    }

    /// Called when a batch of entries is applied and readable.
    fn applied(&self, meta: &Meta, groups: Vec<AppliedGroup>, took: ApplyTimes);

    /// Called when a snapshot has replaced the state.
    fn restored(&self, meta: &Meta);
}

/// The state machine of a node, as openraft drives it.
#[derive(Debug)]
pub struct Machine {
    store: Arc<StateStore>,
    snapshots: Arc<SnapshotDir>,
    /// `None` while it applies entries.
    applier: Option<Applier>,
    newest: NewestSnapshot,
    point: Arc<DigestPoint>,
    refusals: Arc<Refusals>,
}

impl Machine {
    /// Opens the state in `store`.
    ///
    /// # Errors
    /// When its content does not decode.
    pub fn open(
        store: Arc<StateStore>,
        snapshots: SnapshotDir,
        newest: Option<(AdapterRecord, Checkpoint)>,
        listener: Arc<dyn ApplyListener>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let engine: Arc<dyn Engine> = store.engine();
        let record = read_record(&*engine)?;
        let machine = StateMachine::open(engine)?;
        let newest = NewestSnapshot::new(newest);
        let snapshots = Arc::new(snapshots);
        let refusals = Refusals::new(Arc::clone(&store), Arc::clone(&snapshots));
        Ok(Self {
            point: Arc::new(DigestPoint::new(Arc::clone(&store))),
            refusals: Arc::new(refusals),
            store,
            snapshots,
            applier: Some(Applier {
                machine,
                record: AppliedRecord::new(record),
                listener,
                clock,
                contiguous: true,
                removed: None,
            }),
            newest,
        })
    }

    /// Allows gaps between applied entries, as in openraft's test suite for stores.
    #[must_use]
    pub fn with_gaps(mut self) -> Self {
        if let Some(applier) = &mut self.applier {
            applier.contiguous = false;
        }
        self
    }

    /// Keeps `removed` current.
    #[must_use]
    pub fn with_removed(mut self, removed: Arc<RemovedMembers>) -> Self {
        if let Some(applier) = &mut self.applier {
            removed.set(&applier.record.get().removed);
            applier.removed = Some(removed);
        }
        self
    }

    /// The directory of snapshots, including those being received.
    #[must_use]
    pub fn snapshots(&self) -> Arc<SnapshotDir> {
        Arc::clone(&self.snapshots)
    }

    /// The handle to the newest snapshot, which follows later ones.
    #[must_use]
    pub fn newest(&self) -> NewestSnapshot {
        self.newest.clone()
    }

    /// The record of members that refused a snapshot of this one.
    #[must_use]
    pub fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.refusals)
    }

    /// The last entry that the state has applied.
    #[must_use]
    pub fn last_applied(&self) -> Option<LogId> {
        self.applier().record.get().last_applied
    }

    /// Whether member `own` is the only voter, as of the last applied entry.
    #[must_use]
    pub fn is_alone(&self, own: u64) -> bool {
        self.applier().record.get().membership.voter_ids().eq([own])
    }

    /// The entry point for requests for digests of this state.
    #[must_use]
    pub fn digest_point(&self) -> Arc<DigestPoint> {
        Arc::clone(&self.point)
    }

    /// The counters of the current state.
    #[must_use]
    pub fn meta(&self) -> Meta {
        *self.applier().machine.meta()
    }

    fn applier(&self) -> &Applier {
        self.applier
            .as_ref()
            .expect("the state is away only while entries are applied")
    }

    /// Applies entries. Work that may be long, or may wait for the disk, moves to a blocking thread
    /// together with the state, because heartbeats and elections share the runtime's thread.
    async fn apply_entries(&mut self, entries: Vec<Entry>) -> Result<(), Fault> {
        let mut applier = self
            .applier
            .take()
            .expect("the state is away only while entries are applied");
        let decoded = if applier::is_small(&entries) && !self.store.engine().may_stall() {
            let work = applier::decode(entries)?;
            if applier.is_light(&work)? {
                applier.apply(work)?;
                self.applier = Some(applier);
                return Ok(());
            }
            Ok(work)
        } else {
            Err(entries)
        };
        let work = tasks::spawn_blocking(move || {
            let work = decoded.or_else(applier::decode)?;
            applier.apply(work)?;
            Ok::<_, Fault>(applier)
        });
        let applied = work.await.expect("work neither panics nor is aborted");
        self.applier = Some(applied?);
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let record = self.applier().record.get();
        Ok((record.last_applied, record.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut entries = entries.ready_chunks(BATCH_ENTRIES_MAX);
        while let Some(chunk) = entries.next().await {
            let mut responders = Vec::new();
            let mut batch = Vec::with_capacity(chunk.len());
            for item in chunk {
                let (entry, responder) = item?;
                responders.extend(responder);
                batch.push(entry);
            }
            let mut rest = batch;
            while !rest.is_empty() {
                let applied = self.meta().applied_index;
                let after = rest.split_off(self.point.cut(applied, rest.len()));
                self.apply_entries(rest)
                    .await
                    .unwrap_or_else(|fault| fatal::stop(&fault));
                self.point.reached(self.meta().applied_index).await;
                rest = after;
            }
            for responder in responders {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            store: Arc::clone(&self.store),
            snapshots: Arc::clone(&self.snapshots),
            newest: self.newest.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Checkpoint) -> io::Result<()> {
        let (store, snapshots) = (Arc::clone(&self.store), Arc::clone(&self.snapshots));
        let work = tasks::spawn_blocking(move || {
            let engine = store.install(&data)?;
            let built = snapshots.build(&engine)?;
            Ok::<_, Fault>((engine, built))
        });
        let (engine, built) = work
            .await
            .map_err(io::Error::other)?
            .unwrap_or_else(|fault| fatal::stop(&fault));
        if built.0.last_applied != meta.last_log_id {
            let what = "the snapshot's content does not match its head".to_owned();
            fatal::stop(&Fault::Damaged(what));
        }
        let applier = self
            .applier
            .as_mut()
            .expect("the state is away only while entries are applied");
        applier.record = AppliedRecord::new(built.0.clone());
        if let Some(removed) = &applier.removed {
            removed.set(&built.0.removed);
        }
        applier.machine = StateMachine::open(engine).unwrap_or_else(|fault| fatal::stop(&fault));
        self.newest.replace(built);
        applier.listener.restored(applier.machine.meta());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, Checkpoint>>> {
        Ok(self.newest.to_send().map(snapshot))
    }
}

/// Builds a snapshot while the machine continues to apply.
#[derive(Debug)]
pub struct Builder {
    store: Arc<StateStore>,
    snapshots: Arc<SnapshotDir>,
    newest: NewestSnapshot,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Checkpoint>> {
        let (store, snapshots) = (Arc::clone(&self.store), Arc::clone(&self.snapshots));
        let built = tasks::spawn_blocking(move || snapshots.build(&store.engine()))
            .await
            .map_err(io::Error::other)?
            .unwrap_or_else(|fault| fatal::stop(&fault));
        self.newest.replace(built.clone());
        Ok(snapshot(built))
    }
}

fn snapshot((record, data): (AdapterRecord, Checkpoint)) -> SnapshotOf<TypeConfig, Checkpoint> {
    let meta = SnapshotMeta {
        last_log_id: record.last_applied,
        last_membership: record.membership,
    };
    SnapshotOf::<TypeConfig, Checkpoint> {
        meta,
        snapshot: data,
    }
}

fn read_record(engine: &dyn Engine) -> Result<AdapterRecord, Fault> {
    let view = engine.snapshot()?;
    match tenure_statemachine::Reader::new(&*view)?.adapter_record()? {
        Some(bytes) => AdapterRecord::decode(&bytes),
        None => Ok(AdapterRecord::default()),
    }
}
