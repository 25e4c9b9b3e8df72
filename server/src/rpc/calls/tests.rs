//! Tests of the accounts of calls and pages.

use std::{convert::Infallible, pin::pin};

use futures::{FutureExt as _, StreamExt as _, poll};
use tenure_proto::metadata::{OUTCOME_METADATA, OUTCOME_UNKNOWN, REASON_METADATA};
use tonic::transport::server::Connected;
use tower::service_fn;

use super::{
    accounts::{OTHERS_PARTS, PAGE_BYTES, RESERVE_PARTS},
    *,
};
use crate::{
    share::{
        Address, CALLS_BYTES_MAX, CALLS_PARTS, FEW_BYTES, PAGES_BYTES_MAX, STREAMS_BYTES_MAX,
        UNIT_BYTES,
    },
    transport::Connection,
};

/// Memory that the streams of the first connection may take.
const FIRST_BYTES_MAX: usize =
    (STREAMS_BYTES_MAX - STREAMS_BYTES_MAX / RESERVE_PARTS) / (CALLS_PARTS + 1);
/// The same of its other calls.
const FIRST_SHORT_BYTES_MAX: usize =
    (CALLS_BYTES_MAX - CALLS_BYTES_MAX / RESERVE_PARTS) / (CALLS_PARTS + 1);
/// The path of a call that ends by itself.
const PUT: &str = "/etcdserverpb.KV/Put";

/// A call that lasts.
fn request(connection: &ConnectionInfo, field_len: usize) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(connection.clone());
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
    if field_len > 0 {
        headers.insert("x-long", "x".repeat(field_len).parse().unwrap());
    }
    request
}

fn service()
-> impl Service<Request<()>, Response = Response<Body>, Error = Infallible, Future: Send> {
    unread(&CallsLayer::new(Calls::new()))
}

struct StreamBody(Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Status>> + Send>>);

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.as_mut().poll_next(context)
    }
}

/// A response that its client does not read.
struct Unread;

impl http_body::Body for Unread {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Pending
    }
}

fn connection() -> ConnectionInfo {
    Connection::new(tokio::io::duplex(1).0).connect_info()
}

/// A call that ends by itself.
fn short(connection: &ConnectionInfo) -> Request<()> {
    let mut short = request(connection, 0);
    *short.uri_mut() = PUT.parse().unwrap();
    short
}

fn is_refused(response: &Response<Body>) -> bool {
    response.headers().get("grpc-status").is_some()
}

/// The responses that `connection` gets until it is refused.
async fn until_refused<S>(
    service: &mut S,
    connection: &ConnectionInfo,
    field_len: usize,
) -> Vec<Response<Body>>
where
    S: Service<Request<()>, Response = Response<Body>, Error = Infallible, Future: Send>,
{
    let mut unread = Vec::new();
    loop {
        let response = service.call(request(connection, field_len)).await.unwrap();
        if is_refused(&response) {
            return unread;
        }
        unread.push(response);
    }
}

#[tokio::test]
async fn calls_whose_answers_are_not_read_leave_memory_to_those_of_other_connections() {
    let mut service = service();
    let hostile: Vec<_> = (0..16).map(|_| connection()).collect();
    let mut unread = Vec::new();
    for hostile in &hostile {
        unread.push(until_refused(&mut service, hostile, 0).await);
    }
    assert!(unread[0].len() * CALL_BYTES <= FIRST_BYTES_MAX);
    assert!(unread[0].len() * (CALL_BYTES + 2 * UNIT_BYTES) > FIRST_BYTES_MAX);
    let honest = connection();
    let mut calls = Vec::new();
    for _ in 0..32 {
        let response = service.call(request(&honest, 0)).await.unwrap();
        assert!(!is_refused(&response));
        calls.push(response);
    }
    // Released memory is there for the same connection again.
    unread[0].clear();
    assert!(!until_refused(&mut service, &hostile[0], 0).await.is_empty());
}

