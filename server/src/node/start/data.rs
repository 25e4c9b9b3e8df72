//! Opens a data directory: log, state, snapshots, and the records of the other members.

use std::{sync::Arc, time::Duration};

use openraft::storage::RaftLogStorage;
use tenure_statemachine::{Fault, Meta, StateMachine};

use super::{Environment, NodeConfig, StartError};
use crate::{
    node::{agreement, recovery},
    raft::{ApplyListener, Machine, Peers, Roster},
    storage::{
        AdapterRecord, Checkpoint, DataDir, KnownPeers, LogOwner, LogStore, Owner, SnapshotDir,
        StallLimits, StateStore, open_log,
    },
};

/// The opened data directory. A damaged state was replaced.
pub(super) struct Data {
    pub(super) log: LogStore,
    pub(super) roster: Arc<Roster>,
    pub(super) peers: Arc<Peers>,
    pub(super) store: Arc<StateStore>,
    snapshots: SnapshotDir,
    newest: Option<(AdapterRecord, Checkpoint)>,
}

impl Data {
    pub(super) async fn open(
        config: &NodeConfig,
        dir: &DataDir,
        environment: &Environment,
    ) -> Result<Self, StartError> {
        let log = open_log_store(config, dir, environment)?;
        let found = recovery::open(dir)?;
        let applied_index = match &found {
            Some(store) => meta_of(store)?.applied_index,
            None => 0,
        };
        let roster = open_roster(config, dir, log.clone(), applied_index).await?;
        let peers = Peers::new(Arc::clone(&environment.transport), Arc::clone(&roster));
        let peers = Arc::new(peers.measured(&environment.metrics.network));
        let (store, (snapshots, newest)) = match found {
            Some(store) => (store, SnapshotDir::open(&dir.snapshots())?),
            None => {
                let recovery = &environment.recovery;
                recovery::recover(dir, &log, &peers, &config.founders, recovery).await?
            }
        };
        store.owned_by(config.instance_id)?;
        snapshots.owned_by(config.instance_id, newest.as_ref())?;
        Ok(Self {
            log,
            roster,
            peers,
            store: Arc::new(store),
            snapshots,
            newest,
        })
    }

    /// The counters of the state.
    pub(super) fn meta(&self) -> Result<Meta, Fault> {
        meta_of(&self.store)
    }

    /// Opens the state machine for openraft, which reports applied entries to `listener`. Log,
    /// state and snapshots have been checked for consistency.
    pub(super) async fn open_machine(
        self,
        config: &NodeConfig,
        dir: &DataDir,
        environment: &Environment,
        listener: Arc<dyn ApplyListener>,
    ) -> Result<Opened, StartError> {
        let Self { log, newest, .. } = self;
        let snapshot = newest.as_ref().and_then(|(record, _)| record.last_applied);
        let clock = Arc::clone(&environment.clock);
        let store = Arc::clone(&self.store);
        let machine = Machine::open(store, self.snapshots, newest, listener, clock)?;
        let mut machine = machine.with_removed(Arc::clone(self.roster.removed()));
        recovery::agree(dir, &log, machine.last_applied()).await?;
        agreement::check(&log, &mut machine, snapshot, config.identity.member_id.0)
            .await
            .map_err(|source| StartError::Mismatch {
                path: dir.path().to_owned(),
                source,
            })?;
        log.watch(StallLimits::of(config.election_timeout))
            .map_err(StartError::Log)?;
        Ok(Opened {
            log,
            roster: self.roster,
            peers: self.peers,
            store: self.store,
            machine,
        })
    }
}

/// A data directory whose parts are consistent.
pub(super) struct Opened {
    pub(super) log: LogStore,
    pub(super) roster: Arc<Roster>,
    pub(super) peers: Arc<Peers>,
    pub(super) store: Arc<StateStore>,
    pub(super) machine: Machine,
}

fn open_log_store(
    config: &NodeConfig,
    dir: &DataDir,
    environment: &Environment,
) -> Result<LogStore, StartError> {
    let owner = LogOwner {
        cluster_id: config.identity.cluster_id,
        member_id: config.identity.member_id.0,
        instance_id: config.instance_id,
    };
    let disk = open_log(&dir.log(), owner).map_err(StartError::Log)?;
    let syncs = environment.metrics.disk.wal_fsync_duration.clone();
    let observe = Arc::new(move |took: Duration| syncs.observe(took.as_secs_f64()));
    LogStore::open(Arc::new(disk), Arc::clone(&environment.clock), observe).map_err(StartError::Log)
}

fn meta_of(store: &StateStore) -> Result<Meta, Fault> {
    Ok(StateMachine::open(store.engine())?.meta().to_owned())
}

/// Opens the records of the other members, and checks that the log was not lost.
async fn open_roster(
    config: &NodeConfig,
    dir: &DataDir,
    mut log: LogStore,
    applied_index: u64,
) -> Result<Arc<Roster>, StartError> {
    let state = log.get_log_state().await.map_err(StartError::Log)?;
    let holds = state.last_log_id.is_some() || state.last_purged_log_id.is_some();
    if holds {
        dir.mark_founded()?;
    } else if dir.is_founded() || applied_index > 0 {
        return Err(StartError::LogGone(dir.path().to_owned()));
    }
    let owner = Owner {
        cluster_id: config.identity.cluster_id,
        member_id: config.identity.member_id.0,
        instance_id: config.instance_id,
    };
    let known = KnownPeers::open(&dir.peers()).map_err(StartError::Peers)?;
    Ok(Arc::new(Roster::new(owner, holds, known)))
}
