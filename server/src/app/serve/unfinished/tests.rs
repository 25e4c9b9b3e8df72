//! Tests of requests that do not arrive, and of turns to decode.

use std::{collections::VecDeque, convert::Infallible, future::poll_fn, pin::pin, time::Duration};

use futures::{FutureExt as _, future::join_all, poll};
use tokio::time::Instant;
use tonic::transport::server::Connected as _;

use super::*;
use crate::{
    share::{Address, COVERED_BYTES, UNFINISHED_BYTES_MAX},
    transport::Connection,
};

/// A body that yields these pieces and then stays pending.
struct Halting(VecDeque<Bytes>);

const PUT: &str = "/etcdserverpb.KV/Put";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

impl Body for Halting {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.0.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Poll::Pending,
        }
    }
}

fn body<const N: usize>(
    layer: &UnfinishedLayer,
    path: &str,
    pieces: [Bytes; N],
) -> UnfinishedBody<Halting> {
    body_on(layer, path, pieces, None)
}

fn body_on<const N: usize>(
    layer: &UnfinishedLayer,
    path: &str,
    pieces: [Bytes; N],
    connection: Option<ConnectionInfo>,
) -> UnfinishedBody<Halting> {
    let mut request = Request::builder()
        .uri(path)
        .header(CONTENT_TYPE, "application/grpc");
    if let Some(connection) = connection {
        request = request.extension(connection);
    }
    let request = request.body(Halting(pieces.into()));
    let mut service = layer.layer(tower::service_fn(|request: Request<_>| {
        std::future::ready(Ok::<_, Infallible>(request.into_body()))
    }));
    let passed_on = service.call(request.expect("a request"));
    passed_on.into_inner().expect("passed on")
}

async fn frame(body: &mut UnfinishedBody<Halting>) -> Result<Frame<Bytes>, String> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    frame.expect("no end").map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_request_of_which_the_rest_does_not_come_ends() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let begin = Instant::now();
    let mut half = body(&layer, PUT, ["half".into()]);
    frame(&mut half).await.expect("what came");
    let failed = frame(&mut half).await.expect_err("a failure");
    assert!(failed.contains("not sent whole in time"), "{failed}");
    assert!(begin.elapsed() >= UNFINISHED_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_stalled_as_long_as_a_rest_of_its_request_does_not_come() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let client = Connection::new(tokio::io::duplex(1).0).connect_info();
    let on = |path, piece| body_on(&layer, path, [piece], Some(client.clone()));
    let mut half = on(PUT, "half".into());
    let mut between = on(WATCH, message(7));
    for body in [&mut half, &mut between] {
        frame(body).await.expect("what came");
        assert!(poll!(pin!(frame(body))).is_pending());
    }
    assert_eq!(client.share.stalled(), 1, "a stream may be silent");
    drop(half);
    assert_eq!(client.share.stalled(), 0);
}

/// A message of `length` bytes.
fn message(length: u32) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.resize(bytes.len() + length as usize, 7);
    bytes.into()
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_halts_within_its_second_message_ends() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let (first, half) = (message(100), message(200_000).slice(..150_000));
    let both = Bytes::from([first, half].concat());
    // Cuts within the head of the second message, too.
    let pieces = [both.slice(..107), both.slice(107..)];
    let mut halting = body(&layer, WATCH, pieces);
    frame(&mut halting).await.expect("the first message");
    // The sleep is the subject of the test, and the clock is paused.
    sleep(UNFINISHED_MAX * 2).await;
    let begin = Instant::now();
    frame(&mut halting).await.expect("half of the second");
    let counted = layer.0.receiving.bytes();
    assert_eq!(counted, 150_000 - COVERED_BYTES);
    let failed = tokio::time::timeout(UNFINISHED_MAX * 2, frame(&mut halting)).await;
    let failed = failed.expect("it ends").expect_err("a failure");
    assert!(failed.contains("not sent whole in time"), "{failed}");
    assert!(begin.elapsed() >= UNFINISHED_MAX);
    drop(halting);
    assert_eq!(layer.0.receiving.bytes(), 0);
}

#[tokio::test]
async fn what_has_come_of_messages_of_streams_is_bounded() {
    const PART: usize = UNFINISHED_BYTES_MAX / 4;
    let layer = UnfinishedLayer::new(Receiving::default());
    let part = message(u32::try_from(PART).unwrap()).slice(..PART);
    let mut halves = Vec::new();
    for number in 0..6 {
        let mut half = body(&layer, WATCH, [part.clone()]);
        let came = frame(&mut half).await.is_ok();
        assert_eq!(came, number < 4, "stream {number}");
        halves.push(half);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_requests_may_be_silent() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let mut silent = body(&layer, WATCH, [message(7)]);
    frame(&mut silent).await.expect("a message");
    let heard = tokio::time::timeout(UNFINISHED_MAX * 100, frame(&mut silent));
    assert!(heard.await.is_err(), "it goes on");
}

#[tokio::test(start_paused = true)]
async fn what_has_come_of_unfinished_requests_is_bounded_and_given_back() {
    const PART: usize = UNFINISHED_BYTES_MAX / 4;
    let layer = UnfinishedLayer::new(Receiving::default());
    let part = Bytes::from(vec![0; PART]);
    let mut halves = Vec::new();
    for number in 0..6 {
        let mut half = body(&layer, PUT, [part.clone()]);
        assert_eq!(
            frame(&mut half).await.is_ok(),
            number < 4,
            "request {number}"
        );
        halves.push(half);
    }
    drop(halves);
    assert_eq!(layer.0.receiving.bytes(), 0);
}

#[tokio::test]
async fn what_one_connection_or_address_does_not_finish_leaves_room_to_others() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let part = message(1 << 20).slice(..1 << 20);
    let mut held = Vec::new();
    let mut fill = async |connection: &ConnectionInfo| {
        for number in 0.. {
            let piece = [part.clone()];
            let mut half = body_on(&layer, PUT, piece, Some(connection.clone()));
            if frame(&mut half).await.is_err() {
                return number;
            }
            held.push(half);
        }
        unreachable!("there is a bound")
    };
    let connection = |address: &Arc<Address>| {
        let connection = Connection::new(tokio::io::duplex(1).0).connect_info();
        connection.share.settle(Arc::clone(address));
        connection
    };
    let (hostile, honest) = (Arc::default(), Arc::default());
    let first = fill(&connection(&hostile)).await;
    assert!((50..60).contains(&first), "{first}");
    let mut all = first;
    for _ in 0..100 {
        all += fill(&connection(&hostile)).await;
    }
    assert!((100..135).contains(&all), "{all}");
    assert!(fill(&connection(&honest)).await > 20);
    // A small request has its room whatever others do.
    let small = [message(COVERED_BYTES as u32).slice(..COVERED_BYTES)];
    let mut small = body_on(&layer, PUT, small, Some(connection(&hostile)));
    frame(&mut small).await.expect("it is covered by its call");
}

