//! The state machine's engine on RocksDB: one column family per table, no write-ahead log.
//!
//! The Raft log is this database's log: what a crash takes is replayed from there. Column families
//! are flushed together, so what survives is a prefix of the batches, across all tables.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBPinnableSlice,
    DBRawIteratorWithThreadMode, FlushOptions, Options, SnapshotWithThreadMode,
    WriteBatch as RocksBatch, WriteOptions, checkpoint::Checkpoint, properties,
};
use tenure_statemachine::{
    EngineError,
    engine::{Cursor, Engine, Table, View, WriteBatch, WriteOp},
};
use tracing::warn;

use super::{damage, latest_records::LatestRecords, rocks};

/// Keys asked for at once that are looked up one by one: so few may be of records written a moment
/// ago, which are in memory.
const FEW_KEYS: usize = 8;

/// The state database of a node.
pub struct RocksEngine {
    // Closed before the directory is let go of: fields drop in this order.
    db: DB,
    /// Of [`Table::Current`].
    records: LatestRecords,
    /// Of [`Table::Leases`].
    leases: LatestRecords,
    directory: Directory,
}

/// The directory of a database; removed at the end when it has been replaced.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    remove: AtomicBool,
    /// It is a member's state: damage to it is noted for the next start.
    is_state: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.remove.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            // Start-up removes what is not in use.
            warn!(%error, path = %self.path.display(), "a replaced state database was not removed");
        }
    }
}

impl std::fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksEngine")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl RocksEngine {
    /// Opens the database in `path`, creating it when there is nothing.
    ///
    /// # Errors
    /// When the files cannot be opened or are damaged. A directory that is there and holds no
    /// database is damage, too.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let cache = rocks::state_cache();
        let tables = Table::ALL.map(|table| {
            let is_looked_up = matches!(table, Table::Current | Table::Leases | Table::Cluster);
            let options = rocks::table_options(&cache, is_looked_up);
            ColumnFamilyDescriptor::new(name(table), options)
        });
        let context = || format!("opening the state database in {}", path.display());
        let db = rocks::state_options(!path.exists())
            .and_then(|options| DB::open_cf_descriptors(&options, path, tables))
            .inspect_err(|error| damage::note(path, error))
            .map_err(|e| rocks::engine_error(&context(), e))?;
        let directory = Directory {
            path: path.to_owned(),
            remove: AtomicBool::new(false),
            is_state: true,
        };
        Ok(Self {
            db,
            records: LatestRecords::default(),
            leases: LatestRecords::default(),
            directory,
        })
    }

    /// Opens the database in `path` for reading, leaving its files as they are.
    ///
    /// # Errors
    /// When the files cannot be opened or are damaged.
    pub fn open_read_only(path: &Path) -> Result<Self, EngineError> {
        let tables = Table::ALL.map(name);
        let db =
            DB::open_cf_for_read_only(&Options::default(), path, tables, false).map_err(|e| {
                rocks::engine_error(&format!("opening the checkpoint in {}", path.display()), e)
            })?;
        let directory = Directory {
            path: path.to_owned(),
            remove: AtomicBool::new(false),
            is_state: false,
        };
        Ok(Self {
            db,
            records: LatestRecords::default(),
            leases: LatestRecords::default(),
            directory,
        })
    }

    /// Writes everything in memory to files, and waits for it.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn flush(&self) -> Result<(), EngineError> {
        let tables = Table::ALL.map(|table| self.table(table));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&tables, &options)
            .map_err(|e| self.failed("flushing the state database", e))
    }

    /// Whether a write may have to wait for the disk: tables that were full are not on it yet.
    ///
    /// While this says no, a write fills at most the tables that are being written to, and
    /// `rocks::STATE_BUFFERS_MAX` leaves room for that and for one flush that is asked for.
    #[must_use]
    pub fn may_stall(&self) -> bool {
        // Tables are flushed together, and every batch writes this one.
        let meta = self.table(Table::Meta);
        let waits = |property| {
            let value = self.db.property_int_value_cf(meta, property);
            // What cannot be told is taken for the worse.
            value.ok().flatten() != Some(0)
        };
        waits(properties::NUM_IMMUTABLE_MEM_TABLE) || waits(properties::ACTUAL_DELAYED_WRITE_RATE)
    }

    /// Makes `path` a copy of the present state, sharing files where the file system can.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn checkpoint(&self, path: &Path) -> Result<(), EngineError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(|e| self.failed("copying the state", e))
    }

    /// Rewrites the files without what was deleted. Runs beside reads and writes.
    pub fn compact(&self) {
        let mut options = CompactOptions::default();
        // Leaves room for the compactions that keep writes flowing.
        options.set_exclusive_manual_compaction(false);
        for table in Table::ALL {
            let handle = self.table(table);
            self.db
                .compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &options);
        }
    }

    /// Removes the files once the last user is gone; another database has taken this one's place.
    pub(super) fn remove_when_closed(&self) {
        self.directory.remove.store(true, Ordering::Release);
    }

    /// What RocksDB said, in our words; damage is noted for the next start.
    fn failed(&self, context: &str, error: rocksdb::Error) -> EngineError {
        if self.directory.is_state {
            damage::note(&self.directory.path, &error);
        }
        let path = self.directory.path.display();
        rocks::engine_error(&format!("{context} in {path}"), error)
    }

    /// What is kept in memory of a table whose rows are looked up one by one.
    const fn latest(&self, table: Table) -> Option<&LatestRecords> {
        match table {
            Table::Current => Some(&self.records),
            Table::Leases => Some(&self.leases),
            _ => None,
        }
    }

    fn table(&self, table: Table) -> &ColumnFamily {
        self.db
            .cf_handle(name(table))
            .expect("every table is opened with the database")
    }
}

