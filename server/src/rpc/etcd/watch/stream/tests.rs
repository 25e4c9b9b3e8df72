//! Watch streams against a node of one process: etcd's guarantees, one by one.

mod behind;
mod memory;
mod progress;
mod size;

use std::{future::pending, thread};

use bytes::Bytes;
use tenure_proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, watch_create_request::FilterType,
};
use tenure_statemachine::{Command, DeleteRange, KeyRange, Put};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::rpc::{
    admission::Caller,
    answer::{
        outbox::{Responses, outbox},
        status::reason_of,
    },
    fake::{CLUSTER, FakeNode, MEMBER, TERM},
};

/// Longest wait of a test for an expected response.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client {
    requests: mpsc::Sender<Result<WatchRequest, Status>>,
    responses: Responses<WatchResponse>,
}

impl Client {
    fn of(node: &Arc<FakeNode>) -> Self {
        Self::with(node, Duration::from_secs(600), pending())
    }

    fn with(
        node: &Arc<FakeNode>,
        progress_interval: Duration,
        stop: impl Future<Output = Status> + Send + 'static,
    ) -> Self {
        let history = History::new(Arc::clone(node) as _);
        Self::sharing(node, history, progress_interval, stop)
    }

    fn sharing(
        node: &Arc<FakeNode>,
        history: Arc<History>,
        progress_interval: Duration,
        stop: impl Future<Output = Status> + Send + 'static,
    ) -> Self {
        let (requests, inbound) = mpsc::channel(16);
        let (sender, responses) = outbox(4);
        let replica: Arc<dyn Replica> = Arc::clone(node) as _;
        let settings = StreamSettings {
            progress_interval,
            response_bytes: 500,
        };
        let inbound = ReceiverStream::new(inbound);
        let stream = WatchStream::new(
            &node.hub,
            replica,
            StreamCaller::new(Arc::default(), Caller::Nobody, node.hub.auth_changes()),
            history,
            settings,
            inbound,
            sender,
        );
        crate::tasks::spawn("test-watch", stream.run(stop));
        Self {
            requests,
            responses,
        }
    }

    async fn ask(&self, request: RequestUnion) {
        let request = WatchRequest {
            request_union: Some(request),
        };
        self.requests
            .send(Ok(request))
            .await
            .expect("the stream is open");
    }

    async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.ask(RequestUnion::CreateRequest(request)).await;
        self.next().await
    }

    async fn next(&mut self) -> WatchResponse {
        self.end_or_next().await.expect("a response")
    }

    async fn end_or_next(&mut self) -> Result<WatchResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.responses.next()).await;
        next.expect("in time").expect("the stream is open")
    }

    /// Collects `count` events as `(mod_revision, key)`.
    async fn events(&mut self, count: usize) -> Vec<(i64, Bytes)> {
        let mut events = Vec::new();
        while events.len() < count {
            let response = self.next().await;
            assert!(!response.canceled && !response.created, "{response:?}");
            assert!(!response.events.is_empty(), "{response:?}");
            events.extend(seen(&response));
        }
        events
    }

    /// Requests progress until the stream reports it for all watchers.
    async fn progress(&mut self) -> i64 {
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}))
            .await;
        let response = self.next().await;
        assert_eq!(response.watch_id, NO_WATCHER, "{response:?}");
        assert!(response.events.is_empty());
        response.header.expect("a header").revision
    }
}

fn seen(response: &WatchResponse) -> Vec<(i64, Bytes)> {
    let kvs = response.events.iter().filter_map(|event| event.kv.as_ref());
    kvs.map(|kv| (kv.mod_revision, kv.key.clone())).collect()
}

fn prefix(start: &'static str, end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: start.into(),
        range_end: end.into(),
        ..Default::default()
    }
}

fn all() -> WatchCreateRequest {
    prefix("\0", "\0")
}

fn from(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        start_revision,
        ..all()
    }
}

fn put(node: &FakeNode, key: &str, value: &str) -> i64 {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    node.apply(&Command::Put(Put {
        key,
        value,
        ..Put::default()
    }))
    .revision
    .0
}

