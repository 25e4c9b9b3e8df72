//! A body that counts the gRPC messages passing through it without changing them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{
    frame::FrameCounter,
    grpc::{Call, MethodMetrics},
};

/// The header and trailer that carries a call's outcome.
pub(super) const STATUS: &str = "grpc-status";

/// A counted request or response body, or one that is not counted because it is not gRPC.
#[derive(Debug)]
pub struct CountingBody<B> {
    inner: B,
    frames: FrameCounter,
    side: Side,
}

/// The counters to update. The response holds the call, which therefore ends with the response.
#[derive(Debug)]
enum Side {
    Uncounted,
    Request(Arc<MethodMetrics>),
    Response(Call),
}

impl<B> CountingBody<B> {
    fn new(inner: B, side: Side) -> Self {
        Self {
            inner,
            frames: FrameCounter::default(),
            side,
        }
    }

    pub(super) fn uncounted(inner: B) -> Self {
        Self::new(inner, Side::Uncounted)
    }

    pub(super) fn request(inner: B, method: Arc<MethodMetrics>) -> Self {
        Self::new(inner, Side::Request(method))
    }

    pub(super) fn response(inner: B, call: Call) -> Self {
        Self::new(inner, Side::Response(call))
    }

    fn saw_data(&mut self, data: &[u8]) {
        match &self.side {
            Side::Uncounted => {}
            Side::Request(method) => method.received(self.frames.feed(data)),
            Side::Response(call) => call.method().sent(self.frames.feed(data)),
        }
    }

    fn saw_trailers(&mut self, trailers: &HeaderMap) {
        if let (Side::Response(call), Some(status)) = (&mut self.side, trailers.get(STATUS)) {
            call.ended(status.as_bytes());
        }
    }

    fn saw_error(&mut self) {
        if let Side::Response(call) = &mut self.side {
            call.failed();
        }
    }
}

impl<B> Body for CountingBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.saw_data(data);
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.saw_trailers(trailers);
                }
            }
            Some(Err(_)) => self.saw_error(),
            None => {}
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
