//! Progress of watchers while nothing changes.

use super::*;

#[tokio::test]
async fn a_start_in_the_future_hears_nothing_older_and_no_progress() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client.create(from(4)).await;
    client
        .ask(RequestUnion::ProgressRequest(WatchProgressRequest {}))
        .await;
    // Requests are answered in order: the next response is to this one, so there was none before.
    assert!(client.create(prefix("elsewhere", "")).await.created);
    for key in ["a", "b", "c", "d"] {
        put(&node, key, "");
    }
    assert_eq!(client.events(2).await, [(4, "c".into()), (5, "d".into())]);
    assert_eq!(client.progress().await, 5);
}

#[tokio::test]
async fn progress_is_reported_to_quiet_watchers_that_want_it() {
    let node = FakeNode::leading();
    let mut client = Client::with(&node, Duration::from_millis(5), pending());
    let quiet = WatchCreateRequest {
        progress_notify: true,
        ..prefix("quiet", "")
    };
    client.create(prefix("other", "")).await;
    client.create(quiet).await;
    put(&node, "a", "");
    let mut reported = client.next().await;
    while reported.header.expect("a header").revision < 2 {
        reported = client.next().await;
    }
    assert_eq!((reported.watch_id, reported.events.len()), (1, 0));
}

#[tokio::test]
async fn progress_is_not_claimed_while_a_watcher_is_behind_or_when_there_is_none() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client
        .ask(RequestUnion::ProgressRequest(WatchProgressRequest {}))
        .await;
    put(&node, "a", "");
    client.ask(RequestUnion::CreateRequest(from(1))).await;
    client
        .ask(RequestUnion::ProgressRequest(WatchProgressRequest {}))
        .await;
    assert!(client.next().await.created);
    // Its history is sent first, so a later progress response includes the watcher.
    assert_eq!(client.events(1).await, [(2, "a".into())]);
}

#[tokio::test]
async fn no_event_follows_that_lies_within_what_was_claimed() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client.create(all()).await;
    for _ in 0..64 {
        // Both are ready when the stream polls next, and it takes either first.
        client
            .ask(RequestUnion::ProgressRequest(WatchProgressRequest {}))
            .await;
        let last = put(&node, "a", "");
        let (mut claimed, mut received) = (0, 0);
        while claimed == 0 || received < last {
            let response = client.next().await;
            if response.watch_id == NO_WATCHER {
                claimed = response.header.expect("a header").revision;
            }
            for (revision, _) in seen(&response) {
                assert!(revision > claimed, "{revision} after {claimed} was claimed");
                received = revision;
            }
        }
    }
}

#[tokio::test]
async fn progress_asked_for_while_a_watcher_reads_history_is_answered_when_it_has() {
    let node = FakeNode::leading();
    for number in 0..2500 {
        put(&node, &format!("key-{number}"), "");
    }
    let mut client = Client::of(&node);
    client.ask(RequestUnion::CreateRequest(from(2))).await;
    for _ in 0..3 {
        client
            .ask(RequestUnion::ProgressRequest(WatchProgressRequest {}))
            .await;
    }
    assert!(client.next().await.created);
    let (mut received, mut claimed) = (0, 0);
    while claimed == 0 {
        let response = client.next().await;
        if response.watch_id == NO_WATCHER {
            claimed = response.header.expect("a header").revision;
        }
        received += response.events.len();
    }
    assert_eq!((received, claimed), (2500, 2501));
}
