//! Verifies a member's own snapshot as a receiver does, and its state when the snapshot is damaged.
//!
//! A snapshot shares its files with the state, so disk damage to one mostly affects both. The state
//! is verified in a new copy: blocks cached in memory would hide the damage.
//!
//! # Invariants
//! The result is on disk before it is reported: the next start finds either the mark of a damaged
//! state, or a sound snapshot in place of the damaged one.

use std::path::PathBuf;

use tenure_statemachine::Fault;
use thiserror::Error;

use super::{
    adapter_record::AdapterRecord,
    checkpoint::{Checkpoint, SnapshotDir},
    damage,
    state_store::StateStore,
};

/// Result of checking a damaged or unreadable snapshot.
#[derive(Debug, Error)]
pub enum SelfCheckError {
    /// The snapshot and the state are damaged.
    #[error(
        "the state in {state} and the snapshot in {snapshot} are damaged: {what}; look at the \
         disk, and start the node again: it brings the state back by itself"
    )]
    State {
        /// Path of the state database.
        state: PathBuf,
        /// Path of the snapshot.
        snapshot: PathBuf,
        /// The first damage found; names a file.
        what: String,
    },
    /// The snapshot is damaged, and the state is sound.
    #[error(
        "the snapshot in {snapshot} is damaged: {what}; another was made of the state, which is \
         whole; look at the disk, and start the node again"
    )]
    Snapshot {
        /// Path of the snapshot.
        snapshot: PathBuf,
        /// The first damage found; names a file.
        what: String,
    },
    /// The snapshot or the state could not be read, so the result is unknown.
    #[error("the snapshot in {snapshot}, or the state that it was made of, could not be checked")]
    Unread {
        /// Path of the snapshot.
        snapshot: PathBuf,
        /// The cause.
        #[source]
        source: Fault,
    },
}

/// Verifies the snapshot `suspect`, which is among `snapshots` and was built from the state in
/// `store`. Takes as long as reading the files.
///
/// # Errors
/// See [`SelfCheckError`].
pub fn check_own(
    store: &StateStore,
    snapshots: &SnapshotDir,
    suspect: &(AdapterRecord, Checkpoint),
) -> Result<(), SelfCheckError> {
    let snapshot = suspect.1.path().to_owned();
    let Err(fault) = suspect.1.verify(&suspect.0) else {
        return Ok(());
    };
    if !damage::is_damage(&fault) {
        let source = fault;
        return Err(SelfCheckError::Unread { snapshot, source });
    }
    let what = root_of(&fault);
    // Read first: the database in use may be replaced meanwhile, and a mark belongs to one
    // database.
    let state = store.path();
    match copied(store, snapshots) {
        Ok(copy) => match snapshots.remove_all_but(&copy) {
            Ok(()) => Err(SelfCheckError::Snapshot { snapshot, what }),
            Err(error) => Err(SelfCheckError::Unread {
                snapshot,
                source: error.into(),
            }),
        },
        Err(fault) if damage::is_damage(&fault) => {
            damage::mark(&state, &root_of(&fault));
            Err(SelfCheckError::State {
                state,
                snapshot,
                what,
            })
        }
        Err(source) => Err(SelfCheckError::Unread { snapshot, source }),
    }
}

/// Builds a copy of the state, every block of which is verified.
fn copied(store: &StateStore, snapshots: &SnapshotDir) -> Result<Checkpoint, Fault> {
    let (record, copy) = snapshots.build(&store.engine())?;
    copy.verify(&record).inspect_err(|_| copy.supersede())?;
    Ok(copy)
}

