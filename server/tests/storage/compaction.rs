//! Compaction keeps up with writes: it is not starved, and its units of work are small.

use std::fs;

use bytes::Bytes;
use tenure_statemachine::engine::{Engine, Table, WriteBatch, WriteOp};
use tenured::storage::RocksEngine;

use crate::wait;

/// Bytes of a row, and rows of a batch: together 4 MiB.
const ROW_BYTES: usize = 4 << 10;
const BATCH_ROWS: u64 = 1 << 10;
/// Batches, with which several memtables become files.
const BATCHES: u64 = 24;
/// No compaction writes larger files: 16 MiB, and what the last row adds.
const FILE_BYTES_MAX: u64 = 20 << 20;

/// Writes rows all over the key space, so that each file overlaps with every other.
fn fill(engine: &RocksEngine) {
    for batch_number in 0..BATCHES {
        let mut batch = WriteBatch::default();
        for number in 0..BATCH_ROWS {
            let key = (number * BATCHES + batch_number).to_be_bytes();
            let (key, value) = (Bytes::copy_from_slice(&key), vec![0; ROW_BYTES].into());
            batch.ops.push(WriteOp::Put(Table::Current, key, value));
        }
        engine.write(batch).unwrap();
    }
}

/// Name and nice value of each thread of this process.
fn threads() -> Vec<(String, i64)> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (head, rest) = stat.rsplit_once(')')?;
            let name = head.split_once('(')?.1.to_owned();
            // The state is field 3 of proc_pid_stat(5), the nice value field 19.
            let nice = rest.split_whitespace().nth(16)?.parse().ok()?;
            Some((name, nice))
        })
        .collect()
}

#[tokio::test]
async fn compaction_has_the_priority_of_the_writers_that_wait_for_it() {
    let root = tempfile::tempdir().unwrap();
    let engine = RocksEngine::open(&root.path().join("state")).unwrap();
    engine.flush().unwrap();
    let background = || {
        threads()
            .into_iter()
            .filter(|(name, _)| name.starts_with("rocksdb"))
    };
    wait::wait_for("threads of compaction run", || {
        background().next().is_some()
    })
    .await;
    let lowered: Vec<_> = background().filter(|(_, nice)| *nice > 0).collect();
    assert!(lowered.is_empty(), "busy processors starve {lowered:?}");
}

#[tokio::test]
async fn a_compaction_rewrites_a_part_of_a_table() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    let engine = RocksEngine::open(&path).unwrap();
    fill(&engine);
    engine.compact();
    let sizes = fs::read_dir(&path).unwrap().flatten().filter_map(|file| {
        let is_table = file.path().extension()? == "sst";
        Some(file.metadata().ok()?.len()).filter(|_| is_table)
    });
    let largest = sizes.max().unwrap();
    assert!(largest <= FILE_BYTES_MAX, "a file of {largest} bytes");
}
