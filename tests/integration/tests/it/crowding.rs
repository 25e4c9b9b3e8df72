//! One client that does not read, or a crowd of connections, does not stop the others.

mod idle_peers;
mod unread;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use tenure_proto::etcdserverpb::{
    PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest, request_op,
    watch_request::RequestUnion,
};
use tenure_testkit::{Calls, Cluster, Node, STATE_MAX, find_program, wait_until};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// Keys of the large range, and the bytes of each.
const KEYS: usize = 60_000;
const VALUE_BYTES: usize = 200;
/// Operations of one transaction.
const OPERATIONS: usize = 120;
/// Streams of one client that reads none of them; more than there are places for reads.
const UNREAD_STREAMS: usize = 60;
/// What unread streams may cost in memory: far less than what is in the range times their number.
const UNREAD_BYTES_MAX: usize = 200 << 20;
/// Longest that a short call may take meanwhile, in a build without optimisation.
const SHORT_MAX: Duration = Duration::from_secs(2);
/// Watchers of one key on a stream that is not read, and changes of it.
const WATCHERS: usize = 20_000;
const CHANGES: usize = 1000;
/// What those changes may cost in memory: less than half of the changes times the watchers, were
/// each one word.
const WATCHED_BYTES_MAX: usize = 80 << 20;
/// Watch streams of one client that begin in the past, what lies there, and what the node may hold
/// of it: a quarter of what all streams would hold.
const PAST_STREAMS: usize = 100;
const PAST_VALUES: usize = 160;
const PAST_VALUE_BYTES: usize = 100_000;
const PAST_BYTES_MAX: usize = 400 << 20;
/// Descriptors of a node in a crowd, the connections that come, and what stays for itself.
const DESCRIPTORS: usize = 400;
const CROWD: usize = 600;
const SPARE: usize = 100;

/// Bytes of memory that the process of a node has.
fn resident_bytes(node: &Node) -> usize {
    memory_bytes(node, "VmRSS:")
}

/// Bytes of memory of the process of a node, as its system counts them.
fn memory_bytes(node: &Node, what: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<usize>().unwrap() * 1024
}

/// Descriptors that the process of a node has open.
fn descriptors(node: &Node) -> usize {
    let directory = format!("/proc/{}/fd", node.pid());
    fs::read_dir(Path::new(&directory)).unwrap().count()
}

async fn fill(calls: &Calls) {
    let batches = (0..KEYS).step_by(OPERATIONS).map(|first| {
        let success = (first..first + OPERATIONS)
            .map(|number| RequestOp {
                request: Some(request_op::Request::RequestPut(PutRequest {
                    key: format!("large/{number:08}").into(),
                    value: vec![b'x'; VALUE_BYTES].into(),
                    ..PutRequest::default()
                })),
            })
            .collect();
        TxnRequest {
            success,
            ..TxnRequest::default()
        }
    });
    let mut kv = calls.kv();
    for batch in batches {
        kv.txn(batch).await.unwrap();
    }
}

fn large() -> RangeRequest {
    RangeRequest {
        key: "large/".into(),
        range_end: "large0".into(),
        ..RangeRequest::default()
    }
}

/// Makes a short call of each kind again and again, and says how long the longest took.
async fn short_calls(calls: &Calls, length: Duration) -> Duration {
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    while begin.elapsed() < length {
        let call = Instant::now();
        calls.put("short/1", "v").await.unwrap();
        assert_eq!(calls.get_prefix("short/").await.unwrap().len(), 1);
        longest = longest.max(call.elapsed());
    }
    longest
}

#[tokio::test]
async fn lists_are_served_beside_streams_that_nobody_reads() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    fill(&node.calls()).await;
    let before = resident_bytes(node);
    let idle = Calls::to(node.address());
    let mut unread = Vec::new();
    for _ in 0..UNREAD_STREAMS {
        let opened = idle.kv().range_stream(large()).await;
        unread.push(opened.unwrap().into_inner());
    }
    let longest = short_calls(&node.calls(), Duration::from_secs(3)).await;
    assert!(longest < SHORT_MAX, "a short call took {longest:?}");
    let grown = resident_bytes(node).saturating_sub(before);
    println!(
        "{UNREAD_STREAMS} unread streams: {} MiB, {longest:?}",
        grown >> 20
    );
    assert!(grown < UNREAD_BYTES_MAX, "{} MiB", grown >> 20);
    // The others leave this one no room in the window of their connection.
    unread.truncate(1);
    let mut keys = 0;
    while let Some(chunk) = unread[0].message().await.unwrap() {
        keys += chunk.range_response.unwrap().kvs.len();
    }
    assert_eq!(keys, KEYS, "what was read late is whole");
}

