//! Bounds the time and the memory of requests that do not arrive completely.
//!
//! A message is not processed before its last byte, so no deadline of a call applies until then.
//! Requests of methods without client streaming must arrive completely. Streams may be idle for any
//! time between two messages, but not within one.
//!
//! A message that takes long to decode is handed on only in its turn, so that other tasks run
//! between two of them: see [`heavy`].
//!
//! Invariant: every byte that is held is counted to the account of unfinished requests, but for
//! those that the call is charged for.

mod heavy;
mod partial;

use std::{
    collections::HashSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
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
    share::{Received, Receiving, Share, Stalled, UNFINISHED_MAX},
    transport::ConnectionInfo,
};

/// Bounds unfinished requests to the service it wraps.
#[derive(Clone, Debug)]
pub(super) struct UnfinishedLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    whole: HashSet<String>,
    receiving: Receiving,
    turns: Turns,
}

impl UnfinishedLayer {
    pub(super) fn new(receiving: Receiving) -> Self {
        Self(Arc::new(Shared {
            whole: metrics::paths_of_whole_requests(),
            receiving,
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
            held: self.shared.receiving.begin(share),
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
    held: Received,
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
        self.held.set(self.received).then_some((taken, is_heavy))
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
        let share = bound.held.share();
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
        bound.heavy = Some(Heavy::new(piece, turns, bound.held.share()));
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
mod tests;
