//! RocksDB options, and the conversion of its errors.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, ErrorKind, Options};
use tenure_statemachine::EngineError;

/// Memory for blocks read from the state's files, shared by all its tables. Holds the hot keys of a
/// coordination service many times over; a larger cache would only hold what the page cache holds
/// already.
const STATE_CACHE_BYTES: usize = 16 << 20;

/// Size at which a table's memtable is flushed. Small enough that a node needs less memory than
/// comparable servers, large enough that a flush writes a useful file.
const STATE_BUFFER_BYTES: usize = 8 << 20;

/// Maximum memory of all memtables together; beyond it the largest is flushed.
const STATE_BUFFERS_BYTES: usize = 24 << 20;

/// Maximum memtables of a table, including the active one; a write that needs another waits for the
/// disk. One is active, one is being flushed; the third is for a flush that a snapshot requests
/// just after a write was found free to proceed.
pub(super) const STATE_BUFFERS_MAX: i32 = 3;

/// Maximum size of the first level below the newest files. Compaction merges some newest files with
/// all of that level. If it is much larger than they are, each row is written dozens of times, and
/// newest files come faster than they are merged: RocksDB then stalls writes, for seconds. Four
/// flushes of a table make a compaction, so this is the size of what comes in.
const STATE_BASE_BYTES: u64 = 32 << 20;

/// Size at which compaction begins another file. A level has some of them, so that a compaction
/// into it need not rewrite the whole level.
const STATE_FILE_BYTES: u64 = 16 << 20;

/// Number of newest files of a table from which on RocksDB slows its writers down, and at which it
/// stops them. Above RocksDB's defaults: a slow writer is the apply of all commands, while a read
/// with its filters skips most of these files.
const STATE_SLOW_FILES: i32 = 32;
const STATE_STOP_FILES: i32 = 64;

/// Flushes and compactions at a time: one flush and three compactions. With one of them, the newest
/// files of a table pile up while it merges a large level of another.
const STATE_JOBS: i32 = 4;

/// Bytes after which a file being written is handed to the disk. Without, a flush or a compaction
/// leaves megabytes to the page cache, whose write then delays the syncs of the log beside it.
const STATE_BYTES_PER_SYNC: u64 = 1 << 20;

/// Has files and memtables that nothing uses any more removed by RocksDB's own threads. Otherwise
/// the thread does it that ends the last read of them, and that may be the one with the heartbeats:
/// a file system that discards blocks takes a second to remove some hundred megabytes.
const REMOVE_IN_BACKGROUND: &str = "avoid_unnecessary_blocking_io=true";

/// Size of one segment of the log's write-ahead file.
const LOG_BUFFER_BYTES: usize = 8 << 20;

/// Write-ahead files kept for reuse. Overwriting blocks that the file system has already allocated
/// spares a durable write the journal commit for the file's size.
const LOG_FILES_RECYCLED: usize = 4;

/// Bits per key of the bloom filter, which avoids reads of files that cannot hold the key.
const FILTER_BITS: f64 = 10.0;

/// Size of the memtable's bloom filter as a fraction of the memtable: as many bits for each row of
/// a hundred bytes. Most keys looked up there, after a miss in `latest_records.rs`, do not exist.
const MEMORY_FILTER_PART: f64 = 0.016;

/// Number of info log files kept per database.
const INFO_LOGS_KEPT: usize = 2;

/// Options of the state database as a whole; a `new` one is created.
pub(super) fn state_options(new: bool) -> Options {
    let mut options = shared_options();
    options.create_if_missing(new);
    options.create_missing_column_families(new);
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(STATE_BUFFERS_BYTES);
    options.set_max_background_jobs(STATE_JOBS);
    options.set_bytes_per_sync(STATE_BYTES_PER_SYNC);
    options
        .get_options_from_string(REMOVE_IN_BACKGROUND)
        .expect("RocksDB knows the option")
}

/// Creates the block cache that the tables of one state database share.
pub(super) fn state_cache() -> Cache {
    Cache::new_lru_cache(STATE_CACHE_BYTES)
}

/// Options of one table of the state database, whose rows are looked up by key or only scanned.
pub(super) fn table_options(cache: &Cache, is_looked_up: bool) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(FILTER_BITS, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(STATE_BUFFER_BYTES);
    options.set_max_write_buffer_number(STATE_BUFFERS_MAX);
    options.set_max_bytes_for_level_base(STATE_BASE_BYTES);
    options.set_target_file_size_base(STATE_FILE_BYTES);
    options.set_level_zero_slowdown_writes_trigger(STATE_SLOW_FILES);
    options.set_level_zero_stop_writes_trigger(STATE_STOP_FILES);
    if is_looked_up {
        options.set_memtable_prefix_bloom_ratio(MEMORY_FILTER_PART);
        options.set_memtable_whole_key_filtering(true);
    }
    // Recent writes are soon compacted into lower levels, so compression there is enough.
    options.set_compression_per_level(&[
        DBCompressionType::None,
        DBCompressionType::None,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
    ]);
    options
}

/// Options of the log database: a write counts only when it is on disk.
pub(super) fn log_options() -> Options {
    let mut options = shared_options();
    options.set_write_buffer_size(LOG_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_recycle_log_file_num(LOG_FILES_RECYCLED);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // One write and one sync per batch, on the writer's request; nothing reaches the file before.
    options.set_manual_wal_flush(true);
    // Entries live for minutes; compressing them would cost more than the space.
    options.set_compression_type(DBCompressionType::None);
    options.set_max_background_jobs(2);
    options
}

/// Threads of compaction have the priority of all others. With a lower one they get next to
/// nothing of busy processors: a compaction that needs 15 ms of one took 1.5 s, the newest files
/// piled up, and RocksDB stalled the writes of all tables.
fn shared_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_keep_log_file_num(INFO_LOGS_KEPT);
    options.set_stats_dump_period_sec(0);
    options.set_paranoid_checks(true);
    options.set_skip_stats_update_on_db_open(true);
    options
}

/// Remedy for files that do not verify. RocksDB's message names them.
const DAMAGED: &str = "the database is damaged; start the member again, which makes a damaged \
                       state anew; if it ends again, replace the member: remove it and add it \
                       again with an empty data directory";

/// Remedy for a file that cannot be written for lack of space.
const FULL: &str = "the disk is full; free space and start again";

/// Converts the error `source` of the operation `context`.
pub(super) fn engine_error(context: &str, source: rocksdb::Error) -> EngineError {
    let context = if is_damage(&source) {
        format!("{context}: {DAMAGED}")
    } else if is_full(&source) {
        format!("{context}: {FULL}")
    } else {
        context.to_owned()
    };
    EngineError {
        context,
        source: Some(Box::new(source)),
    }
}

/// Whether the disk is full. RocksDB reports this as an I/O error.
fn is_full(error: &rocksdb::Error) -> bool {
    AsRef::<str>::as_ref(error).contains("No space left on device")
}

/// Whether files are damaged or missing, rather than the disk failing.
pub(super) fn is_damage(error: &rocksdb::Error) -> bool {
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument => true,
        _ => is_missing(error),
    }
}

/// Whether a file is missing, for which RocksDB has no error kind of its own: `CURRENT`, by which
/// it tells that there is a database, or one that another file names.
pub(super) fn is_missing(error: &rocksdb::Error) -> bool {
    let said: &str = error.as_ref();
    said.contains("No such file") || said.contains("does not exist (create_if_missing is false)")
}
