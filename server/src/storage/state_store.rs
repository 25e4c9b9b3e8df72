//! The state database in use, and its replacement when a snapshot is installed.
//!
//! Each database has its own directory; a small file names the one in use, so a crash during an
//! exchange leaves either the old or the new one.
//!
//! # Invariants
//! No database is removed before the one in use is known: a damaged or missing name never leads to
//! an empty state.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tenure_statemachine::EngineError;
use tracing::warn;

use super::{checkpoint::Checkpoint, data_dir, database_owner, rocks_engine::RocksEngine};

const CURRENT_FILE: &str = "current";
/// Number of the first database.
const FIRST: u64 = 1;

/// The state database in use.
#[derive(Debug)]
pub struct StateStore {
    root: PathBuf,
    current: ArcSwap<RocksEngine>,
    exchange: Mutex<u64>,
    /// Instance id of the data directory that the databases belong to, once checked.
    instance: OnceLock<u64>,
}

impl StateStore {
    /// Opens the database in use below `root`, creating the first one if there is none.
    ///
    /// # Errors
    /// When the files cannot be opened or are damaged.
    pub fn open(root: &Path) -> Result<Self, EngineError> {
        let failed = |source: io::Error| EngineError {
            context: format!("opening the state in {}", root.display()),
            source: Some(Box::new(source)),
        };
        fs::create_dir_all(root).map_err(failed)?;
        let generation = in_use(root).map_err(failed)?;
        remove_others(root, generation).map_err(failed)?;
        let path = directory(root, generation);
        if !path.exists() {
            create(&path)?;
        }
        let engine = RocksEngine::open(&path)?;
        name(root, generation).map_err(failed)?;
        Ok(Self {
            root: root.to_owned(),
            current: ArcSwap::from_pointee(engine),
            exchange: Mutex::new(generation),
            instance: OnceLock::new(),
        })
    }

    /// Checks that the database in use belongs to the data directory `instance`, and marks
    /// databases installed from here on as its own.
    ///
    /// # Errors
    /// When it belongs to another data directory, or the files cannot be read or written.
    pub fn owned_by(&self, instance: u64) -> Result<(), EngineError> {
        database_owner::check(&directory(&self.root, *self.exchange.lock()), instance)?;
        self.instance.get_or_init(|| instance);
        Ok(())
    }

    /// Returns the database in use. Hold it for one read or write, not longer.
    #[must_use]
    pub fn engine(&self) -> Arc<RocksEngine> {
        self.current.load_full()
    }

    /// Returns the path of the database in use.
    pub(super) fn path(&self) -> PathBuf {
        directory(&self.root, *self.exchange.lock())
    }

    /// Replaces the database in use with `source`. A snapshot built by this node stays where it is:
    /// until the new database is named, a start removes it as the leftover of an exchange.
    ///
    /// # Errors
    /// When the files cannot be moved, copied or opened. The old database stays in use until the
    /// new one is open and named.
    pub fn install(&self, source: &Checkpoint) -> Result<Arc<RocksEngine>, EngineError> {
        let failed = |source: io::Error| EngineError {
            context: "installing a snapshot".to_owned(),
            source: Some(Box::new(source)),
        };
        let mut generation = self.exchange.lock();
        let next = generation.saturating_add(1);
        let path = directory(&self.root, next);
        source.give_to(&path).map_err(failed)?;
        data_dir::sync_dir(&self.root).map_err(failed)?;
        let engine = Arc::new(RocksEngine::open(&path)?);
        if let Some(instance) = self.instance.get() {
            database_owner::claim(&path, *instance)?;
        }
        name(&self.root, next).map_err(failed)?;
        self.current.swap(Arc::clone(&engine)).remove_when_closed();
        *generation = next;
        Ok(engine)
    }
}

pub(super) fn directory(root: &Path, generation: u64) -> PathBuf {
    root.join(format!("{generation:08}"))
}

