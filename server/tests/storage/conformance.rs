//! The state machine's engine contract on RocksDB.

use std::sync::Arc;

use tenure_statemachine::engine::conformance;
use tenured::storage::RocksEngine;

#[test]
fn the_rocksdb_engine_keeps_the_engines_contract() {
    let root = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::run(&|| {
        count.set(count.get() + 1);
        let path = root.path().join(count.get().to_string());
        Arc::new(RocksEngine::open(&path).unwrap())
    });
    assert!(count.get() > 0, "the suite opened no engine");
}
