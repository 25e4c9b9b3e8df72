//! What a node finds when it starts in a directory: the steps of its start, without its tasks.

use std::{error::Error, path::Path, sync::Arc};

use openraft::{EntryPayload, RaftLogReader, entry::RaftEntry, storage::RaftLogStorage};
use tenure_statemachine::{
    Admission, ClusterTime, Context, Engine, Reader, StateMachine, Table, View, decode_entry,
    digest, invariants,
};
use tenured::{
    clock::RuntimeClock,
    consensus::Entry,
    storage::{
        AdapterRecord, DataDir, KnownPeers, LogOwner, LogStore, RocksEngine, SnapshotDir,
        StateStore, open_log,
    },
};

pub(super) type Failure = Box<dyn Error + Send + Sync>;

/// What is in a directory once the log was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    applied: Option<String>,
    revision: i64,
    leases: u64,
    keys: u64,
    /// Covers every key, value, lease and claim, and all history that can be read.
    digest: u64,
}

/// Opens the log of a directory as its owner does.
pub(super) fn log(dir: &Path) -> Result<LogStore, Failure> {
    let owner = DataDir::open(dir)?.owner().ok_or("it has no owner")?;
    let owner = LogOwner {
        cluster_id: owner.cluster_id,
        member_id: owner.member_id,
        instance_id: owner.instance_id,
    };
    let disk = Arc::new(open_log(&dir.join("log"), owner)?);
    Ok(LogStore::open(
        disk,
        RuntimeClock::shared(),
        Arc::new(|_| {}),
    )?)
}

/// Starts in `dir` with `log`.
pub(super) async fn start(dir: &Path, log: &mut LogStore) -> Result<Found, Failure> {
    let data = DataDir::open(dir)?;
    let instance = data.owner().ok_or("a new directory")?.instance_id;
    let store = StateStore::open(&data.state())?;
    let (snapshots, newest) = SnapshotDir::open(&data.snapshots())?;
    store.owned_by(instance)?;
    snapshots.owned_by(instance, newest.as_ref())?;
    let snapshot = newest.as_ref().and_then(|(record, _)| record.last_applied);
    KnownPeers::open(&data.peers())?;
    let applied = record(&store.engine())?.last_applied;
    log.agree_with_state(applied, snapshot)
        .and_then(|()| log.reach(applied))
        // As the start of a node says.
        .map_err(|error| format!("log and state in {}: {error}", dir.display()))?;
    // As consensus does when it starts.
    if let Some((record, checkpoint)) = newest
        && applied < record.last_applied
    {
        store.install(&checkpoint)?;
    }
    let engine = store.engine();
    replay(&engine, log).await?;
    found(&engine)
}

fn record(engine: &RocksEngine) -> Result<AdapterRecord, Failure> {
    let view = engine.snapshot()?;
    match Reader::new(&*view)?.adapter_record()? {
        Some(bytes) => Ok(AdapterRecord::decode(&bytes)?),
        None => Ok(AdapterRecord::default()),
    }
}

/// Applies what the log holds behind the state.
async fn replay(engine: &Arc<RocksEngine>, log: &mut LogStore) -> Result<(), Failure> {
    let mut record = record(engine)?;
    let mut machine = StateMachine::open(Arc::clone(engine) as _)?;
    let Some(last) = log.get_log_state().await?.last_log_id else {
        return Err("the log is empty".into());
    };
    let next = record.last_applied.map_or(0, |id| id.index + 1);
    if next > last.index {
        return Ok(());
    }
    for entry in log.try_get_log_entries(next..last.index + 1).await? {
        apply(&mut machine, &mut record, &entry)?;
    }
    Ok(())
}

fn apply(
    machine: &mut StateMachine,
    record: &mut AdapterRecord,
    entry: &Entry,
) -> Result<(), Failure> {
    let id = entry.log_id();
    record.check_next(id)?;
    record.last_applied = Some(id);
    let mut context = Context {
        index: id.index,
        term: id.leader_id.term,
        now: ClusterTime(0),
    };
    let mut batch = machine.begin();
    if let EntryPayload::Normal(payload) = &entry.payload {
        let decoded = decode_entry(payload.0.clone())?;
        context.now = decoded.now;
        for group in decoded.groups {
            if batch.admit(&context, &group)? != Admission::New {
                continue;
            }
            for command in &group.commands {
                batch.apply(&context, command)?;
            }
        }
    }
    batch.advance(&context);
    batch.put_adapter_record(record.encode().into());
    Ok(batch.commit()?)
}

/// Reads everything, so that every block is read, and checks that it can be true.
fn found(engine: &RocksEngine) -> Result<Found, Failure> {
    for table in Table::ALL {
        let mut rows = engine.scan(table, &[])?;
        while rows.next()?.is_some() {}
    }
    let record = record(engine)?;
    let view = engine.snapshot()?;
    let meta = *Reader::new(&*view)?.meta();
    let digest = digest(&*view)?;
    invariants::check(&*view)?;
    Ok(Found {
        applied: record.last_applied.map(|id| id.to_string()),
        revision: meta.revision.0,
        leases: meta.leases,
        keys: meta.keys,
        digest,
    })
}
