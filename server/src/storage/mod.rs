//! Storage on disk: the log in segments, the state in a RocksDB database, and snapshots.
//!
//! The only module that depends on RocksDB. Formats are specified in docs/storage-format.md.

mod adapter_record;
mod checkpoint;
mod damage;
mod data_dir;
mod database_owner;
mod disk_space;
mod entry;
mod identity_file;
mod incoming;
mod known_peers;
mod latest_records;
mod log_backlog;
mod log_contradiction;
mod log_disk;
mod log_home;
mod log_marks;
mod log_store;
mod log_tail;
mod log_watch;
mod log_writer;
mod new_cluster;
mod removal;
mod rocks;
mod rocks_engine;
mod rocks_log;
mod seed;
mod segment_log;
mod self_check;
mod state_exchange;
mod state_store;

pub use self::{
    adapter_record::{AdapterRecord, AppliedRecord},
    checkpoint::{Checkpoint, CheckpointBytes, SnapshotDir},
    damage::is_damage,
    data_dir::{CERTIFICATES_NAME, DataDir, DataDirError, Owner},
    disk_space::DiskSpace,
    identity_file::{fresh_cluster_id, fresh_instance_id},
    incoming::{HeldFile, Incoming, Superseded, Turn, checksum, open_at},
    known_peers::KnownPeers,
    log_backlog::{LogBacklog, Stalled},
    log_contradiction::Contradiction,
    log_disk::{ENTRY_HEAD, Fact, LogDisk, LogRecord, LogWrite},
    log_home::open_log,
    log_store::LogStore,
    log_watch::StallLimits,
    log_writer::SyncObserver,
    new_cluster::{Held, found_new, held, recovered_by},
    rocks_engine::RocksEngine,
    rocks_log::RocksLog,
    seed::{Seed, SeedError, etcd_database, seed},
    segment_log::{DiskFiles, LogError, LogFile, LogFiles, LogOptions, LogOwner, SegmentLog},
    self_check::{SelfCheckError, check_own},
    state_exchange::{damage_of, is_unsettled, last_record, replace, settle},
    state_store::StateStore,
};
