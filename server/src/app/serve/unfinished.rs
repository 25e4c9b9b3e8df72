//! Requests that do not come whole: they end after a time, and hold a bounded memory until then.
//!
//! Of a request that is one message nothing is looked at before its last byte, so no deadline of a
//! call begins before. Streams of requests may be silent for as long as they like and pass.
//!
//! Invariant: what has come of unfinished requests is at most [`UNFINISHED_BYTES_MAX`], and what
//! one frame has.

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

use http::Request;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tower::{BoxError, Layer, Service};

use crate::{metrics, rpc::Reason};

/// How long a request may take to come whole, from its first pause on. The largest that is allowed
/// comes within it over half a megabit a second.
const UNFINISHED_MAX: Duration = Duration::from_secs(30);
/// What may have come of requests that are not whole yet: of the largest some hundred and seventy.
const UNFINISHED_BYTES_MAX: usize = 256 << 20;

/// Bounds the requests of the service it wraps.
#[derive(Clone, Debug)]
pub(super) struct UnfinishedLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    whole: HashSet<String>,
    /// Bytes that have come of unfinished requests.
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

/// The service that [`UnfinishedLayer`] makes.
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
        let is_bounded = self.shared.whole.contains(request.uri().path());
        let bound = is_bounded.then(|| Bound {
            shared: Arc::clone(&self.shared),
            received: 0,
            deadline: None,
        });
        self.inner
            .call(request.map(|body| UnfinishedBody { body, bound }))
    }
}

/// The body of a request, which fails when it does not come whole.
#[derive(Debug)]
pub(super) struct UnfinishedBody<B> {
    body: B,
    /// Only of a request that is one message.
    bound: Option<Bound>,
}

#[derive(Debug)]
struct Bound {
    shared: Arc<Shared>,
    received: usize,
    /// Most requests are there at once, and need none.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Bound {
    /// Whether there was room for so many bytes more.
    fn receive(&mut self, bytes: usize) -> bool {
        self.received += bytes;
        let before = self.shared.received.fetch_add(bytes, Ordering::Relaxed);
        before < UNFINISHED_BYTES_MAX
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
    B: Body + Unpin,
    B::Data: bytes::Buf,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        let Some(bound) = &mut this.bound else {
            return frame.map_err(Into::into);
        };
        if frame.is_pending() {
            let deadline = bound
                .deadline
                .get_or_insert_with(|| Box::pin(sleep(UNFINISHED_MAX)));
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Some(Err(failure(Reason::RequestUnfinished))));
        }
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
            && !bound.receive(bytes::Buf::remaining(data))
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
    use std::{convert::Infallible, future::poll_fn};

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;

    /// Some bytes, and then nothing, without an end.
    struct Halting(Option<Bytes>);

    impl Body for Halting {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            match self.0.take() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                None => Poll::Pending,
            }
        }
    }

    fn body(layer: &UnfinishedLayer, path: &str, begin: Option<Bytes>) -> UnfinishedBody<Halting> {
        let request = Request::builder().uri(path).body(Halting(begin));
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
        let mut half = body(&layer, "/etcdserverpb.KV/Put", Some("half".into()));
        frame(&mut half).await.expect("what came");
        let failed = frame(&mut half).await.expect_err("a failure");
        assert!(failed.contains("not sent whole in time"), "{failed}");
        assert!(begin.elapsed() >= UNFINISHED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_requests_may_be_silent() {
        let layer = UnfinishedLayer::new();
        let mut silent = body(&layer, "/etcdserverpb.Watch/Watch", None);
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
            let mut half = body(&layer, "/etcdserverpb.KV/Put", Some(part.clone()));
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