impl View for RocksEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let latest = self.latest(table);
        if let Some(record) = latest.and_then(|latest| latest.get(key)) {
            return Ok(Some(record));
        }
        let found = self
            .db
            .get_pinned_cf(self.table(table), key)
            .map(|found| found.map(|value| Bytes::copy_from_slice(&value)))
            .map_err(|e| self.failed("reading the state", e))?;
        if let Some(latest) = latest
            && let Some(record) = &found
        {
            latest.put(key, record);
        }
        Ok(found)
    }

    /// Many are read past the latest records in memory, which they would push out.
    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, EngineError> {
        if keys.len() <= FEW_KEYS {
            return keys.iter().map(|key| self.get(table, key)).collect();
        }
        let is_sorted = true;
        let found = self
            .db
            .batched_multi_get_cf(self.table(table), keys, is_sorted);
        let copied = |value: DBPinnableSlice<'_>| Bytes::copy_from_slice(&value);
        found
            .into_iter()
            .map(|found| found.map(|value| value.map(copied)))
            .collect::<Result<_, _>>()
            .map_err(|e| self.failed("reading the state", e))
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        Ok(Box::new(RocksCursor::at(
            self,
            self.db.raw_iterator_cf(self.table(table)),
            from,
        )))
    }
}

impl Engine for RocksEngine {
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        // Tables are found by their names: once for each, not for each write.
        let handles = Table::ALL.map(|table| (table, self.table(table)));
        let handle = |table: Table| {
            let found = handles.iter().find(|(of, _)| *of == table);
            found.map_or_else(|| self.table(table), |(_, handle)| *handle)
        };
        let mut rocks_batch = RocksBatch::default();
        for op in &batch.ops {
            match op {
                WriteOp::Put(table, key, value) => {
                    rocks_batch.put_cf(handle(*table), key, value);
                }
                WriteOp::Delete(table, key) => rocks_batch.delete_cf(handle(*table), key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db
            .write_opt(rocks_batch, &options)
            .map_err(|e| self.failed("writing the state", e))?;
        for op in &batch.ops {
            match op {
                WriteOp::Put(Table::Current, key, record) => self.records.put(key, record),
                // Most that are made are not looked at again soon; one that is renewed or ended is
                // looked at before.
                WriteOp::Put(Table::Leases, id, lease) => self.leases.update(id, lease),
                WriteOp::Put(..) => {}
                WriteOp::Delete(table, key) => {
                    if let Some(latest) = self.latest(*table) {
                        latest.remove(key);
                    }
                }
            }
        }
        Ok(())
    }

    fn snapshot<'a>(&'a self) -> Result<Box<dyn View + 'a>, EngineError> {
        Ok(Box::new(RocksView {
            engine: self,
            snapshot: self.db.snapshot(),
        }))
    }
}

/// A state that later writes do not change.
struct RocksView<'a> {
    engine: &'a RocksEngine,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl std::fmt::Debug for RocksView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksView")
            .field("engine", self.engine)
            .finish_non_exhaustive()
    }
}

impl View for RocksView<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.snapshot
            .get_pinned_cf(self.engine.table(table), key)
            .map(|found| found.map(|value| Bytes::copy_from_slice(&value)))
            .map_err(|e| self.engine.failed("reading the state", e))
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        let iterator = self.snapshot.raw_iterator_cf(self.engine.table(table));
        Ok(Box::new(RocksCursor::at(self.engine, iterator, from)))
    }
}

struct RocksCursor<'a> {
    engine: &'a RocksEngine,
    iterator: DBRawIteratorWithThreadMode<'a, DB>,
}

impl<'a> RocksCursor<'a> {
    fn at(
        engine: &'a RocksEngine,
        mut iterator: DBRawIteratorWithThreadMode<'a, DB>,
        from: &[u8],
    ) -> Self {
        iterator.seek(from);
        Self { engine, iterator }
    }

    /// Whether an iterator that stands nowhere is at the end, or failed.
    fn check(&self) -> Result<(), EngineError> {
        self.iterator
            .status()
            .map_err(|e| self.engine.failed("scanning the state", e))
    }
}

impl Cursor for RocksCursor<'_> {
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        let Some((key, value)) = self.iterator.item() else {
            return self.check().map(|()| None);
        };
        let pair = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.iterator.next();
        Ok(Some(pair))
    }

    fn next_key(&mut self) -> Result<Option<Bytes>, EngineError> {
        let key = self.iterator.key().map(Bytes::copy_from_slice);
        match key {
            Some(_) => self.iterator.next(),
            None => self.check()?,
        }
        Ok(key)
    }

    fn skip_to(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.iterator.seek(key);
        Ok(())
    }
}

/// The column family of a table. On disk: never changed.
const fn name(table: Table) -> &'static str {
    match table {
        Table::Current => "current",
        Table::History => "history",
        Table::Versions => "versions",
        Table::Leases => "leases",
        Table::LeaseKeys => "lease_keys",
        Table::Cluster => "cluster",
        Table::Meta => "meta",
    }
}
