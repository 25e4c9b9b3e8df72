//! Tests of the accounts of calls and pages.

use std::convert::Infallible;

use futures::StreamExt as _;
use tenure_proto::metadata::{OUTCOME_METADATA, OUTCOME_UNKNOWN, REASON_METADATA};
use tonic::transport::server::Connected;
use tower::service_fn;

use super::*;
use crate::transport::Connection;

/// Memory that the calls of the first connection may take.
const FIRST_BYTES_MAX: usize = CALLS_BYTES_MAX / (CALLS_PARTS + 1);

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
    CallsLayer(Calls::new()).layer(service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Body::new(Unread)))
    }))
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
    let hostile: Vec<_> = (0..20).map(|_| connection()).collect();
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
    let mut service = CallsLayer(Calls::new()).layer(service_fn(|_: Request<()>| answer(60_000)));
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
        CallsLayer(Calls::new()).layer(service_fn(|_: Request<()>| stream(2, 60_000)));
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
    let mut service = CallsLayer(Calls::new()).layer(service_fn(|_: Request<()>| answer(60_000)));
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

#[test]
fn large_requests_that_wait_are_bounded_and_small_ones_are_not_charged() {
    let calls = Calls::new();
    let hostile = connection();
    let mut held = Vec::new();
    while let Ok(charged) = calls.charge(1 << 20, Some(&hostile)) {
        held.push(charged);
    }
    assert_eq!(held.len(), FIRST_BYTES_MAX >> 20);
    assert!(calls.charge(1000, Some(&hostile)).is_ok());
    assert!(calls.charge(1 << 20, Some(&connection())).is_ok());
}
