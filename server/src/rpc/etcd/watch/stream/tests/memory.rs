//! Memory of streams whose clients do not read, and of watchers' keys.

use futures::FutureExt;

use super::*;
use crate::{events::WatchHubStats, rpc::answer::share::SHARES_BYTES_MAX};

/// Streams whose clients do not read.
const STREAMS: usize = 100;
/// Keys that one delete deletes.
const KEYS: usize = 50_000;

/// Yields to all other tasks.
async fn turn() {
    tokio::task::yield_now().await;
}

fn held(clients: &[Client]) -> usize {
    let held = clients
        .iter()
        .map(|client| client.responses.waiting_bytes());
    held.sum()
}

/// Streams that share an account, each with a watcher of this range.
async fn watched(
    node: &Arc<FakeNode>,
    request: &WatchCreateRequest,
    streams: usize,
) -> (Arc<History>, Vec<Client>) {
    let history = History::new(Arc::clone(node) as _);
    let mut clients = Vec::new();
    for _ in 0..streams {
        let interval = Duration::from_secs(600);
        let mut client = Client::sharing(node, Arc::clone(&history), interval, pending());
        assert!(client.create(request.clone()).await.created);
        clients.push(client);
    }
    (history, clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_not_read_share_their_bound_when_one_command_deletes_many_keys() {
    let node = FakeNode::leading();
    for number in 0..KEYS {
        put(&node, &format!("p/{number:05}"), "");
    }
    let (history, mut clients) = watched(&node, &prefix("p/", "p0"), STREAMS).await;
    node.apply(&Command::DeleteRange(DeleteRange {
        range: KeyRange::from_wire("p/".into(), "p0".into()),
        want_previous: false,
    }));
    // Until the account is full and the other streams wait, or no stream waits.
    let mut peak = 0;
    let has_responses = |client: &Client| client.responses.waiting_bytes() > 0;
    let is_full = |peak| peak > SHARES_BYTES_MAX / 4 && history.account().free_bytes() == 0;
    while !is_full(peak) && !clients.iter().all(has_responses) {
        peak = peak.max(held(&clients));
        turn().await;
    }
    peak = peak.max(held(&clients));
    println!("{STREAMS} unread streams hold {} MiB", peak >> 20);
    assert!(peak <= SHARES_BYTES_MAX, "{} MiB", peak >> 20);
    // Responses that were not read in time are sent as well.
    let last = clients.len() - 2;
    drop(clients.drain(..last));
    for client in &mut clients {
        assert_eq!(client.events(KEYS).await.len(), KEYS);
    }
}

#[tokio::test]
async fn a_large_value_is_sent_to_unread_streams_under_shares_and_to_each_in_the_end() {
    let node = FakeNode::leading();
    let (history, mut clients) = watched(&node, &prefix("a", ""), 300).await;
    put(&node, "a", &"x".repeat(1_400_000));
    let has_responses = |client: &Client| client.responses.waiting_bytes() > 0;
    let is_full = |held| held > SHARES_BYTES_MAX / 2 && history.account().free_bytes() == 0;
    while !is_full(held(&clients)) && !clients.iter().all(has_responses) {
        turn().await;
    }
    let now = held(&clients);
    println!("300 unread streams hold {} MiB", now >> 20);
    assert!(now <= SHARES_BYTES_MAX, "{} MiB", now >> 20);
    for client in &mut clients {
        assert_eq!(client.events(1).await, [(2, "a".into())]);
        // As the transport does once it has sent this one.
        assert!(client.responses.next().now_or_never().is_none());
    }
    put(&node, "a", "small");
    for client in &mut clients {
        assert_eq!(client.events(1).await, [(3, "a".into())]);
    }
}

#[tokio::test]
async fn a_live_response_that_is_not_small_holds_a_share_or_its_watcher_falls_behind() {
    let node = FakeNode::leading();
    let (history, mut clients) = watched(&node, &prefix("a", ""), 1).await;
    let client = &mut clients[0];
    let value = "x".repeat(100_000);
    put(&node, "a", &value);
    while client.responses.waiting_bytes() == 0 {
        turn().await;
    }
    assert!(history.account().free_bytes() < SHARES_BYTES_MAX);
    client.events(1).await;
    client.progress().await;
    assert_eq!(history.account().free_bytes(), SHARES_BYTES_MAX);
    let all = history.account().take(SHARES_BYTES_MAX).await;
    put(&node, "a", &value);
    while node.hub.stats().watchers_behind == 0 {
        turn().await;
    }
    put(&node, "a", "small");
    assert_eq!(client.responses.waiting_bytes(), 0);
    drop(all);
    assert_eq!(client.events(2).await, [(3, "a".into()), (4, "a".into())]);
    while node.hub.stats().watchers_behind > 0 {
        turn().await;
    }
    put(&node, "a", "live");
    assert_eq!(client.events(1).await, [(5, "a".into())]);
}

#[tokio::test]
async fn long_keys_of_watchers_are_refused_beyond_their_bound_and_others_are_not() {
    let node = FakeNode::leading();
    let long = || WatchCreateRequest {
        key: vec![b'k'; 1_900_000].into(),
        ..WatchCreateRequest::default()
    };
    let mut clients = vec![Client::of(&node), Client::of(&node)];
    let mut made = 0;
    let refused = loop {
        let created = clients[made % 2].create(long()).await;
        assert!(created.created);
        if created.canceled {
            break created;
        }
        made += 1;
        assert!(made <= 100, "{made} watchers of long keys");
    };
    assert_eq!(made, (64 << 20) / 1_900_000);
    assert_eq!(refused.watch_id, NO_WATCHER);
    assert_eq!(
        refused.cancel_reason,
        "tenure: the keys beyond 64 KiB of all watchers of this node would take more than 64 MiB: \
         watch shorter keys, or cancel some of these watchers"
    );
    let small = clients[0].create(prefix("a", "b")).await;
    assert!(small.created && !small.canceled, "{small:?}");
    put(&node, "a", "");
    assert_eq!(clients[0].events(1).await, [(2, "a".into())]);
    // A cancelled watcher makes room for another, and so does a closed stream.
    let request = WatchCancelRequest { watch_id: 0 };
    clients[0].ask(RequestUnion::CancelRequest(request)).await;
    assert!(clients[0].next().await.canceled);
    assert!(!clients[0].create(long()).await.canceled);
    clients.truncate(1);
    while node.hub.stats().streams > 1 {
        turn().await;
    }
    assert!(!clients[0].create(long()).await.canceled);
}

/// Slices of a request keep all of it, other fields included.
#[tokio::test]
async fn a_watcher_keeps_nothing_of_its_request_but_its_keys() {
    let node = FakeNode::leading();
    let mut client = Client::of(&node);
    let message = Bytes::from(vec![b'k'; 1_000_000]);
    let request = WatchCreateRequest {
        key: message.slice(..1),
        range_end: message.slice(..2),
        ..WatchCreateRequest::default()
    };
    assert!(!client.create(request).await.canceled);
    assert!(message.is_unique());
    assert_ne!(node.hub.stats(), WatchHubStats::default());
}