#[tokio::test]
async fn short_calls_are_served_beside_large_lists() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    fill(&node.calls()).await;
    let term = node.calls().status().await.unwrap().raft_term;
    let lists: Vec<_> = (0..6)
        .map(|_| {
            let calls = Calls::to(node.address());
            tokio::spawn(async move {
                for _ in 0..3 {
                    let listed = calls.kv().range(large()).await.unwrap().into_inner();
                    assert_eq!(listed.kvs.len(), KEYS);
                    assert_eq!(listed.count, KEYS as i64);
                }
            })
        })
        .collect();
    let longest = short_calls(&node.calls(), Duration::from_secs(3)).await;
    for list in lists {
        list.await.unwrap();
    }
    println!("the longest short call beside large lists: {longest:?}");
    assert!(longest < SHORT_MAX, "a short call took {longest:?}");
    let status = node.calls().status().await.unwrap();
    assert_eq!(status.raft_term, term, "the leader leads on");
}

#[tokio::test]
async fn many_watchers_of_one_key_that_nobody_reads_cost_little_and_leave_at_once() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    let idle = Calls::to(node.address());
    let creates = (0..WATCHERS).map(|_| WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
            key: "short/1".into(),
            ..WatchCreateRequest::default()
        })),
    });
    let requests = stream::iter(creates.collect::<Vec<_>>()).chain(stream::pending());
    let watching = idle.watch().watch(requests).await;
    let mut responses = watching.unwrap().into_inner();
    for _ in 0..WATCHERS {
        let created = responses.message().await.unwrap().unwrap();
        assert!(created.created && !created.canceled);
    }
    let before = resident_bytes(node);
    for number in 0..CHANGES {
        let value = number.to_string();
        node.calls().put("short/1", &value).await.unwrap();
    }
    let grown = resident_bytes(node).saturating_sub(before);
    println!(
        "{WATCHERS} watchers, {CHANGES} changes: {} MiB",
        grown >> 20
    );
    assert!(grown < WATCHED_BYTES_MAX, "{} MiB", grown >> 20);
    let told = responses.message().await.unwrap().unwrap();
    assert_eq!(told.events.len(), 1, "the stream goes on");
    drop(responses);
    drop(idle);
    let longest = short_calls(&node.calls(), Duration::from_secs(1)).await;
    assert!(longest < SHORT_MAX, "a short call took {longest:?}");
}

/// Each stream held some tens of megabytes of what it had read of the past for its client.
#[tokio::test]
async fn watch_streams_that_begin_in_the_past_and_are_not_read_cost_little() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    for number in 0..PAST_VALUES {
        let put = PutRequest {
            key: format!("past/{number:08}").into(),
            value: vec![b'x'; PAST_VALUE_BYTES].into(),
            ..PutRequest::default()
        };
        node.calls().kv().put(put).await.unwrap();
    }
    let before = resident_bytes(node);
    let idle = Calls::to(node.address());
    let mut unread = Vec::new();
    for _ in 0..PAST_STREAMS {
        let create = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
                key: "past/".into(),
                range_end: "past0".into(),
                start_revision: 1,
                ..WatchCreateRequest::default()
            })),
        };
        let requests = stream::iter([create]).chain(stream::pending());
        unread.push(idle.watch().watch(requests).await.unwrap().into_inner());
    }
    let longest = short_calls(&node.calls(), Duration::from_secs(5)).await;
    assert!(longest < SHORT_MAX, "a short call took {longest:?}");
    let grown = resident_bytes(node).saturating_sub(before);
    println!(
        "{PAST_STREAMS} unread watch streams from the past: {} MiB, {longest:?}",
        grown >> 20
    );
    assert!(grown < PAST_BYTES_MAX, "{} MiB", grown >> 20);
    // The others leave this one no room in the window of their connection.
    unread.truncate(1);
    let mut events = 0;
    while events < PAST_VALUES {
        let told = unread[0].message().await.unwrap().unwrap();
        events += told.events.len();
    }
    assert_eq!(events, PAST_VALUES, "what was read late is whole");
}

#[tokio::test]
async fn a_crowd_of_silent_connections_leaves_the_node_what_it_needs_and_ends() {
    let Some(prlimit) = find_program("prlimit") else {
        return println!("skipped: there is no prlimit (Debian: util-linux)");
    };
    let limit = format!("--nofile={DESCRIPTORS}");
    let words = [prlimit.to_str().unwrap(), &limit];
    let cluster = Cluster::builder(1).wrapper(&words).start();
    let cluster = cluster.await;
    let node = cluster.node(0);
    let calls = node.calls();
    calls.put("short/1", "v").await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(TcpStream::connect(node.address()).await.unwrap());
    }
    calls.put("short/1", "v").await.unwrap();
    let open = descriptors(node);
    assert!(open < DESCRIPTORS - SPARE, "{open} descriptors are open");
    // None of them ever says anything.
    wait_until("silent connections have ended", STATE_MAX, async || {
        let open = descriptors(node);
        (open < DESCRIPTORS / 4).then_some(()).ok_or(open)
    })
    .await;
    let mut nothing = [0];
    assert_eq!(crowd[0].read(&mut nothing).await.unwrap_or(0), 0);
    let late = Calls::to(node.address());
    late.put("short/2", "v").await.unwrap();
}
