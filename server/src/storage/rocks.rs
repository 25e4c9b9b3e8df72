//! How RocksDB is opened, and its errors put in our words.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Env, ErrorKind, Options,
};
use tenure_statemachine::EngineError;

/// Memory for blocks read from the state's files, shared by all its tables. Hot keys of a
/// coordination service fit many times over; more only delays what the page cache does anyway.
const STATE_CACHE_BYTES: usize = 16 << 20;

/// Size at which a table's memory is written out. Small enough that a node stays below the memory
/// of its peers of other makes, large enough that a flush writes a useful file.
const STATE_BUFFER_BYTES: usize = 8 << 20;

/// All tables' memory together; the largest is written out beyond this.
const STATE_BUFFERS_BYTES: usize = 24 << 20;

/// Buffers that a table may have, with the one that is written to; a write that needs another waits
/// for the disk. One is written to, one is on its way to the disk; the third is for a flush that a
/// snapshot asks for at the moment when a write was found free to go on.
pub(super) const STATE_BUFFERS_MAX: i32 = 3;

/// Size of one segment of the log's write-ahead file.
const LOG_BUFFER_BYTES: usize = 8 << 20;

/// Write-ahead files kept for reuse. Writing over blocks that the file system has already laid out
/// spares a durable write the journal commit for the file's size.
const LOG_FILES_RECYCLED: usize = 4;

/// Bits per key of the filter that spares a look into files that cannot hold the key.
const FILTER_BITS: f64 = 10.0;

/// The same for a table's memory, as a part of its size: as many bits for each row of a hundred
/// bytes. Most keys that are looked up there and not in `latest_records.rs` are not there.
const MEMORY_FILTER_PART: f64 = 0.016;

/// Information log files kept per database.
const INFO_LOGS_KEPT: usize = 2;

/// Options of the state database as a whole, which may be `new`.
pub(super) fn state_options(new: bool) -> Result<Options, rocksdb::Error> {
    let mut options = shared_options()?;
    options.create_if_missing(new);
    options.create_missing_column_families(new);
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(STATE_BUFFERS_BYTES);
    options.set_max_background_jobs(2);
    Ok(options)
}

/// A cache to be shared by the tables of one state database.
pub(super) fn state_cache() -> Cache {
    Cache::new_lru_cache(STATE_CACHE_BYTES)
}

/// Options of one table of the state database, whose rows are looked up one by one or walked over.
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
    if is_looked_up {
        options.set_memtable_prefix_bloom_ratio(MEMORY_FILTER_PART);
        options.set_memtable_whole_key_filtering(true);
    }
    // What was just written is soon written again, further down: compressing it there is enough.
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

/// Options of the log database: every write reaches the disk before it counts.
pub(super) fn log_options() -> Result<Options, rocksdb::Error> {
    let mut options = shared_options()?;
    options.set_write_buffer_size(LOG_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_recycle_log_file_num(LOG_FILES_RECYCLED);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // One write and one sync per batch, when the writer says so; nothing reaches the file before.
    options.set_manual_wal_flush(true);
    // Entries live for minutes; compressing them would cost more than the space.
    options.set_compression_type(DBCompressionType::None);
    options.set_max_background_jobs(2);
    Ok(options)
}

fn shared_options() -> Result<Options, rocksdb::Error> {
    let mut environment = Env::new()?;
    // Compaction can wait; the thread that serves cannot.
    environment.lower_thread_pool_cpu_priority();
    let mut options = Options::default();
    options.set_env(&environment);
    options.create_if_missing(true);
    options.set_keep_log_file_num(INFO_LOGS_KEPT);
    options.set_stats_dump_period_sec(0);
    options.set_paranoid_checks(true);
    options.set_skip_stats_update_on_db_open(true);
    Ok(options)
}

/// What to do about files that do not verify. RocksDB says which.
const DAMAGED: &str = "the database is damaged; restore the data directory, or replace the member: \
                       remove it and add it again with an empty data directory";

/// What to do when a file cannot be written for want of room.
const FULL: &str = "the disk is full; free space and start again";

/// An engine error of `source`, met while doing `context`.
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

/// Whether the disk has no room. RocksDB has this as one of its input and output errors.
fn is_full(error: &rocksdb::Error) -> bool {
    AsRef::<str>::as_ref(error).contains("No space left on device")
}

/// Whether files do not verify or are not there, rather than that the disk failed.
pub(super) fn is_damage(error: &rocksdb::Error) -> bool {
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument => true,
        // Of its kinds there is none for a file that is missing.
        _ => AsRef::<str>::as_ref(error).contains("No such file"),
    }
}