/// Returns the number of the database in use; that of the first if there is none yet.
pub(super) fn in_use(root: &Path) -> io::Result<u64> {
    let present = databases(root)?;
    let file = root.join(CURRENT_FILE);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match present[..] {
            [] => return Ok(FIRST),
            // An unfinished exchange leaves two, so a single one is the one in use.
            [only] => {
                warn!(path = %directory(root, only).display(), "the state had lost its name");
                return Ok(only);
            }
            _ => return Err(nameless(&file, "is missing")),
        },
        Err(error) => return Err(error),
    };
    let parsed = std::str::from_utf8(&text).ok().and_then(|text| {
        let number = text.strip_suffix('\n')?.parse().ok()?;
        (named(number) == text).then_some(number)
    });
    match parsed {
        None => Err(nameless(&file, "is damaged")),
        Some(number) if present.contains(&number) || (number == FIRST && present.is_empty()) => {
            Ok(number)
        }
        Some(_) => Err(nameless(&file, "names a state database that is not there")),
    }
}

fn nameless(file: &Path, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} {what}; write the number of the state database in use into it, which is the \
             greatest of the directories beside it, or replace the member: remove it and add it \
             again with an empty data directory",
            file.display()
        ),
    )
}

/// Returns the numbers of the databases below `root`.
fn databases(root: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.parse().ok());
        numbers.extend(number.filter(|number| path == directory(root, *number) && path.is_dir()));
    }
    Ok(numbers)
}

/// Creates a new database that appears in `path` only when complete: a directory without a database
/// counts as damaged.
fn create(path: &Path) -> Result<(), EngineError> {
    let failed = |source: io::Error| EngineError {
        context: format!("creating the state database in {}", path.display()),
        source: Some(Box::new(source)),
    };
    let built = path.with_extension("new");
    drop(RocksEngine::open(&built)?);
    fs::rename(&built, path).map_err(failed)?;
    path.parent()
        .map_or(Ok(()), data_dir::sync_dir)
        .map_err(failed)
}

/// Records that database `number` is in use, unless that is recorded already.
pub(super) fn name(root: &Path, number: u64) -> io::Result<()> {
    debug_assert!(
        directory(root, number).is_dir(),
        "the database that is named is there"
    );
    let file = root.join(CURRENT_FILE);
    let text = named(number);
    if fs::read(&file).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    data_dir::write_durably(&file, &text)
}

fn named(number: u64) -> String {
    format!("{number}\n")
}