fn delete(node: &FakeNode, key: &'static str) {
    let range = KeyRange::single(key.into());
    node.apply(&Command::DeleteRange(DeleteRange {
        range,
        want_previous: false,
    }));
}

fn compact(node: &FakeNode, revision: i64) {
    node.apply(&Command::Compact(Revision(revision)))
        .reply
        .expect("compacted");
}

#[tokio::test]
async fn created_comes_first_and_events_follow_in_order() {
    let node = FakeNode::leading();
    put(&node, "a", "before");
    let mut client = Client::of(&node);
    let created = client.create(prefix("a", "b")).await;
    assert!(created.created && !created.canceled);
    let header = created.header.expect("a header");
    assert_eq!((header.cluster_id, header.member_id), (CLUSTER, MEMBER.0));
    assert_eq!((header.revision, header.raft_term), (2, TERM));
    put(&node, "a", "1");
    put(&node, "b", "other");
    put(&node, "aa", "2");
    assert_eq!(client.events(2).await, [(3, "a".into()), (5, "aa".into())]);
    assert_eq!(client.progress().await, 5);
}

#[tokio::test]
async fn ids_are_counted_chosen_refused_and_reused() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    let with_id = |watch_id| WatchCreateRequest { watch_id, ..all() };
    assert_eq!(client.create(all()).await.watch_id, 0);
    assert_eq!(client.create(with_id(1)).await.watch_id, 1);
    assert_eq!(client.create(all()).await.watch_id, 2);
    let duplicate = client.create(with_id(2)).await;
    assert!(duplicate.created && duplicate.canceled);
    assert_eq!(duplicate.watch_id, NO_WATCHER);
    assert_eq!(
        duplicate.cancel_reason,
        "mvcc: duplicate watch ID provided on the WatchStream"
    );
    for unknown in [77, 2, 2] {
        let request = WatchCancelRequest { watch_id: unknown };
        client.ask(RequestUnion::CancelRequest(request)).await;
    }
    let canceled = client.next().await;
    assert!(canceled.canceled && !canceled.created);
    assert_eq!((canceled.watch_id, canceled.compact_revision), (2, 0));
    assert_eq!(client.create(with_id(2)).await.watch_id, 2);
    put(&node, "a", "1");
    let mut received = [
        client.next().await,
        client.next().await,
        client.next().await,
    ]
    .map(|response| response.watch_id);
    received.sort_unstable();
    assert_eq!(received, [0, 1, 2]);
}

#[tokio::test]
async fn watches_that_cannot_be_are_refused_in_etcds_words() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    for (request, reason) in [
        (
            from(-1),
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (prefix("b", "a"), "mvcc: watcher range is empty"),
        (prefix("b", "b"), "mvcc: watcher range is empty"),
    ] {
        let refused = client.create(request).await;
        assert!(refused.created && refused.canceled);
        assert_eq!(
            (refused.watch_id, refused.compact_revision),
            (NO_WATCHER, 0)
        );
        assert_eq!(refused.cancel_reason, reason);
    }
    // An empty key stands for the smallest key.
    assert!(!client.create(WatchCreateRequest::default()).await.canceled);
}

