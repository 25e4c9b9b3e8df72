//! Bounds the time and the memory of requests that do not arrive completely.
//!
//! A message is not processed before its last byte, so no deadline of a call applies until then.
//! Requests of methods without client streaming must arrive completely. Streams may be idle for any
//! time between two messages, but not within one.
//!
//! A message that takes long to decode is handed on only in its turn, so that other tasks run
//! between two of them: see [`heavy`].
//!
//! Invariant: received bytes of unfinished requests exceed [`UNFINISHED_BYTES_MAX`] by one frame at
//! most.

mod heavy;
mod partial;

use std::{
    collections::HashSet,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tower::{BoxError, Layer, Service};

use self::{
    heavy::{Decoding, Heavy, Turns},
    partial::Partial,
};
use crate::{
    metrics,
    rpc::Reason,
    share::{Share, Stalled},
    transport::ConnectionInfo,
};

/// Time for a request, or a message of a stream, to arrive completely after its first pause. The
/// largest allowed arrives within it at half a megabit a second.
const UNFINISHED_MAX: Duration = Duration::from_secs(30);
/// Bytes that unfinished requests may hold: about a hundred and seventy of the largest.
const UNFINISHED_BYTES_MAX: usize = 256 << 20;

/// Bounds unfinished requests to the service it wraps.
#[derive(Clone, Debug)]
pub(super) struct UnfinishedLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    whole: HashSet<String>,
    /// Bytes received of unfinished requests.
    received: AtomicUsize,
    turns: Turns,
}

impl UnfinishedLayer {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            whole: metrics::paths_of_whole_requests(),
            received: AtomicUsize::new(0),
            turns: Turns::default(),
        }))
    }
}

impl<S> Layer<S> for UnfinishedLayer {
    type Service = Unfinished<S>;

    fn layer(&self, inner: S) -> Unfinished<S> {
        Unfinished {
            inner,
            shared: Arc::clone(&self.0),
        }
    }
}

/// The service of [`UnfinishedLayer`].
#[derive(Clone, Debug)]
pub(super) struct Unfinished<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B> Service<Request<B>> for Unfinished<S>
where
    S: Service<Request<UnfinishedBody<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let is_whole = self.shared.whole.contains(request.uri().path());
        let connection = request.extensions().get::<ConnectionInfo>();
        let share = connection.map(|connection| connection.share.clone());
        let bound = (is_whole || is_grpc(&request)).then(|| Bound {
            shared: Arc::clone(&self.shared),
            share,
            partial: Partial::default(),
            is_whole,
            received: 0,
            pause: None,
            heavy: None,
            decoding: None,
            rest: None,
        });
        self.inner
            .call(request.map(|body| UnfinishedBody { body, bound }))
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A request body that fails when it does not arrive completely, and hands heavy messages on in
/// turns.
#[derive(Debug)]
pub(super) struct UnfinishedBody<B> {
    body: B,
    /// Set for gRPC calls only.
    bound: Option<Bound>,
}

/// The rest of a request that has not come.
#[derive(Debug)]
struct Pause {
    deadline: Pin<Box<Sleep>>,
    /// Says that the call waits for its client.
    _stalled: Option<Stalled>,
}

#[derive(Debug)]
struct Bound {
    shared: Arc<Shared>,
    share: Option<Share>,
    partial: Partial,
    /// Whether all of the request must arrive; each message of a stream otherwise.
    is_whole: bool,
    /// Bytes received of the request or the message.
    received: usize,
    /// Set at the first pause: most requests arrive at once and need no timer.
    pause: Option<Pause>,
    /// The end of a heavy message that waits for its turn.
    heavy: Option<Heavy>,
    /// Set while a heavy message is being decoded.
    decoding: Option<Decoding>,
    /// Data behind a heavy message.
    rest: Option<Bytes>,
}

impl Bound {
    /// Counts the received bytes up to the end of the first heavy message. Returns how many these
    /// are and whether they end such a message; `None` when they exceed the bound.
    fn receive(&mut self, data: &[u8]) -> Option<(usize, bool)> {
        let before = self.received;
        let (taken, is_heavy) = self.partial.take(data);
        self.received = if self.is_whole {
            before + taken
        } else {
            self.partial.bytes()
        };
        if self.received < before + taken {
            // The message ended; the next gets a deadline of its own.
            self.pause = None;
        }
        let all = &self.shared.received;
        if self.received <= before {
            all.fetch_sub(before - self.received, Ordering::Relaxed);
            return Some((taken, is_heavy));
        }
        let others = all.fetch_add(self.received - before, Ordering::Relaxed);
        (others < UNFINISHED_BYTES_MAX).then_some((taken, is_heavy))
    }

    /// Whether the stream is between two messages, where it may be idle.
    const fn is_between(&self) -> bool {
        !self.is_whole && self.received == 0
    }

    /// Waits for the turn of the heavy message, if there is one, and hands its end on.
    fn poll_heavy(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let Some(heavy) = &mut self.heavy else {
            return Poll::Ready(None);
        };
        let data = ready!(heavy.poll(context));
        self.heavy = None;
        Poll::Ready(Some(data.map(|(data, decoding)| {
            self.decoding = Some(decoding);
            data
        })))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let received = self.received;
        self.shared.received.fetch_sub(received, Ordering::Relaxed);
    }
}

