//! openraft's own storage suite on the RocksDB stores.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;
use tenured::{
    raft::{Machine, TypeConfig},
    storage::{Durability, LogStore},
};

use crate::store;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = store::log(dir.path(), Durability::Synced);
        let machine = store::machine(dir.path());
        Ok((dir, log, machine))
    }
}

/// A database that closes on some other thread may do so while the process exits, and crash it.
#[test]
fn a_log_is_closed_when_its_last_handle_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let log = store::log(dir.path(), Durability::Synced);
        let clone = log.clone();
        drop(log);
        drop(clone);
        // RocksDB opens a directory once at a time.
    }
}

#[tokio::test]
async fn the_rocksdb_stores_pass_openrafts_suite() {
    Suite::test_all(Builder).await.unwrap();
}
