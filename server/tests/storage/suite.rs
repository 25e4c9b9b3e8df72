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

#[tokio::test]
async fn the_rocksdb_stores_pass_openrafts_suite() {
    Suite::test_all(Builder).await.unwrap();
}
