//! openraft's state machine: committed entries to the pure machine, outcomes to whoever waits.
//!
//! # Invariants
//! Entries are applied in log order, and how far is written in the same batch as what they did.
//! Outcomes are handed on only after that batch is readable.

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
    shelf::NewestSnapshot,
};
use crate::{
    clock::Clock,
    consensus::{Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig},
    fatal,
    storage::{AdapterRecord, AppliedRecord, Checkpoint, SnapshotDir, StateStore},
    tasks,
};

/// Entries taken at once. Bounds what is held of them after a restart, when the whole tail of the
/// log is ready at once.
const BATCH_ENTRIES_MAX: usize = 64;

/// What the commands of one group came to, for the node that took them.
#[derive(Debug)]
pub struct AppliedGroup {
    /// Which node, in which life.
    pub origin: u64,
    /// Which of its groups.
    pub sequence: u64,
    /// One per command.
    pub outcomes: Vec<Outcome>,
    /// The commands were not applied: the group is too old to tell whether they were before.
    pub is_void: bool,
}

/// How long a batch of entries took.
#[derive(Clone, Copy, Debug)]
pub struct ApplyTimes {
    /// From its first entry until it was readable.
    pub whole: Duration,
    /// Writing it, which is the end of that.
    pub commit: Duration,
    /// Bytes of the commands in the log.
    pub bytes: u64,
}

/// Hears what was applied, in log order, on the task or the thread that applies: must not block.
pub trait ApplyListener: Send + Sync + std::fmt::Debug {
    /// Whether what the commands of this origin are answered with is wanted here.
    fn awaits(&self, origin: u64) -> bool {
        _ = origin;
        true
    }

    /// A batch of entries is applied and readable.
    fn applied(&self, meta: &Meta, groups: Vec<AppliedGroup>, took: ApplyTimes);

    /// The state was replaced by a snapshot's.
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
    /// Takes up the state in `store`.
    ///
    /// # Errors
    /// When what it holds does not decode.
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
            }),
            newest,
        })
    }

    /// Lets entries be applied with gaps between them, as openraft's suite for stores does.
    #[must_use]
    pub fn with_gaps(mut self) -> Self {
        if let Some(applier) = &mut self.applier {
            applier.contiguous = false;
        }
        self
    }

    /// Where snapshots on their way in are put.
    #[must_use]
    pub fn snapshots(&self) -> Arc<SnapshotDir> {
        Arc::clone(&self.snapshots)
    }

    /// The newest snapshot, to be asked for later.
    #[must_use]
    pub fn newest(&self) -> NewestSnapshot {
        self.newest.clone()
    }

    /// Where a member that does not take a snapshot of this one is noted.
    #[must_use]
    pub fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.refusals)
    }

    /// The last entry that the state has applied.
    #[must_use]
    pub fn last_applied(&self) -> Option<LogId> {
        self.applier().record.get().last_applied
    }

    /// Whether member `own` is the only voter, as of that entry.
    #[must_use]
    pub fn is_alone(&self, own: u64) -> bool {
        self.applier().record.get().membership.voter_ids().eq([own])
    }

    /// Where this state's digests are asked for.
    #[must_use]
    pub fn digest_point(&self) -> Arc<DigestPoint> {
        Arc::clone(&self.point)
    }

    /// The state as it is now.
    #[must_use]
    pub fn meta(&self) -> Meta {
        *self.applier().machine.meta()
    }

    fn applier(&self) -> &Applier {
        self.applier
            .as_ref()
            .expect("the state is away only while entries are applied")
    }

    /// Applies entries. What may be long work, or may wait for the disk, moves to a blocking thread
    /// with the state, and back: heartbeats and elections wait on the runtime's thread.
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

/// Makes a snapshot beside the machine, which goes on applying.
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
