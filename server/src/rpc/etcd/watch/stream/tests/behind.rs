//! Watchers that start in the past, fall behind, or find history compacted.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test]
async fn a_start_below_the_floor_is_created_and_then_canceled_with_the_floor() {
    let node = FakeNode::leading();
    for value in ["1", "2", "3"] {
        put(&node, "a", value);
    }
    compact(&node, 3);
    let mut client = Client::of(&node);
    assert!(!client.create(from(2)).await.canceled);
    let canceled = client.next().await;
    assert!(canceled.canceled && !canceled.created);
    assert_eq!((canceled.watch_id, canceled.compact_revision), (0, 3));
    // The floor itself can be read.
    assert!(!client.create(from(3)).await.canceled);
    assert_eq!(client.events(2).await, [(3, "a".into()), (4, "a".into())]);
    // The id of the canceled one is free.
    let again = WatchCreateRequest {
        watch_id: 1,
        ..all()
    };
    assert!(
        client
            .create(WatchCreateRequest {
                watch_id: 9,
                ..again
            })
            .await
            .created
    );
}

#[tokio::test]
async fn who_does_not_read_falls_behind_and_misses_nothing() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client.create(all()).await;
    let value = "x".repeat(64 * 1024);
    for number in 0..600 {
        put(&node, &format!("key-{number}"), &value);
    }
    assert!(
        node.hub.stats().watchers_behind > 0,
        "{:?}",
        node.hub.stats()
    );
    let revisions: Vec<i64> = client
        .events(600)
        .await
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(revisions, (2..=601).collect::<Vec<_>>());
    // It is live again.
    while node.hub.stats().watchers_live == 0 {
        tokio::task::yield_now().await;
    }
    put(&node, "a", "");
    assert_eq!(client.events(1).await, [(602, "a".into())]);
    assert_eq!(client.progress().await, 602);
}

#[tokio::test]
async fn who_fell_behind_the_floor_is_canceled_with_it() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client.create(all()).await;
    let value = "x".repeat(64 * 1024);
    for number in 0..600 {
        put(&node, &format!("key-{number}"), &value);
    }
    compact(&node, 601);
    let mut next = 2;
    let canceled = loop {
        let response = client.next().await;
        if response.canceled {
            break response;
        }
        for (revision, _) in seen(&response) {
            assert_eq!(revision, next);
            next += 1;
        }
    };
    assert_eq!(canceled.compact_revision, 601);
    assert!(next < 600);
    assert_eq!(node.hub.stats().watchers_behind, 0);
}

#[tokio::test]
async fn a_replaced_state_is_read_from_history() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client.create(all()).await;
    put(&node, "a", "1");
    assert_eq!(client.events(1).await.len(), 1);
    node.muted.store(true, Ordering::SeqCst);
    for key in ["b", "c", "d"] {
        put(&node, key, "");
    }
    node.muted.store(false, Ordering::SeqCst);
    node.hub.reset(Revision(5));
    put(&node, "e", "");
    let received = [
        (3, "b".into()),
        (4, "c".into()),
        (5, "d".into()),
        (6, "e".into()),
    ];
    assert_eq!(client.events(4).await, received);
    while node.hub.stats().watchers_live == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.progress().await, 6);
}
