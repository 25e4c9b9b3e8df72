//! openraft's own storage suite on the stores, and on the log of earlier versions.

use std::path::Path;

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;
use tenured::{consensus::TypeConfig, raft::Machine, storage::LogStore};

use crate::store;

struct Builder {
    log: fn(&Path) -> LogStore,
}

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = (self.log)(dir.path());
        let machine = store::machine(dir.path());
        Ok((dir, log, machine))
    }
}

/// A database that closes on some other thread may do so while the process exits, and crash it.
#[test]
fn a_log_is_closed_when_its_last_handle_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let log = store::log_in_database(dir.path());
        let clone = log.clone();
        drop(log);
        drop(clone);
        // RocksDB opens a directory once at a time.
    }
}

#[tokio::test]
async fn the_stores_pass_openrafts_suite() {
    let builder = Builder { log: store::log };
    Suite::test_all(builder).await.unwrap();
}

#[tokio::test]
async fn the_log_of_earlier_versions_passes_openrafts_suite() {
    let builder = Builder {
        log: store::log_in_database,
    };
    Suite::test_all(builder).await.unwrap();
}
