//! What a node keeps on disk is bounded by bytes, too; what was deleted goes from its snapshots.

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use tenure_statemachine::{Command, DeleteRange, KeyRange, Put, RangeEnd};
use tenured::{
    metrics::Metrics,
    node::Replica,
    node::{LogLimits, Node},
};

use crate::{lone_node, wait};

const VALUE_BYTES: usize = 64 << 10;
const PUTS: usize = 320;
const LIMITS: LogLimits = LogLimits {
    entries: 1_000_000,
    bytes: 2 << 20,
    catchup_bytes: 1 << 20,
    held_bytes: 1 << 30,
    stale_bytes: 4 << 20,
};
/// What the limits leave, and as much again for what comes in while a snapshot is made.
const ENTRIES_MAX: i64 = (8 << 20) / VALUE_BYTES as i64;

async fn put_many(node: &Node, name: &str) {
    for number in 0..PUTS {
        let put = Put {
            key: format!("{name}/{number}").into(),
            value: vec![number as u8; VALUE_BYTES].into(),
            ..Put::default()
        };
        node.propose(Command::Put(put)).await.unwrap();
    }
}

/// Bytes of the files below `path`, and how many directories of snapshots are there.
fn snapshots(path: &Path) -> (usize, u64) {
    let directories: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
    let files = directories
        .iter()
        .flat_map(|directory| fs::read_dir(directory.path()).into_iter().flatten())
        .filter_map(|file| file.ok()?.metadata().ok());
    (directories.len(), files.map(|file| file.len()).sum())
}

#[tokio::test]
async fn a_log_of_few_large_entries_is_as_short_as_its_bytes_allow() {
    let dir = tempfile::tempdir().unwrap();
    let (node, metrics): (Arc<Node>, Arc<Metrics>) = lone_node::start(dir.path(), LIMITS).await;
    put_many(&node, "large").await;
    wait::wait_for("the log is short", || {
        let entries = metrics.disk.log_entries.get();
        entries > 0 && entries < ENTRIES_MAX
    })
    .await;
    let (count, _) = snapshots(&dir.path().join("snapshots"));
    assert_eq!(count, 1, "older snapshots go");
    node.stop().await;
}

#[tokio::test]
async fn a_snapshot_does_not_keep_what_the_state_let_go_of() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = lone_node::start(dir.path(), LIMITS).await;
    put_many(&node, "gone").await;
    let path = dir.path().join("snapshots");
    let whole = (PUTS * VALUE_BYTES) as u64;
    wait::wait_for("a snapshot holds most", || snapshots(&path).1 > whole / 2).await;
    let all = KeyRange {
        start: Bytes::from_static(b"gone/"),
        end: RangeEnd::Before(Bytes::from_static(b"gone0")),
    };
    let delete = DeleteRange {
        range: all,
        want_previous: false,
    };
    node.propose(Command::DeleteRange(delete)).await.unwrap();
    let revision = node.meta().revision;
    node.propose(Command::Compact(revision)).await.unwrap();
    node.collected(revision).await;
    node.compact_storage();
    wait::wait_for("the snapshot is small", || {
        let (count, bytes) = snapshots(&path);
        count == 1 && bytes < whole / 4
    })
    .await;
    node.stop().await;
}
