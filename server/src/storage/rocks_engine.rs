//! The state machine's engine on RocksDB: one column family per table, no write-ahead log.
//!
//! The Raft log serves as this database's write-ahead log: writes lost in a crash are replayed from
//! it. Column families are flushed atomically, so a prefix of the batches survives, across all
//! tables.

use std::{
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

use super::{damage, latest_records::LatestRecords, removal, rocks};

/// Maximum number of keys per read that are looked up one by one: a read this small may be of
/// recently written records, which are cached.
const FEW_KEYS: usize = 8;

/// The state database of a node.
pub struct RocksEngine {
    // Closed before the directory is released: fields drop in this order.
    db: DB,
    /// Cache for [`Table::Current`].
    records: LatestRecords,
    /// Cache for [`Table::Leases`].
    leases: LatestRecords,
    directory: Directory,
}

/// The directory of a database; removed on drop if it has been replaced.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    remove: AtomicBool,
    /// Whether it is a member's state, whose damage is marked for the next start.
    is_state: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.remove.load(Ordering::Acquire) {
            removal::remove_later(&self.path);
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
    /// Opens the database in `path`, creating it if the directory does not exist.
    ///
    /// # Errors
    /// When the files cannot be opened or are damaged. A directory that exists but holds no
    /// database counts as damaged.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let cache = rocks::state_cache();
        let tables = Table::ALL.map(|table| {
            let is_looked_up = matches!(table, Table::Current | Table::Leases | Table::Cluster);
            let options = rocks::table_options(&cache, is_looked_up);
            ColumnFamilyDescriptor::new(name(table), options)
        });
        let context = || format!("opening the state database in {}", path.display());
        let options = rocks::state_options(!path.exists());
        let db = DB::open_cf_descriptors(&options, path, tables)
            .inspect_err(|error| damage::note_unopened(path, error))
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

    /// Opens the database in `path` for reading; its files are not modified.
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

    /// Flushes all memtables to files, and waits for completion.
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

    /// Whether a write may have to wait for the disk: full memtables are not flushed yet.
    ///
    /// If not, a write fills at most the active memtables, and `rocks::STATE_BUFFERS_MAX` leaves
    /// room for that and for one requested flush.
    #[must_use]
    pub fn may_stall(&self) -> bool {
        // All tables are flushed together, and every batch writes this one.
        let meta = self.table(Table::Meta);
        let waits = |property| {
            let value = self.db.property_int_value_cf(meta, property);
            // An unknown value counts as a stall.
            value.ok().flatten() != Some(0)
        };
        waits(properties::NUM_IMMUTABLE_MEM_TABLE) || waits(properties::ACTUAL_DELAYED_WRITE_RATE)
    }

    /// Creates a copy of the current state in `path`, sharing files where the file system supports
    /// it.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn checkpoint(&self, path: &Path) -> Result<(), EngineError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(|e| self.failed("copying the state", e))
    }

    /// Compacts the files to drop deleted rows. Runs concurrently with reads and writes.
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

    /// Compacts a part of the history table, so that rows that collection deleted give their bytes
    /// back to the file system. Runs concurrently with reads and writes; takes for a moment as many
    /// bytes again as the live rows of the part.
    pub fn compact_history(&self, from: &[u8], to: &[u8]) {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        let handle = self.table(Table::History);
        self.db
            .compact_range_cf_opt(handle, Some(from), Some(to), &options);
    }

    /// Removes the files when the last user is dropped; another database has replaced this one.
    pub(super) fn remove_when_closed(&self) {
        debug_assert!(
            self.directory.is_state,
            "the files of a snapshot are removed with the snapshot"
        );
        self.directory.remove.store(true, Ordering::Release);
    }

    /// Converts an error of RocksDB; marks damage for the next start.
    fn failed(&self, context: &str, error: rocksdb::Error) -> EngineError {
        if self.directory.is_state {
            damage::note(&self.directory.path, &error);
        }
        let path = self.directory.path.display();
        rocks::engine_error(&format!("{context} in {path}"), error)
    }

    /// Returns the cache of a table whose rows are looked up by key.
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

    /// Large reads bypass the cache, whose records they would evict.
    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, EngineError> {
        if keys.len() <= FEW_KEYS {
            return keys.iter().map(|key| self.get(table, key)).collect();
        }
        debug_assert!(keys.is_sorted(), "the keys of one read ascend");
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
        // Looks up each table's handle by name once, not for each write.
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
                // Most new leases are not read again soon; one that is renewed or ended is read
                // first.
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

/// A snapshot of the state, unaffected by later writes.
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

    /// Distinguishes the end of the scan from a failure when the iterator is invalid.
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

/// Column family of a table. Stored on disk, never changed.
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