/// A response with a message of this length.
async fn answer(bytes: usize) -> Result<Response<Body>, Infallible> {
    let message = Bytes::from(vec![7; bytes]);
    let frames = futures::stream::iter([Ok::<_, Status>(Frame::data(message))]);
    Ok(Response::new(Body::new(StreamBody(Box::pin(frames)))))
}

#[tokio::test]
async fn a_message_that_is_not_read_is_charged_for_its_length() {
    let mut service =
        CallsLayer::new(Calls::new()).layer(service_fn(|_: Request<()>| answer(60_000)));
    let hostile = connection();
    let mut unread = until_refused(&mut service, &hostile, 0).await;
    assert!(unread.len() < FIRST_BYTES_MAX / 80_000, "{}", unread.len());
    // A message that is read is released, and complete.
    let mut body = unread.pop().expect("some").into_body();
    let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
    let data = frame.expect("a frame").expect("data").into_data();
    let data = data.expect("data");
    assert_eq!(data.len(), 60_000);
    let end = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
    assert!(end.is_none());
    drop(body);
    let early = service.call(request(&hostile, 0)).await.unwrap();
    assert!(is_refused(&early), "the connection may not have written it");
    drop(data);
    assert!(!is_refused(
        &service.call(request(&hostile, 0)).await.unwrap()
    ));
}

/// A stream whose messages come later than its response: none is there at first.
async fn stream(messages: usize, bytes: usize) -> Result<Response<Body>, Infallible> {
    let later = futures::stream::iter(0..messages).then(move |_| async move {
        tokio::task::yield_now().await;
        Ok::<_, Status>(Frame::data(Bytes::from(vec![7; bytes])))
    });
    Ok(Response::new(Body::new(StreamBody(Box::pin(later)))))
}

#[tokio::test]
async fn later_messages_of_streams_are_charged_until_they_are_written() {
    let mut service =
        CallsLayer::new(Calls::new()).layer(service_fn(|_: Request<()>| stream(2, 60_000)));
    let hostile = connection();
    let mut streams = Vec::new();
    for _ in 0..2_000 {
        let response = service.call(request(&hostile, 0)).await.unwrap();
        assert!(!is_refused(&response));
        streams.push(response.into_body());
    }
    let next = async |body: &mut Body| {
        let next = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        next.expect("a frame").expect("no error")
    };
    let mut unwritten = Vec::new();
    let mut ended = Vec::new();
    for body in &mut streams {
        match next(body).await.into_data() {
            Ok(data) => unwritten.push(data),
            Err(end) => ended.push((end.into_trailers().expect("trailers"), body)),
        }
    }
    assert!(unwritten.len() * (60_000 - MESSAGE_BYTES) <= FIRST_BYTES_MAX);
    assert!(!unwritten.is_empty());
    let (trailers, body) = ended.pop().expect("some had no memory");
    assert_eq!(trailers[REASON_METADATA], "StreamUnread");
    let end = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    assert!(end.is_none());
    // What is written is given back.
    unwritten.clear();
    drop(ended);
    assert!(next(&mut streams[0]).await.is_data());
}

/// All calls are admitted before the first response, as during a lost quorum.
#[tokio::test]
async fn messages_for_which_there_is_no_memory_are_dropped_with_a_status() {
    let mut service =
        CallsLayer::new(Calls::new()).layer(service_fn(|_: Request<()>| answer(60_000)));
    let hostile = connection();
    // They fit without their messages, and with half of them.
    let waiting: Vec<_> = (0..2500)
        .map(|_| service.call(request(&hostile, 0)))
        .collect();
    let mut unread = Vec::new();
    for response in waiting {
        unread.push(response.await.unwrap());
    }
    let (dropped, held): (Vec<_>, Vec<_>) = unread.into_iter().partition(is_refused);
    assert!(
        held.len() * (CALL_BYTES + 60_000 - MESSAGE_BYTES) <= FIRST_BYTES_MAX,
        "{} answers are held, {} were dropped",
        held.len(),
        dropped.len()
    );
    let headers = dropped.first().expect("some were dropped").headers();
    assert_eq!(headers[REASON_METADATA], "AnswerDropped");
    assert_eq!(headers[OUTCOME_METADATA], OUTCOME_UNKNOWN);
}

