//! Streams of endpoints against a node of one process.

use std::sync::atomic::Ordering;

use futures::{StreamExt, poll};
use tenure_proto::v1::registry_server::Registry;
use tenure_statemachine::{Command, LeaseId};
use tokio::time::advance;
use tonic::Request;

use super::{
    super::{
        RegistryService,
        tests::{deregister, ids, instance, ready, register, say, service},
    },
    *,
};
use crate::rpc::{
    answer::status::reason_of,
    fake::{FakeNode, TERM},
};

type Responses = crate::rpc::answer::outbox::Responses<wire::WatchEndpointsResponse>;

async fn watch(service: &RegistryService, selector: wire::Selector) -> Responses {
    let request = wire::WatchEndpointsRequest {
        service: "web".to_owned(),
        selector: Some(selector),
    };
    let opened = service.watch_endpoints(Request::new(request)).await;
    opened.expect("opened").into_inner()
}

async fn next(responses: &mut Responses) -> (i64, Change) {
    let response = responses
        .next()
        .await
        .expect("a response")
        .expect("no error");
    let revision = response.header.expect("a header").revision;
    (revision, response.change.expect("a change"))
}

async fn snapshot(responses: &mut Responses) -> (i64, Vec<String>, bool) {
    match next(responses).await {
        (revision, Change::Snapshot(snapshot)) => {
            let ids = ids(&snapshot.registrations);
            let ids = ids.into_iter().map(str::to_owned).collect();
            (revision, ids, snapshot.all)
        }
        other => panic!("{other:?} is no snapshot"),
    }
}

/// The ids that a delta updates and removes.
async fn delta(responses: &mut Responses) -> (i64, Vec<String>, Vec<String>) {
    match next(responses).await {
        (revision, Change::Delta(delta)) => {
            let ids = ids(&delta.updated);
            let ids = ids.into_iter().map(str::to_owned).collect();
            (revision, ids, delta.removed)
        }
        other => panic!("{other:?} is no delta"),
    }
}

