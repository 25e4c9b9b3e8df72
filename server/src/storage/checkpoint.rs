//! Snapshots: checkpoints of the state database, each a directory with shared ownership.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tenure_statemachine::{EngineError, Fault, Reader, Table, View, engine::Engine};
use tracing::warn;

use super::{
    adapter_record::AdapterRecord,
    damage::is_damage,
    data_dir::sync_dir,
    database_owner::{self, OWNER_FILE},
    incoming::{Incoming, Turn, is_partial},
    removal,
    rocks_engine::RocksEngine,
};

const BUILT_PREFIX: &str = "built-";
const INCOMING_PREFIX: &str = "incoming-";
/// Extension of RocksDB's table files, which are immutable.
const TABLE_FILE: &str = "sst";

/// A checkpoint on disk. Clones share it; once [`Checkpoint::supersede`] was called and the last
/// clone is dropped, the files are removed.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    directory: Arc<Directory>,
}

/// Disk space of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointBytes {
    /// Bytes of all its files.
    pub total: u64,
    /// Bytes of the files that no database shares any more.
    pub own: u64,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Whether to remove the files on drop. Unset for the newest snapshot, which the next start
    /// reopens.
    remove: AtomicBool,
}

impl Directory {
    fn shared(path: PathBuf, remove: bool) -> Arc<Self> {
        Arc::new(Self {
            path,
            remove: AtomicBool::new(remove),
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A received snapshot that was installed has been moved away.
        if self.remove.load(Ordering::Acquire) && self.path.exists() {
            removal::remove_later(&self.path);
        }
    }
}

impl Checkpoint {
    /// Path of the directory with the files.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory.path
    }

    /// Removes the files when the last clone is dropped: a newer snapshot exists.
    pub fn supersede(&self) {
        self.directory.remove.store(true, Ordering::Release);
    }

    /// Returns the disk space of the checkpoint.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn bytes(&self) -> io::Result<CheckpointBytes> {
        let mut bytes = CheckpointBytes::default();
        for entry in fs::read_dir(self.path())? {
            let file = entry?.metadata()?;
            bytes.total += file.len();
            if file.nlink() == 1 {
                bytes.own += file.len();
            }
        }
        Ok(bytes)
    }

    /// Reads all files, which checks every block against its checksum, and compares the adapter
    /// record with `expected`. Takes as long as reading the files.
    ///
    /// # Errors
    /// [`Fault::Damaged`] on a mismatch; other faults when the files cannot be read.
    pub fn verify(&self, expected: &AdapterRecord) -> Result<(), Fault> {
        verify(self.path(), expected)
    }