/// Removes the leftovers of an interrupted exchange or first creation.
fn remove_others(root: &Path, generation: u64) -> io::Result<()> {
    let keep = directory(root, generation);
    // Otherwise the state would be lost. Once for each start.
    assert!(
        keep.is_dir() || databases(root)?.is_empty(),
        "no database is removed while the one in use is missing"
    );
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() && path != keep {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bytes::Bytes;
    use tenure_statemachine::{
        StateMachine,
        engine::{Engine, Table, View, WriteBatch, WriteOp},
    };

    use super::*;
    use crate::{
        fatal,
        storage::{AdapterRecord, SnapshotDir, damage_of},
    };

    fn names(root: &Path) -> Vec<u64> {
        let mut names = databases(root).unwrap();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_name_that_is_damaged_or_points_nowhere_removes_no_state() {
        let root = tempfile::tempdir().unwrap();
        drop(StateStore::open(root.path()).unwrap());
        let file = root.path().join(CURRENT_FILE);
        for text in ["3\n", "0\n", "q\n", "1", "", "01\n", "1\n1\n"] {
            fs::write(&file, text).unwrap();
            let error = StateStore::open(root.path()).expect_err("the name is not the state's");
            let source = error.source.unwrap().to_string();
            assert!(source.contains("current"), "{text:?}: {source}");
            assert_eq!(names(root.path()), [FIRST], "{text:?}");
        }
        fs::write(&file, "1\n").unwrap();
        drop(StateStore::open(root.path()).unwrap());
    }

    #[test]
    fn a_missing_name_is_that_of_the_only_database_or_of_none() {
        let root = tempfile::tempdir().unwrap();
        drop(StateStore::open(root.path()).unwrap());
        let file = root.path().join(CURRENT_FILE);
        fs::rename(directory(root.path(), 1), directory(root.path(), 7)).unwrap();
        fs::remove_file(&file).unwrap();
        drop(StateStore::open(root.path()).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "7\n");
        fs::create_dir(directory(root.path(), 8)).unwrap();
        fs::remove_file(&file).unwrap();
        StateStore::open(root.path()).expect_err("either may be the one");
        assert_eq!(names(root.path()), [7, 8]);
    }

    /// RocksDB rewrites its identity file when it is missing; here on a device that is always full.
    #[test]
    fn a_full_disk_ends_the_start_with_the_directory_and_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        drop(StateStore::open(root.path()).unwrap());
        let state = directory(root.path(), FIRST);
        fs::remove_file(state.join("IDENTITY")).unwrap();
        symlink("/dev/full", state.join("000000.dbtmp")).unwrap();
        let error = StateStore::open(root.path()).expect_err("there is no room");
        let told = fatal::chain(&error);
        for part in [&*state.to_string_lossy(), "free space and start again"] {
            assert!(told.contains(part), "no {part} in {told}");
        }
        assert_eq!(damage_of(root.path()).unwrap(), None);
    }

    /// The state after a kill between the creation of the new database and its naming.
    #[test]
    fn an_exchange_that_is_cut_off_leaves_the_only_snapshot_where_it_was() {
        let root = tempfile::tempdir().unwrap();
        let (state, snapshots) = (root.path().join("state"), root.path().join("snapshots"));
        let key = Bytes::from_static(b"key");
        {
            let before = Arc::new(RocksEngine::open(&root.path().join("before")).unwrap());
            let put = WriteOp::Put(Table::Leases, key.clone(), key.clone());
            before.write(WriteBatch { ops: vec![put] }).unwrap();
            let mut machine = StateMachine::open(Arc::<RocksEngine>::clone(&before)).unwrap();
            let mut batch = machine.begin();
            batch.put_adapter_record(AdapterRecord::default().encode().into());
            batch.commit().unwrap();
            let (built, _) = SnapshotDir::open(&snapshots).unwrap();
            built.build(&before).unwrap();
        }
        // The state is lost, and the name of the next one cannot be written.
        let unwritable = state.join(CURRENT_FILE).with_extension("tmp");
        {
            let (_, newest) = SnapshotDir::open(&snapshots).unwrap();
            let lost = StateStore::open(&state).unwrap();
            fs::create_dir(&unwritable).unwrap();
            lost.install(&newest.unwrap().1)
                .expect_err("it is not named");
        }
        let again = StateStore::open(&state).unwrap();
        assert_eq!(names(&state), [FIRST]);
        let (_, newest) = SnapshotDir::open(&snapshots).unwrap();
        let newest = newest.expect("it is the only copy").1;
        let installed = again.install(&newest).unwrap();
        assert_eq!(installed.get(Table::Leases, &key).unwrap(), Some(key));
        assert!(newest.path().exists());
    }

    #[test]
    fn a_directory_without_its_database_is_no_new_one() {
        let root = tempfile::tempdir().unwrap();
        drop(StateStore::open(root.path()).unwrap());
        let path = directory(root.path(), FIRST);
        fs::remove_file(path.join("CURRENT")).unwrap();
        let error = StateStore::open(root.path()).expect_err("it is damaged");
        assert!(error.to_string().contains("00000001"), "{error}");
    }

    #[test]
    fn a_first_start_that_a_crash_cut_short_is_done_again() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("00000001.new")).unwrap();
        drop(StateStore::open(root.path()).unwrap());
        assert_eq!(names(root.path()), [FIRST]);
        assert!(!root.path().join("00000001.new").exists());
    }
}
