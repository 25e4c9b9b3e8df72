//! Bounds the time and the memory of requests that do not arrive completely.
//!
//! A message is not processed before its last byte, so no deadline of a call applies until then.
//! Requests of methods without client streaming must arrive completely. Streams may be idle for any
//! time between two messages, but not within one.
//!
//! Invariant: received bytes of unfinished requests exceed [`UNFINISHED_BYTES_MAX`] by one frame at
//! most.

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

use self::partial::Partial;
use crate::{metrics, rpc::Reason};

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
}

impl UnfinishedLayer {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            whole: metrics::paths_of_whole_requests(),
            received: AtomicUsize::new(0),
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
        let unit = if self.shared.whole.contains(request.uri().path()) {
            Some(Unit::Request)
        } else {
            is_grpc(&request).then(|| Unit::Message(Partial::default()))
        };
        let bound = unit.map(|unit| Bound {
            shared: Arc::clone(&self.shared),
            unit,
            received: 0,
            deadline: None,
        });
        self.inner
            .call(request.map(|body| UnfinishedBody { body, bound }))
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A request body that fails when it does not arrive completely.
#[derive(Debug)]
pub(super) struct UnfinishedBody<B> {
    body: B,
    /// Set for gRPC calls only.
    bound: Option<Bound>,
}

#[derive(Debug)]
struct Bound {
    shared: Arc<Shared>,
    unit: Unit,
    /// Bytes received of the unit.
    received: usize,
    /// Set at the first pause: most requests arrive at once and need no timer.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What must arrive completely.
#[derive(Debug)]
enum Unit {
    Request,
    /// Each message of a stream.
    Message(Partial),
}

impl Bound {
    /// Counts the received bytes, and returns whether they are within the bound.
    fn receive(&mut self, data: &[u8]) -> bool {
        let before = self.received;
        self.received = match &mut self.unit {
            Unit::Request => before + data.len(),
            Unit::Message(partial) => {
                partial.take(data);
                partial.bytes()
            }
        };
        if self.received < before + data.len() {
            // The message ended; the next gets a deadline of its own.
            self.deadline = None;
        }
        let all = &self.shared.received;
        if self.received <= before {
            all.fetch_sub(before - self.received, Ordering::Relaxed);
            return true;
        }
        all.fetch_add(self.received - before, Ordering::Relaxed) < UNFINISHED_BYTES_MAX
    }

    /// Whether the stream is between two messages, where it may be idle.
    const fn is_between(&self) -> bool {
        matches!(self.unit, Unit::Message(_)) && self.received == 0
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let received = self.received;
        self.shared.received.fetch_sub(received, Ordering::Relaxed);
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
        let frame = Pin::new(&mut this.body).poll_frame(context);
        let Some(bound) = &mut this.bound else {
            return frame.map_err(Into::into);
        };
        if frame.is_pending() {
            if bound.is_between() {
                return Poll::Pending;
            }
            let deadline = bound
                .deadline
                .get_or_insert_with(|| Box::pin(sleep(UNFINISHED_MAX)));
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Some(Err(failure(Reason::RequestUnfinished))));
        }
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
            && !bound.receive(data)
        {
            return Poll::Ready(Some(Err(failure(Reason::TooManyRequests))));
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn failure(reason: Reason) -> BoxError {
    tonic::Status::from(reason).into()
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible, future::poll_fn};

    use tokio::time::Instant;

    use super::*;

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
        let request = Request::builder()
            .uri(path)
            .header(CONTENT_TYPE, "application/grpc")
            .body(Halting(pieces.into()));
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
}
