//! The body of a call: JSON objects on one side, gRPC messages on the other.
//!
//! Invariant: a body that is not the JSON of its messages fails, and the failure is told to the
//! response, too, because some services end a stream whose requests fail without saying why.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tenure_json::{Fault, MessageId, Objects, Schema, to_wire};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tower::BoxError;

use super::{Gateway, inflate::Inflate, routes::Route, websocket::SocketBody};
use crate::{
    rpc::answer::{failure::Failure, status::Reason},
    share::{Received, UNFINISHED_MAX},
    tasks,
    transport::ConnectionInfo,
};

/// The prefix of a gRPC message: the compression flag and the length.
const PREFIX_BYTES: usize = 5;
/// Size from which an object is mapped on a thread of its own: a few hundred kilobytes of brackets
/// would keep all other tasks waiting for milliseconds.
const LARGE_BYTES: usize = 16 << 10;

/// The body of a request to the services.
#[derive(Debug)]
pub struct RequestBody<B>(Kind<B>);

#[derive(Debug)]
enum Kind<B> {
    /// Of a request that is not the gateway's.
    Plain(B),
    Json(Box<JsonBody<B>>),
}

impl<B> RequestBody<B> {
    pub(super) const fn plain(body: B) -> Self {
        Self(Kind::Plain(body))
    }

    pub(super) fn json(body: JsonBody<B>) -> Self {
        Self(Kind::Json(Box::new(body)))
    }
}

/// Why the body of a call was refused, once it was.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused(Arc<Mutex<Option<Status>>>);

impl Refused {
    fn set(&self, status: &Status) {
        *self.0.lock() = Some(status.clone());
    }

    /// The status, if there is one.
    pub(super) fn take(&self) -> Option<Status> {
        self.0.lock().take()
    }
}

/// Where the JSON of a call comes from.
#[derive(Debug)]
pub(super) enum Source<B> {
    /// From the body of a request.
    Body(B),
    /// From the messages of a WebSocket.
    Socket(SocketBody),
}

impl<B> Source<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Body(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Socket(body) => {
                let piece = body.poll_piece(context);
                piece.map(|piece| piece.map(|data| Ok(Frame::data(data))))
            }
        }
    }
}

type Mapping = Pin<Box<dyn Future<Output = Result<Bytes, Failure>> + Send>>;

/// The body of a call through the gateway.
pub(super) struct JsonBody<B> {
    /// None once it has ended.
    source: Option<Source<B>>,
    inflate: Option<Inflate>,
    /// Data that was not yet searched for objects.
    rest: Bytes,
    objects: Objects,
    gateway: Arc<Gateway>,
    input: MessageId,
    received: Received,
    /// Whether there may be any number of messages.
    is_stream: bool,
    has_message: bool,
    /// A large object that is being mapped.
    mapping: Option<Mapping>,
    /// Set while an object of a stream is incomplete. The whole of other bodies is bounded by the
    /// layer that bounds requests of gRPC.
    pause: Option<Pin<Box<Sleep>>>,
    refused: Refused,
    is_over: bool,
}

