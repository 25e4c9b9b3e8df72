//! A node that is killed while its disk lags behind what is committed starts again.
//!
//! A quorum commits without this node's disk, so what is committed may lie beyond what this node
//! has written. What it notes of that with an earlier batch must not demand entries that a kill
//! takes with it: openraft refuses to start without them.

use std::{path::Path, sync::Arc};

use openraft::storage::{IOFlushed, RaftLogStorage, StorageHelper};
use prost::Message;
use tenure_proto::peer;
use tenured::{
    clock::RuntimeClock,
    consensus::{Entry, LeaderId, LogId, Payload, TypeConfig},
    storage::LogStore,
};

use crate::{
    step_disk::{Image, StepDisk},
    store,
};

/// Above the bytes that the writer takes at once, so that each entry is a batch of its own.
const ENTRY_BYTES: usize = 5 << 20;

pub(crate) fn id(index: u64) -> LogId {
    let leader = LeaderId {
        term: 1,
        node_id: 1,
    };
    LogId::new(leader, index)
}

pub(crate) fn blank(index: u64) -> Entry {
    Entry {
        log_id: id(index),
        payload: Payload::Blank,
    }
}

/// An entry that is a batch of its own and does nothing.
fn large(index: u64) -> Entry {
    let put = tenure_statemachine::Put {
        key: bytes::Bytes::from(format!("k{index}")),
        value: vec![7; ENTRY_BYTES].into(),
        ..Default::default()
    };
    let commands = [tenure_statemachine::Command::Put(put)];
    let group = tenure_statemachine::codec::encode_group(1, index, &commands);
    let now = tenure_statemachine::ClusterTime(index);
    let batch = tenure_statemachine::codec::encode_entry(now, &[group]);
    Entry {
        log_id: id(index),
        payload: Payload::Normal(tenured::consensus::Batch(batch)),
    }
}

pub(crate) fn open(disk: Arc<StepDisk>) -> LogStore {
    LogStore::open(disk, RuntimeClock::shared(), Arc::new(|_| {})).unwrap()
}

/// Starts as openraft does, and returns what it takes for committed and for the log's end.
async fn start(image: Image, dir: &Path) -> (Option<LogId>, Option<LogId>) {
    let mut log = open(Arc::new(StepDisk::holding(image)));
    let committed = log.read_committed().await.unwrap();
    let mut machine = store::machine(dir);
    StorageHelper::<TypeConfig, _, _>::new(&mut log, &mut machine)
        .with_id(1)
        .get_initial_state()
        .await
        .expect("the node starts");
    let last = log.get_log_state().await.unwrap().last_log_id;
    (committed, last)
}

#[tokio::test]
async fn a_node_killed_while_its_disk_lags_behind_the_commit_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(StepDisk::stepping());
    let mut log = open(Arc::clone(&disk));
    // Also when the test fails: the writer must not wait for ever.
    let _free = disk.freed_in_the_end();
    for index in 0..6 {
        log.append([large(index)], IOFlushed::noop()).await.unwrap();
    }
    // The others have them all on their disks; here they are written one by one.
    log.save_committed(Some(id(5))).await.unwrap();
    for written in 1..=4 {
        disk.sync_once();
        let (committed, last) = start(disk.after_crash(), dir.path()).await;
        assert_eq!(last, Some(id(written - 1)));
        assert!(
            committed <= last,
            "{committed:?} is said to be committed, and {last:?} is all there is"
        );
    }
}

#[tokio::test]
async fn a_log_that_ends_before_what_it_calls_committed_is_opened_up_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let filled = Arc::new(StepDisk::holding(Image::default()));
    let mut log = open(Arc::clone(&filled));
    for index in 0..65 {
        log.append([blank(index)], IOFlushed::noop()).await.unwrap();
    }
    drop(log);
    // As versions before this left it behind on a disk that lagged.
    let mut image = filled.after_crash();
    let beyond = peer::LogId {
        term: 1,
        node_id: 1,
        index: 90,
    };
    image.committed = Some(beyond.encode_to_vec());
    let (committed, last) = start(image, dir.path()).await;
    assert_eq!((committed, last), (Some(id(64)), Some(id(64))));
}
