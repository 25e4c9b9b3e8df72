//! Sizes of responses, and the revisions of their headers.

use prost::Message;

use super::*;

/// The bound of the tests' streams.
const RESPONSE_BYTES: usize = 500;

/// Receives `count` events; checks that each response is below the bound unless it has one
/// revision.
async fn sized(client: &mut Client, count: usize) -> Vec<WatchResponse> {
    let (mut responses, mut events) = (Vec::new(), 0);
    while events < count {
        let response = client.next().await;
        assert!(!response.fragment);
        let revisions: BTreeSet<_> = seen(&response).into_iter().map(|it| it.0).collect();
        assert!(
            response.encoded_len() < RESPONSE_BYTES || revisions.len() == 1,
            "{} bytes of {} revisions",
            response.encoded_len(),
            revisions.len()
        );
        events += response.events.len();
        responses.push(response);
    }
    responses
}

#[tokio::test]
async fn a_late_reader_gets_responses_below_the_bound() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    client.create(all()).await;
    let value = "x".repeat(100);
    for number in 0..200 {
        put(&node, &format!("key-{number}"), &value);
    }
    let responses = sized(&mut client, 200).await;
    assert!(responses.iter().any(|response| response.events.len() > 1));
}

#[tokio::test]
async fn history_is_sent_in_responses_below_the_bound_with_the_latest_revision() {
    let node = FakeNode::leading();
    let value = "x".repeat(100);
    for number in 0..200 {
        put(&node, &format!("key-{number}"), &value);
    }
    put(&node, "elsewhere", "");
    let mut client = Client::of(&node);
    client
        .create(WatchCreateRequest {
            start_revision: 2,
            ..prefix("key", "kez")
        })
        .await;
    for response in sized(&mut client, 200).await {
        assert_eq!(response.header.expect("a header").revision, 202);
    }
}

#[tokio::test]
async fn many_unread_watchers_of_one_key_get_every_event_in_the_end() {
    const WATCHERS: i64 = 3000;
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    for watch_id in 1..=WATCHERS {
        client
            .create(WatchCreateRequest {
                watch_id,
                ..prefix("a", "")
            })
            .await;
    }
    for value in ["1", "2", "3"] {
        put(&node, "a", value);
    }
    let mut received = HashMap::<i64, Vec<i64>>::new();
    for _ in 0..WATCHERS * 3 {
        let response = client.next().await;
        let revisions = seen(&response).into_iter().map(|it| it.0);
        received
            .entry(response.watch_id)
            .or_default()
            .extend(revisions);
        if received.len() == WATCHERS as usize
            && received.values().all(|received| received.len() == 3)
        {
            break;
        }
    }
    assert_eq!(received.len(), WATCHERS as usize);
    assert!(received.values().all(|received| received == &[2, 3, 4]));
    assert_eq!(client.progress().await, 4);
}
