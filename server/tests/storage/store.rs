//! A log store and a state machine in a directory of their own.

use std::{path::Path, sync::Arc};

use tenure_statemachine::Meta;
use tenured::{
    clock::RuntimeClock,
    raft::{AppliedGroup, ApplySink, ApplyTimes, Machine},
    storage::{Durability, LogStore, RocksLog, SnapshotDir, StateStore},
};

/// Hears what was applied and lets it go.
#[derive(Debug)]
struct Nobody;

impl ApplySink for Nobody {
    fn applied(&self, _: &Meta, _: Vec<AppliedGroup>, _: ApplyTimes) {}

    fn restored(&self, _: &Meta) {}
}

/// Opens the log in `path`.
pub(crate) fn log(path: &Path, durability: Durability) -> LogStore {
    let disk = RocksLog::open(&path.join("log"), durability).unwrap();
    LogStore::open(Arc::new(disk), RuntimeClock::shared(), Arc::new(|_| {})).unwrap()
}

/// Opens the state machine in `path`.
pub(crate) fn machine(path: &Path) -> Machine {
    let store = Arc::new(StateStore::open(&path.join("state")).unwrap());
    let (snapshots, newest) = SnapshotDir::open(&path.join("snapshots")).unwrap();
    Machine::open(
        store,
        snapshots,
        newest,
        Arc::new(Nobody),
        RuntimeClock::shared(),
    )
    .unwrap()
}