#[tokio::test]
async fn long_metadata_is_charged_for_its_length() {
    let mut service = service();
    let unread = until_refused(&mut service, &connection(), 256 * 1024).await;
    assert!(
        unread.len() * 256 * 1024 < FIRST_BYTES_MAX,
        "{}",
        unread.len()
    );
    let honest = connection();
    assert!(!is_refused(
        &service.call(request(&honest, 0)).await.unwrap()
    ));
}

#[tokio::test]
async fn pages_are_bounded_and_leave_calls_and_other_connections_alone() {
    let mut service = service();
    let page_for = |visitor: &ConnectionInfo| {
        let mut page = Request::new(());
        page.extensions_mut().insert(visitor.clone());
        page
    };
    let visitor = connection();
    let mut pages = Vec::new();
    loop {
        let page = service.call(page_for(&visitor)).await.unwrap();
        if page.status() == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        pages.push(page);
    }
    assert!(pages.len() * PAGE_BYTES <= PAGES_BYTES_MAX / (CALLS_PARTS + 1));
    let probe = service.call(page_for(&connection())).await.unwrap();
    assert_eq!(probe.status(), StatusCode::OK);
    let call = service.call(request(&visitor, 0)).await.unwrap();
    assert!(!is_refused(&call));
}

#[tokio::test]
async fn large_requests_that_wait_are_bounded_and_small_ones_are_not_charged() {
    let calls = Calls::new();
    let hostile = connection();
    let mut held = Vec::new();
    while let Ok(charged) = calls.charge(1 << 20, Some(&hostile)).await {
        held.push(charged);
    }
    assert_eq!(held.len(), FIRST_SHORT_BYTES_MAX >> 20);
    assert!(calls.charge(1000, Some(&hostile)).await.is_ok());
    assert!(calls.charge(1 << 20, Some(&connection())).await.is_ok());
}

/// A connection from this address.
fn connection_from(address: &Arc<Address>) -> ConnectionInfo {
    let connection = connection();
    connection.share.settle(Arc::clone(address));
    connection
}

/// A connection that takes what it gets, and what it holds.
struct Greedy {
    connection: ConnectionInfo,
    unread: Vec<Response<Body>>,
}

/// Fills the account with the calls of many connections, up to `each` on one.
async fn crowd<S>(
    service: &mut S,
    layer: &CallsLayer,
    (connections, each): (usize, usize),
    of: impl Fn(&ConnectionInfo) -> Request<()>,
) -> Vec<Greedy>
where
    S: Service<Request<()>, Response = Response<Body>, Error = Infallible, Future: Send>,
{
    let address = Arc::default();
    let mut crowd = Vec::new();
    for _ in 0..connections {
        let (connection, mut unread) = (connection_from(&address), Vec::new());
        layer.calls.register(&connection.share);
        while unread.len() < each {
            let next = service.call(of(&connection)).now_or_never();
            match next.map(Result::unwrap) {
                Some(response) if !is_refused(&response) => unread.push(response),
                _ => break,
            }
        }
        crowd.push(Greedy { connection, unread });
    }
    crowd
}

fn unread(
    layer: &CallsLayer,
) -> impl Service<Request<()>, Response = Response<Body>, Error = Infallible, Future: Send> + use<>
{
    layer.layer(service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Body::new(Unread)))
    }))
}

/// Crowds that take what they get: few connections with much, and many with little.
const CROWDS: [(usize, usize); 2] = [(300, usize::MAX), (1500, FEW_BYTES / CALL_BYTES)];