impl<B> UnfinishedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// The next data of a call, or its trailers.
    fn poll_next(
        body: &mut B,
        bound: &mut Bound,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(body).poll_frame(context);
        if frame.is_ready() {
            return frame.map_err(Into::into);
        }
        if bound.is_between() {
            return Poll::Pending;
        }
        let share = bound.share.as_ref();
        let pause = bound.pause.get_or_insert_with(|| Pause {
            deadline: Box::pin(sleep(UNFINISHED_MAX)),
            _stalled: share.map(Share::stall),
        });
        ready!(pause.deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(failure(Reason::RequestUnfinished))))
    }
}

impl<B> Body for UnfinishedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(bound) = &mut this.bound else {
            return Pin::new(&mut this.body)
                .poll_frame(context)
                .map_err(Into::into);
        };
        bound.decoding = None;
        if let Some(data) = ready!(bound.poll_heavy(context)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        let mut data = match bound.rest.take() {
            Some(rest) => rest,
            None => match ready!(Self::poll_next(&mut this.body, bound, context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            },
        };
        let Some((taken, is_heavy)) = bound.receive(&data) else {
            return Poll::Ready(Some(Err(failure(Reason::TooManyRequests))));
        };
        let piece = data.split_to(taken);
        bound.rest = Some(data).filter(|rest| !rest.is_empty());
        if !is_heavy {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let turns = &bound.shared.turns;
        bound.heavy = Some(Heavy::new(piece, turns, bound.share.as_ref()));
        let data = ready!(bound.poll_heavy(context));
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        let is_held = |bound: &Bound| bound.heavy.is_some() || bound.rest.is_some();
        !self.bound.as_ref().is_some_and(is_held) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.bound {
            // Some of it may be held here.
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

fn failure(reason: Reason) -> BoxError {
    tonic::Status::from(reason).into()
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible, future::poll_fn, pin::pin};

    use futures::{FutureExt as _, future::join_all, poll};
    use tokio::time::Instant;
    use tonic::transport::server::Connected as _;

    use super::*;
    use crate::transport::Connection;

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
        let layer = UnfinishedLayer::new();
        let begin = Instant::now();
        let mut half = body(&layer, PUT, ["half".into()]);
        frame(&mut half).await.expect("what came");
        let failed = frame(&mut half).await.expect_err("a failure");
        assert!(failed.contains("not sent whole in time"), "{failed}");
        assert!(begin.elapsed() >= UNFINISHED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_stalled_as_long_as_a_rest_of_its_request_does_not_come() {
        let layer = UnfinishedLayer::new();
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
        let layer = UnfinishedLayer::new();
        let (first, half) = (message(100), message(200).slice(..150));
        let both = Bytes::from([first, half].concat());
        // Cuts within the head of the second message, too.
        let pieces = [both.slice(..107), both.slice(107..)];
        let mut halting = body(&layer, WATCH, pieces);
        frame(&mut halting).await.expect("the first message");
        // The sleep is the subject of the test, and the clock is paused.
        sleep(UNFINISHED_MAX * 2).await;
        let begin = Instant::now();
        frame(&mut halting).await.expect("half of the second");
        assert_eq!(layer.0.received.load(Ordering::Relaxed), 150);
        let failed = tokio::time::timeout(UNFINISHED_MAX * 2, frame(&mut halting)).await;
        let failed = failed.expect("it ends").expect_err("a failure");
        assert!(failed.contains("not sent whole in time"), "{failed}");
        assert!(begin.elapsed() >= UNFINISHED_MAX);
        drop(halting);
        assert_eq!(layer.0.received.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_has_come_of_messages_of_streams_is_bounded() {
        const PART: usize = UNFINISHED_BYTES_MAX / 4;
        let layer = UnfinishedLayer::new();
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
        let layer = UnfinishedLayer::new();
        let mut silent = body(&layer, WATCH, [message(7)]);
        frame(&mut silent).await.expect("a message");
        let heard = tokio::time::timeout(UNFINISHED_MAX * 100, frame(&mut silent));
        assert!(heard.await.is_err(), "it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_come_of_unfinished_requests_is_bounded_and_given_back() {
        const PART: usize = UNFINISHED_BYTES_MAX / 4;
        let layer = UnfinishedLayer::new();
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
        assert_eq!(layer.0.received.load(Ordering::Relaxed), 0);
    }

    /// A small message that is compressed.
    fn compressed() -> Bytes {
        let mut compressed = message(9).to_vec();
        compressed[0] = 1;
        compressed.into()
    }

    #[tokio::test]
    async fn other_tasks_run_between_two_messages_that_take_long_to_decode() {
        let layer = UnfinishedLayer::new();
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
        let layer = UnfinishedLayer::new();
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
        let layer = UnfinishedLayer::new();
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
        let layer = UnfinishedLayer::new();
        let turn = Arc::clone(&layer.0.turns.0).acquire_owned().await;
        let mut heavy = body(&layer, PUT, [compressed()]);
        let refused = frame(&mut heavy).await.expect_err("a refusal");
        assert!(refused.contains("too many requests"), "{refused}");
        drop(turn);
        frame(&mut body(&layer, PUT, [compressed()])).await.unwrap();
    }
}
