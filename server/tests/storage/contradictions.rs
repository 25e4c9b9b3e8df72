//! A log that contradicts itself or the state is not opened, and the refusal names the entries.

use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use prost::Message;
use tenure_proto::peer;
use tenured::{
    clock::RuntimeClock,
    consensus::{Entry, LeaderId, LogId, Payload},
    storage::LogStore,
};

use crate::step_disk::{Image, StepDisk};

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

fn fact(id: LogId) -> Option<Vec<u8>> {
    let wire = peer::LogId {
        term: id.leader_id.term,
        node_id: id.leader_id.node_id,
        index: id.index,
    };
    Some(wire.encode_to_vec())
}

fn open(image: Image) -> std::io::Result<LogStore> {
    let disk = Arc::new(StepDisk::holding(image));
    LogStore::open(disk, RuntimeClock::shared(), Arc::new(|_| {}))
}

/// A log of the entries 0 to 9, the later half of them of term 2.
async fn sound() -> Image {
    let disk = Arc::new(StepDisk::default());
    let over: Arc<StepDisk> = Arc::clone(&disk);
    let mut log = LogStore::open(over, RuntimeClock::shared(), Arc::new(|_| {})).unwrap();
    for index in 0..10 {
        let entry = Entry {
            log_id: id(if index < 5 { 1 } else { 2 }, index),
            payload: Payload::Blank,
        };
        log.append([entry], IOFlushed::noop()).await.unwrap();
    }
    drop(log);
    disk.after_crash()
}

/// What the refusal says.
fn text(error: &std::io::Error) -> String {
    error.to_string()
}

#[tokio::test]
async fn a_log_that_contradicts_itself_is_not_opened() {
    let mut front = sound().await;
    front.records.remove(&0);
    let mut behind_purged = sound().await;
    behind_purged.purged = fact(id(1, 3));
    behind_purged.records.remove(&4);
    let mut older = sound().await;
    older.purged = fact(id(3, 3));
    let mut committed = sound().await;
    committed.committed = fact(id(1, 6));
    for (image, refusal) in [
        (
            front,
            "the log is purged up to nothing, and its first entry is 1",
        ),
        (
            behind_purged,
            "the log is purged up to T1-N1.3, and its first entry is 5",
        ),
        (
            older,
            "the log is purged up to T3-N1.3, and ends at T2-N1.9, which is older",
        ),
        (
            committed,
            "T1-N1.6 was committed, and the log holds T2-N1.6 in its place",
        ),
    ] {
        let error = open(image).expect_err(refusal);
        assert_eq!(error.to_string(), refusal);
    }
}

#[tokio::test]
async fn a_log_that_contradicts_the_state_is_not_used() {
    let log = open(sound().await).unwrap();
    let refused = |applied, snapshot| {
        let log: &LogStore = &log;
        log.agree_with_state(applied, snapshot)
            .map_err(|error| text(&error))
    };
    let other = "T1-N1.7 was applied to the state, and the log holds T2-N1.7 in its place";
    assert_eq!(refused(Some(id(1, 7)), None), Err(other.to_owned()));
    assert_eq!(refused(Some(id(2, 7)), None), Ok(()));
    assert_eq!(refused(None, None), Ok(()));
    assert_eq!(
        refused(Some(id(3, 20)), None),
        Ok(()),
        "a snapshot was installed before the log was purged"
    );
}

#[tokio::test]
async fn a_state_that_ends_before_its_log_begins_is_refused_unless_a_snapshot_bridges_them() {
    let mut image = sound().await;
    image.purged = fact(id(2, 6));
    let log = open(image).unwrap();
    let gone = log.agree_with_state(Some(id(1, 2)), Some(id(1, 4)));
    assert_eq!(
        text(&gone.unwrap_err()),
        "the state ends at T1-N1.2, and the log up to T2-N1.6 is gone: the entries between are lost"
    );
    log.agree_with_state(Some(id(1, 2)), Some(id(2, 6)))
        .unwrap();
    log.agree_with_state(Some(id(2, 6)), None).unwrap();
    let other = log.agree_with_state(Some(id(3, 6)), None);
    assert_eq!(
        text(&other.unwrap_err()),
        "T3-N1.6 was applied to the state, and the log holds T2-N1.6 in its place"
    );
}