    /// Returns the files of the database, sorted by name, with their sizes.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.path())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != OWNER_FILE {
                files.push((name, entry.metadata()?.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Copies the checkpoint to `path`, replacing any directory there. Immutable files are
    /// hard-linked.
    pub(super) fn copy_to(&self, path: &Path) -> io::Result<()> {
        // An interrupted exchange may have left a directory.
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::create_dir(path)?;
        for (name, _) in self.files()? {
            let (from, to) = (self.path().join(&name), path.join(&name));
            if Path::new(&name)
                .extension()
                .is_some_and(|it| it == TABLE_FILE)
            {
                fs::hard_link(from, to)?;
            } else {
                fs::copy(from, &to)?;
                fs::File::open(to)?.sync_all()?;
            }
        }
        Ok(())
    }

    /// Moves or copies the files to `path`, to become the state. A received snapshot is moved,
    /// because its sender still has it; a snapshot built by this node is copied and kept, because
    /// no other node may have it.
    pub(super) fn give_to(&self, path: &Path) -> io::Result<()> {
        if self.is_received() {
            fs::rename(self.path(), path)
        } else {
            self.copy_to(path)?;
            sync_dir(path)
        }
    }

    fn is_received(&self) -> bool {
        let name = self.path().file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(INCOMING_PREFIX))
    }
}

/// The directory that holds a node's snapshots.
#[derive(Debug)]
pub struct SnapshotDir {
    root: PathBuf,
    /// The number of the next directory; above every number found at startup.
    next: AtomicU64,
    /// Instance id of the data directory that the snapshots belong to, once checked.
    instance: OnceLock<u64>,
    incoming: Incoming,
}

impl SnapshotDir {
    /// Opens `root` and finds the newest snapshot in it. Partially received snapshots are kept; all
    /// other directories are removed.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn open(root: &Path) -> Result<(Self, Option<(AdapterRecord, Checkpoint)>), EngineError> {
        let failed = |source: io::Error| EngineError {
            context: format!("opening the snapshots in {}", root.display()),
            source: Some(Box::new(source)),
        };
        fs::create_dir_all(root).map_err(failed)?;
        let mut newest: Option<(AdapterRecord, PathBuf)> = None;
        let mut next = 1;
        for entry in fs::read_dir(root).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if is_partial(&path) {
                continue;
            }
            let number = built_number(&path);
            next = next.max(number.map_or(1, |number| number.saturating_add(1)));
            let record = if number.is_some() {
                record_of(&path).ok().flatten()
            } else {
                None
            };
            match (record, &newest) {
                (Some(record), Some((best, _))) if record.last_applied <= best.last_applied => {
                    remove(&path);
                }
                (Some(record), _) => {
                    if let Some((_, older)) = newest.replace((record, path)) {
                        remove(&older);
                    }
                }
                (None, _) => remove(&path),
            }
        }
        let newest = newest.map(|(record, path)| {
            (
                record,
                Checkpoint {
                    directory: Directory::shared(path, false),
                },
            )
        });
        Ok((
            Self {
                root: root.to_owned(),
                next: AtomicU64::new(next),
                instance: OnceLock::new(),
                incoming: Incoming::new(root),
            },
            newest,
        ))
    }

    /// Checks that `newest` belongs to the data directory `instance`, and marks snapshots built
    /// from here on as its own.
    ///
    /// # Errors
    /// When it belongs to another data directory, or the files cannot be read or written.
    pub fn owned_by(
        &self,
        instance: u64,
        newest: Option<&(AdapterRecord, Checkpoint)>,
    ) -> Result<(), EngineError> {
        if let Some((_, newest)) = newest {
            database_owner::check(newest.path(), instance)?;
        }
        self.instance.get_or_init(|| instance);
        Ok(())
    }

    /// Builds a checkpoint of `engine`. Blocks while the engine's memtables are flushed; writes to
    /// the engine continue meanwhile.
    ///
    /// # Errors
    /// When the files cannot be written, or the state in them is damaged.
    pub fn build(&self, engine: &RocksEngine) -> Result<(AdapterRecord, Checkpoint), Fault> {
        let path = self.numbered(BUILT_PREFIX);
        engine.checkpoint(&path)?;
        let checkpoint = Checkpoint {
            directory: Directory::shared(path, false),
        };
        if let Some(instance) = self.instance.get() {
            database_owner::claim(checkpoint.path(), *instance)?;
        }
        // Before the first applied entry there is no record.
        let record = record_of(checkpoint.path())?.unwrap_or_default();
        Ok((record, checkpoint))
    }

    /// Removes every snapshot that was built here, except `kept`.
    pub(super) fn remove_all_but(&self, kept: &Checkpoint) -> Result<(), EngineError> {
        // Otherwise none would be left. Once for each damaged snapshot.
        assert_eq!(
            kept.path().parent(),
            Some(self.root.as_path()),
            "the snapshot that is kept is one of this directory"
        );
        let removing = || {
            for entry in fs::read_dir(&self.root)? {
                let path = entry?.path();
                if built_number(&path).is_some() && path != kept.path() {
                    fs::remove_dir_all(path)?;
                }
            }
            sync_dir(&self.root)
        };
        removing().map_err(|source: io::Error| EngineError {
            context: format!("removing snapshots in {}", self.root.display()),
            source: Some(Box::new(source)),
        })
    }

    /// The directory of partially received snapshots.
    #[must_use]
    pub const fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// Verifies the snapshot received from `sender`, unless that was done and nothing was received
    /// since. Removes a damaged one: otherwise it would be kept, and resumed, for ever.
    ///
    /// # Errors
    /// See [`Checkpoint::verify`].
    pub fn check(
        &self,
        turn: &mut Turn,
        sender: u64,
        expected: &AdapterRecord,
    ) -> Result<(), Fault> {
        if turn.is_whole(expected) {
            return Ok(());
        }
        if let Err(fault) = verify(&turn.partial(sender), expected) {
            if is_damage(&fault) {
                turn.refuse(sender, expected).map_err(keeping)?;
            } else {
                turn.clear().map_err(keeping)?;
            }
            return Err(fault);
        }
        turn.set_whole(expected);
        Ok(())
    }

    /// Takes over the snapshot received from `sender`, after [`SnapshotDir::check`].
    ///
    /// # Errors
    /// When the file names cannot be made durable.
    pub fn complete(&self, turn: &mut Turn, sender: u64) -> Result<Checkpoint, Fault> {
        let path = self.numbered(INCOMING_PREFIX);
        turn.complete(sender, &path).map_err(keeping)?;
        Ok(Checkpoint {
            directory: Directory::shared(path, true),
        })
    }

    /// Creates an empty directory in place of a snapshot.
    #[cfg(test)]
    pub(crate) fn empty(&self) -> io::Result<Checkpoint> {
        let path = self.numbered(BUILT_PREFIX);
        fs::create_dir(&path)?;
        Ok(Checkpoint {
            directory: Directory::shared(path, false),
        })
    }

    fn numbered(&self, prefix: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!("{prefix}{number:016x}"))
    }
}

fn built_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    u64::from_str_radix(name.strip_prefix(BUILT_PREFIX)?, 16).ok()
}

fn verify(path: &Path, expected: &AdapterRecord) -> Result<(), Fault> {
    let engine = RocksEngine::open_read_only(path)?;
    for table in Table::ALL {
        let mut rows = engine.scan(table, &[])?;
        while rows.next()?.is_some() {}
    }
    let record = record_of(path)?.unwrap_or_default();
    if record.is_at(expected) {
        Ok(())
    } else {
        let what = "the snapshot's content does not match its head";
        Err(Fault::Damaged(what.to_owned()))
    }
}

fn keeping(source: io::Error) -> EngineError {
    EngineError {
        context: "keeping a snapshot that arrived".to_owned(),
        source: Some(Box::new(source)),
    }
}

/// Reads the adapter record of the database in `path`, a checkpoint or another database without a
/// writer.
pub(super) fn record_of(path: &Path) -> Result<Option<AdapterRecord>, Fault> {
    let engine = RocksEngine::open_read_only(path)?;
    let view = engine.snapshot()?;
    match Reader::new(&*view)?.adapter_record()? {
        Some(bytes) => AdapterRecord::decode(&bytes).map(Some),
        None => Ok(None),
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        // The next start tries again.
        warn!(%error, path = %path.display(), "an old snapshot was not removed");
    }
}
