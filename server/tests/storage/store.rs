//! A log store and a state machine in a directory of their own.

use std::{fs, path::Path, sync::Arc};

use tenure_statemachine::Meta;
use tenured::{
    clock::RuntimeClock,
    raft::{AppliedGroup, ApplyListener, ApplyTimes, Machine},
    storage::{
        LogDisk, LogFiles, LogOptions, LogStore, RocksLog, SegmentLog, SnapshotDir, StateStore,
        open_log,
    },
};

use crate::{lossy_files::LossyFiles, recovery::OWNER, unsynced::Unsynced};

/// Hears what was applied and lets it go.
#[derive(Debug)]
struct Nobody;

impl ApplyListener for Nobody {
    fn applied(&self, _: &Meta, _: Vec<AppliedGroup>, _: ApplyTimes) {}

    fn restored(&self, _: &Meta) {}
}

/// Opens the log in `path`.
pub(crate) fn log(path: &Path) -> LogStore {
    on(Arc::new(open_log(&path.join("log"), OWNER).unwrap()))
}

/// Opens the log in `path` as earlier versions kept it.
pub(crate) fn log_in_database(path: &Path) -> LogStore {
    on(Arc::new(RocksLog::open(&path.join("log")).unwrap()))
}

/// Whether a log syncs what it says is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncMode {
    Real,
    Skipped,
}

/// Opens a log in `path` that loses what was not synced when the process is killed.
pub(crate) fn lossy_log(path: &Path, sync: SyncMode) -> LogStore {
    let path = path.join("log");
    fs::create_dir(&path).unwrap();
    let files: Arc<dyn LogFiles> = Arc::new(LossyFiles::new(&path));
    let options = LogOptions::STANDARD;
    SegmentLog::create(&files, OWNER, options).unwrap();
    let log = SegmentLog::open(&files, OWNER, options).unwrap();
    match sync {
        SyncMode::Real => on(Arc::new(log)),
        SyncMode::Skipped => on(Arc::new(Unsynced(log))),
    }
}

fn on(disk: Arc<dyn LogDisk>) -> LogStore {
    LogStore::open(disk, RuntimeClock::shared(), Arc::new(|_| {})).unwrap()
}

/// Opens the state machine in `path`.
pub(crate) fn machine(path: &Path) -> Machine {
    let store = Arc::new(StateStore::open(&path.join("state")).unwrap());
    let (snapshots, newest) = SnapshotDir::open(&path.join("snapshots")).unwrap();
    // The suite applies entries that do not follow each other.
    Machine::open(
        store,
        snapshots,
        newest,
        Arc::new(Nobody),
        RuntimeClock::shared(),
    )
    .unwrap()
    .with_gaps()
}