#[tokio::test]
async fn streams_of_one_address_leave_room_for_those_of_another_and_for_calls_that_end() {
    for each in CROWDS {
        let layer = CallsLayer::new(Calls::new());
        let mut service = unread(&layer);
        let crowd = crowd(&mut service, &layer, each, |of| request(of, 0)).await;
        let all: usize = crowd.iter().map(|it| it.unread.len() * CALL_BYTES).sum();
        let others = STREAMS_BYTES_MAX / OTHERS_PARTS;
        assert!(all <= STREAMS_BYTES_MAX - others, "{all}");
        assert!(all >= STREAMS_BYTES_MAX / 3, "{all}");
        let honest = connection_from(&Arc::default());
        let mut calls = Vec::new();
        for number in 0..100 {
            let response = service.call(short(&honest)).await.unwrap();
            assert!(!is_refused(&response), "call {number}");
            calls.push(response);
        }
        for number in 0..FEW_BYTES / CALL_BYTES {
            let response = service.call(request(&honest, 0)).await.unwrap();
            assert!(!is_refused(&response), "stream {number}");
            calls.push(response);
        }
        assert!(!crowd.iter().any(|it| it.connection.share.is_closed()));
    }
}

#[tokio::test]
async fn a_client_with_few_streams_has_room_beside_one_at_its_address_that_takes_what_it_gets() {
    let layer = CallsLayer::new(Calls::new());
    let mut service = unread(&layer);
    let crowd = crowd(&mut service, &layer, (100, usize::MAX), |of| request(of, 0)).await;
    let neighbour = connection_from(crowd[0].connection.share.address().expect("known"));
    let response = service.call(request(&neighbour, 0)).await.unwrap();
    assert!(!is_refused(&response));
}

#[tokio::test(start_paused = true)]
async fn few_calls_take_the_place_of_stalled_ones_at_the_address_with_most() {
    for each in CROWDS {
        let layer = CallsLayer::new(Calls::new());
        let mut service = unread(&layer);
        // Another client has more stalled calls than any connection of the crowd, on a slow link.
        let slow = connection_from(&Arc::default());
        let mut uploads = Vec::new();
        for _ in 0..40 {
            uploads.push(service.call(short(&slow)).await.unwrap());
        }
        let mut crowd = crowd(&mut service, &layer, each, short).await;
        for place in [&Arc::default(), &address_of(&crowd[0])] {
            let honest = connection_from(place);
            for number in 0..FEW_BYTES / CALL_BYTES {
                // Renews what one task may do at once.
                tokio::task::yield_now().await;
                let mut call = pin!(service.call(short(&honest)));
                let mut served = poll!(&mut call);
                if served.is_pending() {
                    let closed = crowd.iter().position(|it| it.connection.share.is_closed());
                    let closed = closed.expect("it waits for a connection that was closed");
                    // Its task ends, and with it what it holds.
                    crowd.swap_remove(closed);
                    served = poll!(&mut call);
                }
                let Poll::Ready(response) = served else {
                    panic!("call {number} waits on");
                };
                assert!(!is_refused(&response.unwrap()), "call {number}");
            }
            assert!(!honest.share.is_closed());
        }
        assert!(!slow.share.is_closed());
    }
}

fn address_of(greedy: &Greedy) -> Arc<Address> {
    Arc::clone(greedy.connection.share.address().expect("known"))
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_an_address_with_few_stalled_calls_is_not_closed() {
    let layer = CallsLayer::new(Calls::new());
    let calls = &layer.calls;
    let all: Vec<_> = std::iter::repeat_with(|| connection_from(&Arc::default()))
        .map(|connection| {
            calls.register(&connection.share);
            let stalled = connection.share.stall();
            let charged = calls.take(Kind::Short, FEW_BYTES, Some(&connection.share));
            (connection, stalled, charged)
        })
        .take_while(|(.., charged)| charged.is_some())
        .collect();
    assert_eq!(all.len(), CALLS_BYTES_MAX / FEW_BYTES);
    let share = connection_from(&Arc::default()).share;
    let refused = calls.take_or_wait(Kind::Short, 1, Some(&share)).await;
    assert!(refused.is_none());
    assert!(
        !all.iter()
            .any(|(connection, ..)| connection.share.is_closed())
    );
}