fn texts(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

const NOT_READY: wire::Readiness = wire::Readiness::NotReady;
const READY: wire::Readiness = wire::Readiness::Ready;

/// Changes another key of the store.
fn disturb(node: &FakeNode) {
    node.apply(&Command::Put(tenure_statemachine::Put {
        key: "elsewhere".into(),
        ..tenure_statemachine::Put::default()
    }));
}

#[tokio::test]
async fn a_snapshot_comes_first_then_what_enters_changes_and_leaves() {
    let (node, service) = service();
    ready(&service, "a").await;
    let mut responses = watch(&service, wire::Selector::default()).await;
    assert_eq!(snapshot(&mut responses).await, (2, texts(&["a"]), false));
    let b = ready(&service, "b").await;
    assert_eq!(delta(&mut responses).await, (3, texts(&["b"]), vec![]));
    // An instance that was never selected is not sent; one that is no longer selected is removed.
    register(&service, instance("c", NOT_READY), 0)
        .await
        .expect("registered");
    say(&service, "b", b, NOT_READY).await.expect("said");
    assert_eq!(delta(&mut responses).await, (5, vec![], texts(&["b"])));
    say(&service, "b", b, wire::Readiness::Draining)
        .await
        .expect("said");
    disturb(&node);
    deregister(&service, "c").await.expect("gone");
    say(&service, "b", b, READY).await.expect("said");
    assert_eq!(delta(&mut responses).await, (9, texts(&["b"]), vec![]));
    deregister(&service, "a").await.expect("gone");
    assert_eq!(delta(&mut responses).await, (10, vec![], texts(&["a"])));
    // A new incarnation of an instance is one update, whatever revisions it takes.
    let registered = ready(&service, "b").await;
    let (revision, change) = next(&mut responses).await;
    let Change::Delta(received) = change else {
        panic!("{change:?}");
    };
    assert_eq!((revision, received.removed.len()), (12, 0));
    assert_eq!(received.updated[0].incarnation, registered);
}

#[tokio::test(start_paused = true)]
async fn changes_that_arrive_together_are_sent_as_one() {
    let (_node, service) = service();
    let a = ready(&service, "a").await;
    let mut responses = watch(&service, wire::Selector::default()).await;
    snapshot(&mut responses).await;
    // The stream's task does not run until this task waits.
    say(&service, "a", a, NOT_READY).await.expect("said");
    say(&service, "a", a, READY).await.expect("said");
    ready(&service, "b").await;
    ready(&service, "c").await;
    deregister(&service, "c").await.expect("gone");
    assert_eq!(delta(&mut responses).await, (7, texts(&["a", "b"]), vec![]));
}

#[tokio::test(start_paused = true)]
async fn progress_is_sent_only_when_nothing_else_was() {
    let (node, service) = service();
    let mut responses = watch(&service, wire::Selector::default()).await;
    assert_eq!(snapshot(&mut responses).await, (1, vec![], false));
    disturb(&node);
    // Late, because the snapshot counts for the first interval.
    assert_eq!(next(&mut responses).await, (2, Change::Progress(true)));
    disturb(&node);
    let before = Instant::now();
    assert_eq!(next(&mut responses).await, (3, Change::Progress(true)));
    assert_eq!(before.elapsed(), PROGRESS_EVERY);
    advance(PROGRESS_EVERY / 2).await;
    ready(&service, "a").await;
    delta(&mut responses).await;
    let before = Instant::now();
    assert_eq!(next(&mut responses).await, (4, Change::Progress(true)));
    assert_eq!(before.elapsed(), PROGRESS_EVERY * 3 / 2);
}

#[tokio::test]
async fn whether_all_are_taken_changes_by_a_snapshot() {
    let (_node, service) = service();
    let a = ready(&service, "a").await;
    ready(&service, "b").await;
    let or_all = wire::Selector {
        passing_or_all: true,
        ..wire::Selector::default()
    };
    let mut responses = watch(&service, or_all).await;
    assert_eq!(
        snapshot(&mut responses).await,
        (3, texts(&["a", "b"]), false)
    );
    say(&service, "a", a, NOT_READY).await.expect("said");
    assert_eq!(
        delta(&mut responses).await,
        (4, vec![], texts(&["a"])),
        "half is enough"
    );
    register(&service, instance("c", NOT_READY), 0)
        .await
        .expect("registered");
    let received = snapshot(&mut responses).await;
    assert_eq!(received, (5, texts(&["a", "b", "c"]), true));
    register(&service, instance("d", NOT_READY), 0)
        .await
        .expect("registered");
    assert_eq!(delta(&mut responses).await, (6, texts(&["d"]), vec![]));
    deregister(&service, "d").await.expect("gone");
    assert_eq!(delta(&mut responses).await, (7, vec![], texts(&["d"])));
    say(&service, "a", a, READY).await.expect("said");
    assert_eq!(
        snapshot(&mut responses).await,
        (8, texts(&["a", "b"]), false)
    );
}

#[tokio::test]
async fn a_stream_that_lost_changes_gets_a_snapshot_though_history_is_gone() {
    let (node, service) = service();
    ready(&service, "a").await;
    let mut responses = watch(&service, wire::Selector::default()).await;
    snapshot(&mut responses).await;
    node.muted.store(true, Ordering::SeqCst);
    ready(&service, "b").await;
    deregister(&service, "a").await.expect("gone");
    let latest = Revision(4);
    node.apply(&Command::Compact(latest));
    node.muted.store(false, Ordering::SeqCst);
    node.hub.reset(latest);
    assert_eq!(snapshot(&mut responses).await, (4, texts(&["b"]), false));
    ready(&service, "c").await;
    assert_eq!(
        delta(&mut responses).await,
        (5, texts(&["c"]), vec![]),
        "and goes on"
    );
}

#[tokio::test]
async fn a_client_that_reads_late_gets_the_present_state() {
    let (node, service) = service();
    let mut responses = watch(&service, wire::Selector::default()).await;
    snapshot(&mut responses).await;
    let a = ready(&service, "a").await;
    // More than the channel of responses and the queue of the hub hold.
    for _ in 0..5_000 {
        for readiness in [NOT_READY, READY] {
            say(&service, "a", a, readiness).await.expect("said");
        }
        tokio::task::yield_now().await;
    }
    say(&service, "a", a, NOT_READY).await.expect("said");
    let latest = node.hub.revision().0;
    let (mut received, mut snapshots) = (Vec::new(), 0);
    loop {
        let (revision, change) = next(&mut responses).await;
        match change {
            Change::Snapshot(snapshot) => {
                snapshots += 1;
                received = ids(&snapshot.registrations)
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
            }
            Change::Delta(delta) => {
                received.retain(|id| !delta.removed.contains(id));
                let updated = ids(&delta.updated);
                received.extend(updated.into_iter().map(str::to_owned));
                received.dedup();
            }
            Change::Progress(_) => {}
        }
        if revision == latest {
            break;
        }
    }
    assert_eq!(received, Vec::<String>::new());
    assert_eq!(snapshots, 1, "changes were lost once");
}

#[tokio::test]
async fn ends_as_other_streams_do_and_leaves_nothing_behind() {
    let (node, service) = service();
    let mut stopped = watch(&service, wire::Selector::default()).await;
    snapshot(&mut stopped).await;
    let mut left = watch(&service, wire::Selector::default()).await;
    snapshot(&mut left).await;
    assert_eq!(node.hub.stats().streams, 2);
    drop(left);
    ready(&service, "a").await;
    delta(&mut stopped).await;
    service.0.drain();
    let status = stopped.next().await.expect("a status").expect_err("ended");
    assert_eq!(reason_of(&status), Some(Reason::Stopped));
    assert!(stopped.next().await.is_none());
    assert_eq!(node.hub.stats().streams, 0);
}

#[tokio::test]
async fn suspects_that_are_renewed_are_sent_as_changes() {
    let (node, service) = service();
    let mut leases = Vec::new();
    for id in ["a", "b", "c"] {
        let registered = register(&service, instance(id, READY), 0).await;
        leases.push(LeaseId(registered.expect("registered").lease));
    }
    let mut responses = watch(&service, wire::Selector::default()).await;
    snapshot(&mut responses).await;
    node.now.fetch_add(5000, Ordering::SeqCst);
    let expiries = leases.iter().map(|id| tenure_statemachine::LeaseExpiry {
        id: *id,
        generation: 1,
        term: TERM,
    });
    node.apply(&Command::LeaseExpire(expiries.collect()));
    let received = delta(&mut responses).await;
    assert_eq!(received, (7, texts(&["c"]), texts(&["a", "b"])));
    node.apply(&Command::LeaseRenew(leases));
    let (revision, change) = next(&mut responses).await;
    let Change::Delta(received) = change else {
        panic!("{change:?}");
    };
    let kept = received.updated[0].instance.as_ref().expect("an instance");
    assert_eq!((revision, kept.id.as_str(), kept.suspect), (8, "c", false));
}

/// Instances of the largest size, so that each change is 64 KiB, and their snapshot is megabytes.
async fn large(service: &RegistryService, id: usize) {
    let mut large = instance(&format!("large-{id:04}"), READY);
    for number in 0..60 {
        large
            .metadata
            .insert(format!("{number:02}"), "x".repeat(1000));
    }
    register(service, large, 0).await.expect("registered");
}

/// Each held its last response, and fifteen that waited, of any size.
#[tokio::test]
async fn streams_of_endpoints_that_are_not_read_share_the_bound_of_watch_streams() {
    const STREAMS: usize = 200;
    let (_node, service) = service();
    for id in 0..60 {
        large(&service, id).await;
    }
    let account = service.0.history.account();
    let all = account.free_bytes();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(watch(&service, wire::Selector::default()).await);
    }
    let has_responses = |stream: &Responses| stream.waiting_bytes() > 0;
    while account.free_bytes() > 0 && !streams.iter().all(has_responses) {
        tokio::task::yield_now().await;
    }
    let held: usize = streams.iter().map(Responses::waiting_bytes).sum();
    println!("{STREAMS} unread streams hold {} MiB", held >> 20);
    assert!(held <= all, "{} MiB", held >> 20);
    // Later responses are complete.
    for stream in &mut streams {
        let (_, ids, _) = snapshot(stream).await;
        assert_eq!(ids.len(), 60);
        assert!(poll!(stream.next()).is_pending());
    }
    drop(streams);
    while account.free_bytes() < all {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_endpoints_that_is_not_read_while_memory_is_short_ends_with_its_reason() {
    let (_node, service) = service();
    for id in 0..5 {
        large(&service, id).await;
    }
    let account = service.0.history.account();
    let all = account.free_bytes();
    let mut unread = watch(&service, wire::Selector::default()).await;
    while unread.waiting_bytes() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(account.free_bytes() < all);
    // Another stream needs the whole account, and gets it once this stream was ended.
    let everything = account.take(all).await;
    drop(everything);
    let status = unread.next().await.expect("a status").expect_err("ended");
    assert_eq!(reason_of(&status), Some(Reason::WatchUnread));
    assert!(unread.next().await.is_none());
}

#[tokio::test]
async fn a_large_change_without_a_share_is_sent_as_a_snapshot_once_there_is_one() {
    let (_node, service) = service();
    let account = service.0.history.account();
    let mut responses = watch(&service, wire::Selector::default()).await;
    snapshot(&mut responses).await;
    assert!(poll!(responses.next()).is_pending());
    let everything = account.take(account.free_bytes()).await;
    large(&service, 0).await;
    large(&service, 1).await;
    for _ in 0..100 {
        assert!(poll!(responses.next()).is_pending());
        tokio::task::yield_now().await;
    }
    drop(everything);
    let received = snapshot(&mut responses).await;
    assert_eq!(received, (3, texts(&["large-0000", "large-0001"]), false));
    ready(&service, "b").await;
    assert_eq!(delta(&mut responses).await, (4, texts(&["b"]), vec![]));
}
