//! Places, turns and memory of reads, on a node of one process.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use tenure_proto::etcdserverpb::{HashKvRequest, maintenance_server::Maintenance};
use tenure_statemachine::{Command, KeyRange, Put, RangeQuery};
use tonic::Request;

use super::*;
use crate::{
    rpc::{Limits, etcd::maintenance::MaintenanceService, fake::FakeNode},
    share::{SHARE_BYTES, Share},
};

/// Longest wait of a test for an expected response.
const PATIENCE: Duration = Duration::from_secs(30);

fn bulk_reads(keys: usize) -> BulkReads {
    BulkReads::new(filled(keys))
}

/// A node with `keys` keys of a kibibyte each.
fn filled(keys: usize) -> Arc<FakeNode> {
    let node = FakeNode::leading();
    for number in 0..keys {
        node.apply(&Command::Put(Put {
            key: format!("key-{number:06}").into(),
            value: vec![b'x'; 1024].into(),
            ..Put::default()
        }));
    }
    node
}

async fn count(bulk: &BulkReads, end: &'static str) -> Result<usize, Failure> {
    let range = KeyRange::from_wire("key".into(), Bytes::from_static(end.as_bytes()));
    let query = RangeQuery::latest(range);
    let read = bulk.read(move |reader| Ok(reader.range(&query)?.kvs.len()));
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_reads_go_on_while_large_ones_wait_for_their_turns() {
    let bulk = bulk_reads(1000);
    // No read has a turn while these are held.
    let turns = Arc::clone(&bulk.places.turns);
    let held: Vec<_> = (0..turns.free()).map(|_| turns.wait()).collect();
    let large: Vec<_> = (0..SHORT_READS_MAX * 2)
        .map(|_| {
            let bulk = bulk.clone();
            tasks::spawn("large", async move { count(&bulk, "\0").await })
        })
        .collect();
    while bulk.places.large.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        assert_eq!(count(&bulk, "key-0001").await, Ok(100));
    }
    drop(held);
    let (mut read, mut refused) = (0, 0);
    for large in large {
        match large.await.expect("it ends") {
            Ok(count) => {
                assert_eq!(count, 1000);
                read += 1;
            }
            Err(reason) => {
                assert_eq!(reason.reason(), Reason::TooManyRequests);
                refused += 1;
            }
        }
    }
    assert_eq!(
        (read, refused),
        (LARGE_READS_MAX, SHORT_READS_MAX * 2 - LARGE_READS_MAX)
    );
}

#[tokio::test]
async fn a_read_that_finds_no_memory_is_refused_and_leaves_none_held() {
    let bulk = bulk_reads(1000);
    let all_but_a_little = ANSWERS_BYTES_MAX - 300 * 1024;
    let held = bulk.memory().take(all_but_a_little).await.expect("free");
    assert_eq!(
        count(&bulk, "\0").await,
        Err(Reason::TooManyRequests.into())
    );
    assert_eq!(count(&bulk, "key-0002").await, Ok(200));
    drop(held);
    assert_eq!(count(&bulk, "\0").await, Ok(1000));
    let memory = bulk.memory();
    let all = memory.take(ANSWERS_BYTES_MAX);
    let all = tokio::time::timeout(PATIENCE, all).await;
    assert!(all.expect("all is free").is_ok());
    let more = bulk.memory().take(ANSWERS_BYTES_MAX + 1).await;
    assert_eq!(more.map(|_| ()), Err(Reason::RangeTooLarge.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_whose_caller_is_gone_ends_with_its_turn() {
    let bulk = bulk_reads(1000);
    let turns = Arc::clone(&bulk.places.turns);
    let held: Vec<_> = (0..turns.free()).map(|_| turns.wait()).collect();
    let reading = {
        let bulk = bulk.clone();
        tasks::spawn("large", async move { count(&bulk, "\0").await })
    };
    while bulk.places.large.available_permits() == LARGE_READS_MAX {
        tokio::task::yield_now().await;
    }
    reading.abort();
    drop(held);
    while bulk.places.large.available_permits() < LARGE_READS_MAX {
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&bulk, "\0").await, Ok(1000));
}

#[tokio::test]
async fn a_hash_of_more_than_is_free_for_answers_is_made() {
    let services = filled(1000).services(Limits::standard());
    let memory = services.bulk_reads.memory();
    let _all = memory.take(ANSWERS_BYTES_MAX).await.expect("free");
    let maintenance = MaintenanceService(services);
    let request = Request::new(HashKvRequest::default());
    let hashed = tokio::time::timeout(PATIENCE, maintenance.hash_kv(request)).await;
    let hashed = hashed.expect("in time").expect("a hash").into_inner();
    assert!(hashed.hash != 0 && hashed.hash_revision == 1001);
}

/// Each that lacked memory used to wait for twice of what it had, and lacked memory again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_of_one_connection_that_lack_memory_are_repeated_once() {
    const READS: usize = 6;
    const MIB: usize = 1 << 20;
    let bulk = bulk_reads(0);
    let begun = Arc::new(AtomicUsize::new(0));
    let together = Arc::new(Barrier::new(READS));
    let read = {
        let begun = Arc::clone(&begun);
        move |_: &Reader<'_>, turn: &Turn| {
            let is_first = begun.fetch_add(1, Ordering::Relaxed) < READS;
            for kept in 0..91 {
                // All have found that they need a sixth of it before memory runs out.
                if is_first && kept <= 16 {
                    together.wait();
                }
                if !turn.keep(MIB) {
                    break;
                }
                thread::yield_now();
            }
            Ok(())
        }
    };
    let share = Share::default();
    let reads = (0..READS).map(|_| {
        let read = bulk.read_when_free(Start::Charged, read.clone());
        CALLER.scope(share.clone(), read)
    });
    let done = tokio::time::timeout(PATIENCE, join_all(reads)).await;
    assert!(done.expect("in time").iter().all(Result::is_ok));
    let begun = begun.load(Ordering::Relaxed);
    assert!(begun <= 2 * READS, "{begun} times");
}

#[tokio::test]
async fn answers_on_one_connection_hold_a_quarter_and_leave_the_rest_to_others() {
    const MIB: usize = 1 << 20;
    let bulk = bulk_reads(0);
    let (one, other) = (Share::default(), Share::default());
    let take = |share: &Share, bytes| {
        let bulk = bulk.clone();
        let taken = async move { bulk.memory().take_now(bytes) };
        CALLER.scope(share.clone(), taken)
    };
    let held = take(&one, SHARE_BYTES - MIB).await.expect("its part");
    assert!(take(&one, 2 * MIB).await.is_none(), "beyond its part");
    let rest = take(&one, MIB).await.expect("the rest of its part");
    let _others = take(&other, SHARE_BYTES).await.expect("another's part");
    drop((held, rest));
    // One answer may be larger than the share, when it is the only one.
    let large = take(&one, 2 * SHARE_BYTES).await.expect("a large answer");
    assert!(take(&one, MIB).await.is_none(), "beside a large answer");
    drop(large);
    assert!(take(&one, MIB).await.is_some());
}