#[tokio::test]
async fn history_is_sent_before_the_present_without_gap_or_repeat() {
    let node = FakeNode::leading();
    for number in 0..2500 {
        put(&node, &format!("key-{number}"), "");
    }
    let mut client = Client::of(&node);
    assert_eq!(
        client
            .create(from(2))
            .await
            .header
            .expect("a header")
            .revision,
        2501
    );
    for number in 0..10 {
        put(&node, &format!("more-{number}"), "");
    }
    let revisions: Vec<i64> = client
        .events(2510)
        .await
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(revisions, (2..=2511).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_reach_every_watcher_in_order_whenever_it_was_created() {
    const WRITES: i64 = 3000;
    let node = FakeNode::leading();
    let writer = Arc::clone(&node);
    let writing = thread::spawn(move || {
        for _ in 0..WRITES {
            put(&writer, "a", "");
        }
    });
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::of(&node);
        let created = client.create(prefix("a", "")).await;
        let from_now = created.header.expect("a header").revision + 1;
        clients.push((client, from_now));
        let mut client = Client::of(&node);
        client.create(from(1)).await;
        clients.push((client, 2));
    }
    for (mut client, first) in clients {
        let mut next = first;
        while next <= WRITES + 1 {
            for (revision, _) in seen(&client.next().await) {
                assert_eq!(revision, next);
                next += 1;
            }
        }
    }
    writing.join().expect("the writer is fine");
}

#[tokio::test]
async fn filters_and_previous_values_are_as_asked() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    let deletes = WatchCreateRequest {
        filters: vec![FilterType::Noput as i32],
        prev_kv: true,
        watch_id: 1,
        ..all()
    };
    let puts = WatchCreateRequest {
        filters: vec![FilterType::Nodelete as i32],
        watch_id: 2,
        ..all()
    };
    client.create(deletes.clone()).await;
    client.create(puts).await;
    put(&node, "a", "1");
    delete(&node, "a");
    let mut received = [client.next().await, client.next().await];
    received.sort_unstable_by_key(|response| response.watch_id);
    let deleted = &received[0].events[0];
    assert_eq!(deleted.r#type(), mvccpb::event::EventType::Delete);
    assert_eq!(
        deleted.kv.as_ref().map(|kv| (kv.mod_revision, kv.version)),
        Some((3, 0))
    );
    let previous = deleted.prev_kv.as_ref().expect("the value before");
    assert_eq!(
        (previous.value.as_ref(), previous.mod_revision),
        (&b"1"[..], 2)
    );
    assert_eq!(received[1].events.len(), 1);
    assert!(received[1].events[0].prev_kv.is_none());
    // History returns the same events.
    let past = WatchCreateRequest {
        start_revision: 2,
        watch_id: 3,
        ..deletes
    };
    client.create(past).await;
    assert_eq!(&client.next().await.events[0], deleted);
}

#[tokio::test]
async fn a_large_revision_is_one_response_unless_fragments_are_allowed() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client
        .create(WatchCreateRequest {
            watch_id: 1,
            ..all()
        })
        .await;
    client
        .create(WatchCreateRequest {
            watch_id: 2,
            fragment: true,
            ..all()
        })
        .await;
    let puts = ["a", "b", "c"].map(|key| {
        let value = vec![b'x'; 300].into();
        tenure_statemachine::TxnOp::Put(Put {
            key: key.into(),
            value,
            ..Put::default()
        })
    });
    let success = puts.to_vec();
    node.apply(&Command::Txn(tenure_statemachine::Txn {
        success,
        ..Default::default()
    }));
    let whole = client.next().await;
    assert_eq!(
        (whole.watch_id, whole.events.len(), whole.fragment),
        (1, 3, false)
    );
    let parts = [
        client.next().await,
        client.next().await,
        client.next().await,
    ];
    assert_eq!(
        parts.each_ref().map(|part| part.fragment),
        [true, true, false]
    );
    let joined: Vec<_> = parts.into_iter().flat_map(|part| part.events).collect();
    assert_eq!(joined, whole.events);
}

#[tokio::test]
async fn a_stream_that_must_end_says_why_and_leaves_nothing_behind() {
    let node = FakeNode::leading();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let reason = async {
        drop(stopped.await);
        Reason::NoLeader.into()
    };
    let mut client = Client::with(&node, Duration::from_secs(600), reason);
    client.create(all()).await;
    assert_eq!(node.hub.stats().watchers_live, 1);
    stop.send(()).expect("the stream is open");
    let status = client.end_or_next().await.expect_err("the end");
    assert_eq!(reason_of(&status), Some(Reason::NoLeader));
    assert_eq!(node.hub.stats(), crate::events::WatchHubStats::default());
}

#[tokio::test]
async fn a_client_that_leaves_closes_its_stream() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client.create(all()).await;
    client.create(from(2)).await;
    let Client {
        requests,
        responses,
    } = client;
    // A client that sends no more requests may still receive.
    drop(requests);
    let mut client = Client {
        requests: mpsc::channel(1).0,
        responses,
    };
    put(&node, "a", "");
    client.events(2).await;
    drop(client);
    while node.hub.stats().streams > 0 {
        tokio::task::yield_now().await;
    }
    put(&node, "b", "");
}
