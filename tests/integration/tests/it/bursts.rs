//! Many small requests at once on one connection: they are all answered, and the connection stays.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use tenure_proto::{
    etcdserverpb::{
        LeaseKeepAliveRequest, PutRequest, WatchCreateRequest, WatchRequest, kv_client::KvClient,
        watch_request::RequestUnion,
    },
    metadata::IDEMPOTENCY_KEY_METADATA,
};
use tenure_testkit::{Cluster, wait_until};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

/// Leases of one client, as many as a fleet's gateway holds.
const LEASES: usize = 15_000;
/// Renewals that a stream's window holds, at least: each is a frame of some sixteen bytes.
const WINDOW: usize = (64 << 10) / 20;
/// Longer than the test, so that no lease ends in it.
const TTL_S: i64 = 600;
/// Watches on one stream; the server's limit for it.
const WATCHES: usize = 100_000;
/// How many more watches are asked for than are made.
const WATCHES_BEYOND: usize = 50;
/// Grants under way at once.
const GRANTS_CONCURRENT: usize = 128;
/// Longest that the test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(100);

/// Yields to the transport between two requests, so that each travels in a frame of its own, as
/// those of etcd's Go client do.
struct OneByOne<I> {
    items: I,
    rest: bool,
    sent: Arc<AtomicUsize>,
}

impl<I: Iterator + Unpin> Stream for OneByOne<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<I::Item>> {
        self.rest = !self.rest;
        if self.rest {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let item = self.items.next();
        if item.is_some() {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(item)
    }
}

/// The items one by one, and then nothing, without an end; and how many were sent.
fn in_frames_of_their_own<T: Send + Unpin + 'static>(
    items: Vec<T>,
) -> (impl Stream<Item = T> + Send, Arc<AtomicUsize>) {
    let sent = Arc::<AtomicUsize>::default();
    let stream = OneByOne {
        items: items.into_iter(),
        rest: false,
        sent: Arc::clone(&sent),
    };
    (stream.chain(stream::pending()), sent)
}

#[tokio::test]
async fn fifteen_thousand_leases_on_one_stream_are_all_renewed() {
    let cluster = Cluster::start(1).await;
    let calls = cluster.node(0).calls();
    let leases: Vec<i64> = stream::iter(0..LEASES)
        .map(|_| calls.grant(TTL_S))
        .buffered(GRANTS_CONCURRENT)
        .map(|granted| granted.unwrap())
        .collect()
        .await;
    // Twice at once, and while the server does not run: as many as flow control lets through wait
    // for it unread.
    let asked = [leases.clone(), leases].concat();
    let requests = asked
        .iter()
        .map(|&id| LeaseKeepAliveRequest { id })
        .collect();
    let (requests, sent) = in_frames_of_their_own(requests);
    let renewing = calls.lease().lease_keep_alive(requests).await;
    cluster.node(0).pause();
    wait_until("a window of requests is sent", PATIENCE, async || {
        let sent = sent.load(Ordering::Relaxed);
        (sent >= WINDOW).then_some(()).ok_or(sent)
    })
    .await;
    cluster.node(0).resume();
    let mut responses = renewing.unwrap().into_inner();
    for (number, id) in asked.into_iter().enumerate() {
        let response = tokio::time::timeout(PATIENCE, responses.message()).await;
        let response = response.expect("an answer in time");
        let response = response.unwrap_or_else(|error| panic!("after {number} answers: {error}"));
        let response = response.expect("the stream goes on");
        assert_eq!((response.id, response.ttl), (id, TTL_S), "answer {number}");
    }
}

#[tokio::test]
async fn a_hundred_thousand_watches_are_made_and_what_is_beyond_is_refused_by_name() {
    let cluster = Cluster::start(1).await;
    let calls = cluster.node(0).calls();
    let requests = (0..WATCHES + WATCHES_BEYOND)
        .map(|number| {
            let create = WatchCreateRequest {
                key: format!("k/{number}").into(),
                ..WatchCreateRequest::default()
            };
            WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(create)),
            }
        })
        .collect();
    let (requests, _) = in_frames_of_their_own(requests);
    let stream = calls.watch().watch(requests).await;
    let mut responses = stream.unwrap().into_inner();
    for number in 0..WATCHES + WATCHES_BEYOND {
        let response = tokio::time::timeout(PATIENCE, responses.message()).await;
        let response = response.expect("an answer in time");
        let response = response.unwrap_or_else(|error| panic!("after {number} answers: {error}"));
        let response = response.expect("the stream goes on");
        assert!(response.created, "{response:?}");
        let refused = number >= WATCHES;
        assert_eq!(response.canceled, refused, "watch {number}");
        if refused {
            assert_eq!(response.cancel_reason, "etcdserver: too many requests");
        }
    }
    let key = format!("k/{}", WATCHES - 1);
    calls.put(&key, "v").await.unwrap();
    let told = tokio::time::timeout(PATIENCE, responses.message()).await;
    let told = told.expect("an event in time").unwrap().unwrap();
    assert_eq!(told.events.len(), 1);
}

/// Idempotency keys that one client may have remembered, and how many it tries to.
const KEYS: usize = 100_000;
const KEYS_TRIED: usize = KEYS + 20_000;
/// Writes with a key under way at once.
const KEYS_CONCURRENT: usize = 512;

async fn put_once(mut kv: KvClient<Channel>, number: usize) -> Result<(), Status> {
    let mut put = Request::new(PutRequest {
        key: "often".into(),
        ..PutRequest::default()
    });
    let key = format!("key-{number}").parse().unwrap();
    put.metadata_mut().insert(IDEMPOTENCY_KEY_METADATA, key);
    kv.put(put).await.map(drop)
}

#[tokio::test]
async fn a_client_that_uses_up_its_idempotency_keys_leaves_others_theirs() {
    let cluster = Cluster::start(1).await;
    let url = format!("http://{}", cluster.node(0).address());
    let client = async |address: [u8; 4]| {
        let endpoint = Endpoint::from_shared(url.clone()).unwrap();
        let endpoint = endpoint.local_address(Some(address.into()));
        KvClient::new(endpoint.connect().await.unwrap())
    };
    let (first, second) = (client([127, 0, 0, 1]).await, client([127, 0, 0, 2]).await);
    let mut puts = stream::iter(0..KEYS_TRIED)
        .map(|number| put_once(first.clone(), number))
        .buffered(KEYS_CONCURRENT);
    let mut done = 0;
    let refused = loop {
        match puts.next().await.expect("one is refused") {
            Ok(()) => done += 1,
            Err(status) => break status,
        }
    };
    let text = refused.message();
    assert!(
        text.starts_with("tenure: too many idempotency keys"),
        "{text}"
    );
    println!("refused after {done} keys: {text}");
    assert!(done >= KEYS);
    drop(puts);
    put_once(second, KEYS_TRIED).await.unwrap();
}