/// Returns the innermost error of the chain: RocksDB's message without context and remedy.
fn root_of(fault: &Fault) -> String {
    let mut root: &dyn std::error::Error = fault;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt, path::Path};

    use bytes::Bytes;
    use tenure_statemachine::{
        StateMachine,
        engine::{Engine, Table, View, WriteBatch, WriteOp},
    };

    use super::*;
    use crate::storage::{damage_of, is_unsettled};

    /// Bytes of the only value: a table consists mostly of its blocks.
    const VALUE_BYTES: usize = 64 << 10;

    struct Member {
        root: tempfile::TempDir,
        store: StateStore,
        snapshots: SnapshotDir,
        newest: (AdapterRecord, Checkpoint),
    }

    impl Member {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let store = StateStore::open(&root.path().join("state")).unwrap();
            let (snapshots, _) = SnapshotDir::open(&root.path().join("snapshots")).unwrap();
            let value = Bytes::from(vec![7; VALUE_BYTES]);
            let put = WriteOp::Put(Table::History, Bytes::from_static(b"key"), value);
            store.engine().write(WriteBatch { ops: vec![put] }).unwrap();
            let mut machine = StateMachine::open(store.engine()).unwrap();
            let mut batch = machine.begin();
            batch.put_adapter_record(AdapterRecord::default().encode().into());
            batch.commit().unwrap();
            let newest = snapshots.build(&store.engine()).unwrap();
            Self {
                root,
                store,
                snapshots,
                newest,
            }
        }

        fn check(&self) -> Result<(), SelfCheckError> {
            check_own(&self.store, &self.snapshots, &self.newest)
        }

        fn state(&self) -> PathBuf {
            self.root.path().join("state")
        }

        /// The largest table of the newest snapshot.
        fn table(&self) -> PathBuf {
            let files = fs::read_dir(self.newest.1.path()).unwrap();
            let files = files.map(|entry| entry.unwrap().path());
            let tables = files.filter(|path| path.extension().is_some_and(|it| it == "sst"));
            let bytes = |path: &PathBuf| fs::metadata(path).unwrap().len();
            tables.max_by_key(bytes).unwrap()
        }

        fn built(&self) -> Vec<PathBuf> {
            let all = fs::read_dir(self.root.path().join("snapshots")).unwrap();
            all.map(|entry| entry.unwrap().path()).collect()
        }
    }

    /// Flips a bit in place, and so in every file linked to it.
    fn flip(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() / 3;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_whole_snapshot_is_found_whole_and_stays() {
        let member = Member::new();
        member.check().unwrap();
        assert_eq!(member.built(), [member.newest.1.path()]);
    }

    /// The value was read, and is cached in memory: a read through the engine would find no damage.
    #[test]
    fn damage_that_state_and_snapshot_share_is_named_and_marked_for_the_next_start() {
        let member = Member::new();
        let table = member.table();
        assert!(fs::metadata(&table).unwrap().nlink() > 1);
        let engine = member.store.engine();
        let mut rows = engine.scan(Table::History, &[]).unwrap();
        while rows.next().unwrap().is_some() {}
        flip(&table);
        let found = member.check().unwrap_err();
        let told = found.to_string();
        assert!(matches!(found, SelfCheckError::State { .. }), "{told}");
        for part in [
            "state/00000001",
            &*table.to_string_lossy(),
            "start the node again",
        ] {
            assert!(told.contains(part), "no {part} in {told}");
        }
        assert!(damage_of(&member.state()).unwrap().is_some());
        assert_eq!(member.built(), [member.newest.1.path()], "the copy is gone");
    }

    #[test]
    fn a_damaged_snapshot_of_a_whole_state_is_replaced_before_it_is_told() {
        let member = Member::new();
        let table = member.table();
        let mut bytes = fs::read(&table).unwrap();
        let at = bytes.len() / 3;
        bytes[at] ^= 1;
        // A file that is not shared with the state.
        fs::remove_file(&table).unwrap();
        fs::write(&table, bytes).unwrap();
        let found = member.check().unwrap_err();
        assert!(matches!(found, SelfCheckError::Snapshot { .. }), "{found}");
        assert!(found.to_string().contains(&*table.to_string_lossy()));
        assert!(!is_unsettled(&member.state()).unwrap());
        assert!(!member.newest.1.path().exists());
        let (_, newest) = SnapshotDir::open(&member.root.path().join("snapshots")).unwrap();
        let (record, checkpoint) = newest.expect("the next start has one");
        checkpoint.verify(&record).unwrap();
    }
}