/// A small message that is compressed.
fn compressed() -> Bytes {
    let mut compressed = message(9).to_vec();
    compressed[0] = 1;
    compressed.into()
}

#[tokio::test]
async fn other_tasks_run_between_two_messages_that_take_long_to_decode() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let twice = Bytes::from([compressed(), compressed()].concat());
    let mut both = body(&layer, WATCH, [twice]);
    let mut large = body(&layer, PUT, [message(64 << 10)]);
    let mut small = body(&layer, PUT, [message(100)]);
    let first = frame(&mut both).await.unwrap().into_data().unwrap();
    assert_eq!(first, compressed());
    let mut second = pin!(frame(&mut both));
    assert!(poll!(&mut second).is_pending(), "its turn has not come");
    assert!(poll!(pin!(frame(&mut large))).is_pending());
    assert!(poll!(pin!(frame(&mut small))).is_ready(), "it takes none");
    let second = second.await.unwrap().into_data().unwrap();
    assert_eq!(second, compressed());
    frame(&mut large).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_took_long_to_decode_is_followed_by_a_pause() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let took = Duration::from_millis(100);
    let mut first = body(&layer, PUT, [compressed()]);
    frame(&mut first).await.unwrap();
    // As a decoder that is busy: time passes, and no other task runs.
    tokio::time::advance(took).now_or_never();
    let begin = Instant::now();
    drop(first);
    frame(&mut body(&layer, PUT, [compressed()])).await.unwrap();
    assert!(begin.elapsed() >= took * 4, "{:?}", begin.elapsed());
    // One that did not take long is followed by none.
    let begin = Instant::now();
    frame(&mut body(&layer, PUT, [compressed()])).await.unwrap();
    assert!(begin.elapsed() < took, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn connections_take_turns_however_many_messages_one_has() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let connection = || Connection::new(tokio::io::duplex(1).0).connect_info();
    let (greedy, other) = (connection(), connection());
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let calls = [&greedy, &greedy, &greedy, &other].map(|of| {
        let mut body = body_on(&layer, PUT, [compressed()], Some(of.clone()));
        let (order, is_greedy) = (Arc::clone(&order), std::ptr::eq(of, &greedy));
        async move {
            frame(&mut body).await.unwrap();
            order.lock().push(is_greedy);
        }
    });
    join_all(calls).await;
    assert_eq!(*order.lock(), [true, false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_turn_does_not_come_is_refused() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let turn = Arc::clone(&layer.0.turns.quick).acquire_owned().await;
    let mut heavy = body(&layer, PUT, [compressed()]);
    let refused = frame(&mut heavy).await.expect_err("a refusal");
    assert!(refused.contains("too many requests"), "{refused}");
    drop(turn);
    frame(&mut body(&layer, PUT, [compressed()])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_large_value_does_not_wait_for_the_messages_of_others_that_take_long_to_decode() {
    let layer = UnfinishedLayer::new(Receiving::default());
    let connection = |address: &Arc<Address>| {
        let connection = Connection::new(tokio::io::duplex(1).0).connect_info();
        connection.share.settle(Arc::clone(address));
        connection
    };
    let (hostile, honest) = (Arc::default(), Arc::default());
    let long = |connection: &ConnectionInfo| {
        body_on(&layer, PUT, [compressed()], Some(connection.clone()))
    };
    let value = |connection: &ConnectionInfo| {
        body_on(&layer, PUT, [message(1 << 20)], Some(connection.clone()))
    };
    let took = Duration::from_millis(100);
    // The neighbour at the address has shown before that its messages take no time.
    let neighbour = connection(&hostile);
    frame(&mut value(&neighbour)).await.unwrap();
    // One message shows what others at the address send.
    let mut first = long(&connection(&hostile));
    frame(&mut first).await.unwrap();
    tokio::time::advance(took).now_or_never();
    let waiting = (0..300).map(|_| {
        let mut long = long(&connection(&hostile));
        crate::tasks::spawn("hostile", async move {
            _ = frame(&mut long).await;
            // As a decoder that is busy: no other task runs.
            tokio::time::advance(took).now_or_never();
        })
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::task::yield_now().await;
    drop(first);
    let begin = Instant::now();
    for sender in [&neighbour, &connection(&honest)] {
        frame(&mut value(sender)).await.unwrap();
    }
    // The pause after the first of them, which could not be known.
    assert!(begin.elapsed() <= took * 8, "{:?}", begin.elapsed());
    let unserved = waiting.iter().filter(|task| !task.is_finished()).count();
    assert!(unserved > 290, "{unserved}");
}
