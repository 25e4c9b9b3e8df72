//! What one request may cost a quorum: no request ends a node, takes its memory or stops its
//! heartbeats.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use tenure_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};
use tenure_testkit::{
    Calls, Cluster, Load, Node, STATE_MAX, assert_kept, assert_same_everywhere, wait_until,
};
use tonic::Code;

/// Memory that a node may take for what these tests do: some hundred megabytes for the keys and
/// the writes under way, and far below what the answers of a hostile request would take.
const MEMORY_MAX: u64 = 1500 << 20;
/// Longest that other writes may wait behind the largest request there is. A build for tests on a
/// shared machine takes a multiple of what nodes in service do.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Keys of one filling transaction; as many as one may have.
const PUTS_PER_TXN: usize = 128;
/// Filling transactions under way at once.
const FILLING: usize = 8;

/// The most memory that a node's process ever took.
fn peak_memory(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

/// A quorum in which the newest rules are in force.
async fn cluster() -> Cluster {
    let cluster = Cluster::start(3).await;
    wait_until("the feature level is raised", STATE_MAX, async || {
        // A version without levels has no such line, and no rules to come into force.
        let page = cluster.node(0).page("/metrics").await.body;
        let level = page
            .lines()
            .find_map(|line| line.strip_prefix("tenure_feature_level "));
        (level != Some("0")).then_some(()).ok_or("it is level 0")
    })
    .await;
    cluster
}

/// Heartbeats are left out while entries are answered, and they alone told the leader what the
/// other members know: a new quorum that was written to from its first moment had no limits.
#[tokio::test]
async fn the_newest_rules_come_into_force_beside_writes_that_never_pause() {
    let cluster = Cluster::builder(3).spawn();
    let load = Load::start("beside/", &cluster.addresses(), 8);
    load.wait_for(1).await;
    wait_until("the feature level is raised", STATE_MAX, async || {
        let mut nodes = cluster.nodes().iter();
        let raised = nodes.any(|node| node.log().contains("raised the feature level"));
        raised.then_some(()).ok_or("no node says so")
    })
    .await;
    load.finish().await;
}

/// Puts so many keys under `k`, with values of so many bytes.
async fn fill(calls: &Calls, keys: usize, value_len: usize, per_txn: usize) {
    let value = vec![b'v'; value_len];
    let starts = (0..keys).step_by(per_txn);
    let txns = starts.map(|from| {
        let puts = (from..keys.min(from + per_txn)).map(|number| {
            Request::RequestPut(PutRequest {
                key: format!("k{number:07}").into(),
                value: value.clone().into(),
                ..PutRequest::default()
            })
        });
        let request = txn(puts);
        async move { calls.kv().txn(request).await }
    });
    let done = stream::iter(txns).buffer_unordered(FILLING);
    done.try_for_each(|_| async { Ok(()) }).await.unwrap();
}

fn txn(ops: impl IntoIterator<Item = Request>) -> TxnRequest {
    let ops = ops.into_iter().map(|request| RequestOp {
        request: Some(request),
    });
    TxnRequest {
        success: ops.collect(),
        ..TxnRequest::default()
    }
}

fn put() -> Request {
    Request::RequestPut(PutRequest {
        key: "a".into(),
        ..PutRequest::default()
    })
}

fn read_all(count_only: bool) -> Request {
    Request::RequestRange(RangeRequest {
        key: b"\0".as_slice().into(),
        range_end: b"\0".as_slice().into(),
        count_only,
        ..RangeRequest::default()
    })
}

/// Every node still runs under the leader there was, in its term, and took no more memory than may
/// be.
async fn assert_unharmed(cluster: &mut Cluster, leader: usize, term: u64) {
    assert_eq!(cluster.leader().await, leader, "another leads");
    for number in 0..3 {
        let node = cluster.node_mut(number);
        assert_eq!(node.exited(), None, "{}", node.log_end());
        let status = node.calls().status().await.unwrap();
        assert_eq!(status.raft_term, term, "there was an election");
        let peak = peak_memory(node);
        println!("{} took at most {} MiB", node.name(), peak >> 20);
        assert!(peak < MEMORY_MAX, "{} took {peak} bytes", node.name());
    }
}

async fn leader_and_term(cluster: &Cluster) -> (usize, u64) {
    let leader = cluster.leader().await;
    let status = cluster.node(leader).calls().status().await.unwrap();
    (leader, status.raft_term)
}

/// Every node computes every answer, so one request used to end one leader after the other, and
/// each again when it started.
#[tokio::test]
async fn a_transaction_that_reads_everything_many_times_is_refused_and_ends_nobody() {
    let mut cluster = cluster().await;
    fill(&cluster.node(0).calls(), 340, 100_000, 8).await;
    let (leader, term) = leader_and_term(&cluster).await;
    let ops: Vec<_> = [put()]
        .into_iter()
        .chain((0..127).map(|_| read_all(false)))
        .collect();
    for node in cluster.nodes() {
        let refused = node.calls().kv().txn(txn(ops.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert_eq!(
            refused.message(),
            "tenure: answer is too large: a write may be answered with 16777216 bytes"
        );
        assert_eq!(node.calls().get("a").await.unwrap(), None);
    }
    assert_unharmed(&mut cluster, leader, term).await;
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_transaction_that_counts_everything_many_times_is_refused_and_holds_nobody_up() {
    let mut cluster = cluster().await;
    fill(&cluster.node(0).calls(), 20_000, 1, PUTS_PER_TXN).await;
    let (leader, term) = leader_and_term(&cluster).await;
    let counts = || Request::RequestTxn(txn((0..64).map(|_| read_all(true))));
    let ops: Vec<_> = [put()]
        .into_iter()
        .chain((0..63).map(|_| counts()))
        .collect();
    let sent = Instant::now();
    let refused = cluster.node(0).calls().kv().txn(txn(ops)).await;
    let refused = refused.unwrap_err();
    println!("refused after {:?}", sent.elapsed());
    assert_eq!(
        refused.message(),
        "tenure: too many keys for one write: one write may read or change 200000"
    );
    assert!(sent.elapsed() < WAIT_MAX);
    assert_unharmed(&mut cluster, leader, term).await;
    assert_same_everywhere(&cluster).await;
}

/// Applying it took longer than an election timeout, on the thread that keeps the heartbeats.
#[tokio::test]
async fn deleting_two_hundred_thousand_keys_at_once_changes_no_leader() {
    let mut cluster = cluster().await;
    fill(&cluster.node(0).calls(), 200_000, 1, PUTS_PER_TXN).await;
    let (leader, term) = leader_and_term(&cluster).await;
    let mut load = Load::start("beside/", &cluster.addresses(), 4);
    load.wait_for(20).await;
    let sent = Instant::now();
    let request = DeleteRangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..DeleteRangeRequest::default()
    };
    let deleted = cluster.node(0).calls().kv().delete_range(request).await;
    let took = sent.elapsed();
    assert_eq!(deleted.unwrap().into_inner().deleted, 200_000);
    let gap = load.resumed_after(sent, WAIT_MAX).await;
    load.wait_for(20).await;
    println!("deleted within {took:?}; others waited at most {gap:?}");
    assert_unharmed(&mut cluster, leader, term).await;
    let acknowledged = load.finish().await;
    assert_kept(&cluster, "beside/", &acknowledged).await;
    assert_same_everywhere(&cluster).await;
}