impl<B> JsonBody<B> {
    /// The body of a call of `route`: the messages in `source`, or those in `query` when it is
    /// given.
    ///
    /// # Errors
    /// When the encoding of the body is not supported.
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        route: &Route,
        head: &Parts,
        source: Source<B>,
        query: Option<Bytes>,
    ) -> Result<Self, Failure> {
        let connection = head.extensions.get::<ConnectionInfo>();
        let share = connection.map(|connection| connection.share.clone());
        let inflate = match (&source, &query) {
            (_, Some(_)) | (Source::Socket(_), _) => None,
            (Source::Body(_), None) => Inflate::of(&head.headers, gateway.body_bytes_max)?,
        };
        Ok(Self {
            inflate,
            source: query.is_none().then_some(source),
            rest: query.unwrap_or_default(),
            objects: Objects::new(gateway.body_bytes_max),
            gateway: Arc::clone(gateway),
            input: route.input,
            received: gateway.receiving.begin(share),
            is_stream: route.client_streaming,
            has_message: false,
            mapping: None,
            pause: None,
            refused: Refused::default(),
            is_over: false,
        })
    }

    /// Why the body was refused, once it was.
    pub(super) fn refused(&self) -> Refused {
        self.refused.clone()
    }

    fn fail(&mut self, failure: Failure) -> BoxError {
        self.is_over = true;
        let status = Status::from(failure);
        self.refused.set(&status);
        status.into()
    }

    /// Counts what is held of the body, and `more`.
    fn count(&mut self, more: usize) -> Result<(), Failure> {
        let held = self.objects.held_bytes() + self.rest.len() + more;
        if self.received.set(held) {
            return Ok(());
        }
        Err(Reason::TooManyRequests.into())
    }

    /// Searches the data that has come. Returns the message if it is small and complete.
    fn search(&mut self) -> Result<Option<Bytes>, Failure> {
        let (read, object) = self.objects.take(&self.rest).map_err(failure)?;
        self.rest.advance(read);
        let Some(object) = object else {
            return self.count(0).map(|()| None);
        };
        self.pause = None;
        if self.has_message && !self.is_stream {
            return Err(Reason::JsonInvalid.with("the body has more than one object"));
        }
        self.has_message = true;
        if object.len() < LARGE_BYTES {
            self.count(0)?;
            return map(&self.gateway.schema, self.input, &object).map(Some);
        }
        self.count(object.len())?;
        let (gateway, input) = (Arc::clone(&self.gateway), self.input);
        self.mapping = Some(Box::pin(async move {
            let permit = Arc::clone(&gateway.mappings).acquire_owned().await;
            let mapped = tasks::spawn_blocking(move || {
                let mapped = map(&gateway.schema, input, &object);
                drop(permit);
                mapped
            });
            // The thread is cancelled only when the runtime ends.
            mapped.await.unwrap_or(Err(Reason::Stopped.into()))
        }));
        Ok(None)
    }

    /// What comes at the end of the body.
    fn end(&mut self) -> Result<Option<Bytes>, Failure> {
        self.is_over = true;
        self.objects.finish().map_err(failure)?;
        // No body at all is the message without fields.
        let is_missing = !self.has_message && !self.is_stream;
        Ok(is_missing.then(|| Bytes::from_static(&[0; PREFIX_BYTES])))
    }
}

impl<B> JsonBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Takes the next data of the source. Returns whether the source has not ended.
    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, BoxError>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(Ok(false));
        };
        let Poll::Ready(frame) = source.poll_frame(context) else {
            if self.is_stream && self.objects.held_bytes() > 0 {
                let pause = self
                    .pause
                    .get_or_insert_with(|| Box::pin(sleep(UNFINISHED_MAX)));
                ready!(pause.as_mut().poll(context));
                return Poll::Ready(Err(self.fail(Reason::RequestUnfinished.into())));
            }
            return Poll::Pending;
        };
        let inflated = match frame.transpose()? {
            Some(frame) => match (frame.into_data(), &mut self.inflate) {
                (Ok(data), None) => Ok(data),
                (Ok(data), Some(inflate)) => inflate.take(&data).map(Bytes::from),
                (Err(_trailers), _) => Ok(Bytes::new()),
            },
            None => {
                self.source = None;
                let inflate = self.inflate.as_mut();
                inflate.map_or(Ok(Bytes::new()), |it| it.finish().map(Bytes::from))
            }
        };
        self.rest = inflated.map_err(|it| self.fail(it))?;
        Poll::Ready(Ok(true))
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        while !self.is_over {
            let found = if let Some(mapping) = &mut self.mapping {
                let mapped = ready!(mapping.as_mut().poll(context));
                self.mapping = None;
                self.count(0).and(mapped).map(Some)
            } else if !self.rest.is_empty() {
                self.search()
            } else if ready!(self.poll_source(context))? {
                Ok(None)
            } else {
                self.end()
            };
            match found {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(failure) => return Poll::Ready(Some(Err(self.fail(failure)))),
            }
        }
        Poll::Ready(None)
    }
}

impl<B> fmt::Debug for JsonBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonBody").finish_non_exhaustive()
    }
}

impl<B> Body for RequestBody<B>
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
        match &mut self.get_mut().0 {
            Kind::Plain(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Kind::Json(body) => body.poll_message(context).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Plain(body) => body.is_end_stream(),
            Kind::Json(body) => body.is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Plain(body) => body.size_hint(),
            Kind::Json(_) => SizeHint::default(),
        }
    }
}

/// The gRPC message of an object, with its prefix.
fn map(schema: &Schema, input: MessageId, object: &[u8]) -> Result<Bytes, Failure> {
    let mut message = vec![0; PREFIX_BYTES];
    to_wire(schema, input, object, &mut message).map_err(failure)?;
    let length =
        u32::try_from(message.len() - PREFIX_BYTES).map_err(|_| Reason::RequestTooLarge)?;
    message[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(message.into())
}

fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::TooLarge(_) => Reason::RequestTooLarge.into(),
        Fault::Syntax(_)
        | Fault::Field { .. }
        | Fault::NotAnObject
        | Fault::Unfinished
        | Fault::TooDeep(_) => Reason::JsonInvalid.with(fault.to_string()),
    }
}

#[cfg(test)]
mod tests;
