//! Bounds the memory of the calls that are open on a node, whatever their kind.
//!
//! An open call takes memory before it is read, and until its response is written to the socket:
//! its stream, its metadata, its task, a small response. This is charged to one account when the
//! call arrives; a large request is charged while it waits for the quorum, a message of a stream
//! until it is written. Large responses have an account of their own, and so have pages, so that
//! calls do not keep probes out.
//!
//! Who may take how much of an account is in [`accounts`].

mod accounts;

use std::{
    collections::HashSet,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body as _, Frame};
use tenure_proto::codec::{ChargedMessage, MESSAGE_ACCOUNT, MessageAccount};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use self::accounts::Kind;
pub(super) use self::accounts::{Calls, Charged};
use super::answer::{
    status::{self, Reason},
    written::{ChargesItself, until_written},
};
use crate::{
    metrics,
    share::{Share, Stalled},
    transport::ConnectionInfo,
};

/// Least memory of a call, as measured for watch streams, which take most, with one message of the
/// response.
const CALL_BYTES: usize = 32 * 1024;
/// Bytes of a response's message that [`CALL_BYTES`] covers.
const MESSAGE_BYTES: usize = 8 * 1024;
/// Memory of a metadata field beside its text, in the map that holds it.
const FIELD_BYTES: usize = 128;

/// The account of one call.
#[derive(Debug)]
struct Account {
    calls: Calls,
    kind: Kind,
    share: Option<Share>,
}

impl Account {
    fn take(&self, bytes: usize) -> Option<Charged> {
        self.calls.take(self.kind, bytes, self.share.as_ref())
    }

    async fn take_or_wait(&self, bytes: usize) -> Option<Charged> {
        let share = self.share.as_ref();
        self.calls.take_or_wait(self.kind, bytes, share).await
    }
}

impl MessageAccount for Account {
    fn charge(&self, bytes: usize) -> Result<ChargedMessage, Status> {
        match self.take(bytes) {
            Some(charged) => Ok(Box::new(charged)),
            None => Err(Reason::TooManyRequests.into()),
        }
    }
}

/// The memory of a call with this metadata.
fn call_bytes(metadata: &HeaderMap) -> usize {
    let fields = metadata
        .iter()
        .map(|(name, value)| FIELD_BYTES + name.as_str().len() + value.len());
    fields.sum::<usize>() + CALL_BYTES
}

/// Charges every call of the service it wraps, and refuses calls for which there is no memory.
#[derive(Clone, Debug)]
pub struct CallsLayer {
    calls: Calls,
    /// The paths of calls that end by themselves.
    short: Arc<HashSet<String>>,
}

impl CallsLayer {
    pub(super) fn new(calls: Calls) -> Self {
        Self {
            calls,
            short: Arc::new(metrics::paths_of_short_calls()),
        }
    }
}

impl<S> Layer<S> for CallsLayer {
    type Service = ChargedService<S>;

    fn layer(&self, inner: S) -> ChargedService<S> {
        ChargedService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`CallsLayer`].
#[derive(Clone, Debug)]
pub struct ChargedService<S> {
    inner: S,
    layer: CallsLayer,
}

impl<S, B> Service<Request<B>> for ChargedService<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let connection = request.extensions().get::<ConnectionInfo>();
        let share = connection.map(|connection| connection.share.clone());
        let calls = &self.layer.calls;
        if !is_grpc(request.headers()) {
            let Some(charged) = calls.take_page(share.as_ref()) else {
                return Box::pin(async { Ok(too_many_pages()) });
            };
            return Box::pin(page(charged, self.inner.call(request)));
        }
        if let Some(connection) = connection {
            calls.remember(connection);
        }
        let bytes = call_bytes(request.headers());
        let kind = if self.layer.short.contains(request.uri().path()) {
            Kind::Short
        } else {
            Kind::Long
        };
        let account = Arc::new(Account {
            calls: calls.clone(),
            kind,
            share,
        });
        if let Some(charged) = account.take(bytes) {
            let messages: Arc<dyn MessageAccount> = Arc::clone(&account) as _;
            let response = MESSAGE_ACCOUNT.scope(messages, self.inner.call(request));
            return Box::pin(charged_call(charged, account, response));
        }
        // The clone is not known to be ready, and the other is.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let Some(charged) = account.take_or_wait(bytes).await else {
                return Ok(Status::from(Reason::TooManyRequests).into_http());
            };
            let messages: Arc<dyn MessageAccount> = Arc::clone(&account) as _;
            let response = MESSAGE_ACCOUNT.scope(messages, inner.call(request));
            charged_call(charged, account, response).await
        })
    }
}

/// The response of a page, charged until it is written.
async fn page<E>(
    charged: Charged,
    page: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
    let (head, body) = page.await?.into_parts();
    let body = ChargedBody {
        first: None,
        rest: Some(body),
        charged: Arc::new(Held {
            _charged: [charged, Charged::default()],
            _stalled: None,
        }),
        later: None,
    };
    Ok(Response::from_parts(head, Body::new(body)))
}

/// The response of a call, charged until it is written.
async fn charged_call<E>(
    charged: Charged,
    account: Arc<Account>,
    response: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
    let (head, mut body) = response.await?.into_parts();
    // A message that is ready is held until the client reads it, and charged for its length.
    // Without memory for that it is dropped, and the status says that the request may have taken
    // effect.
    let first = now(&mut body).await;
    let message = first.as_ref().map_or(0, frame_bytes);
    let more = message.saturating_sub(MESSAGE_BYTES);
    let Some(more) = account.take_or_wait(more).await else {
        return Ok(Status::from(Reason::AnswerDropped).into_http());
    };
    let charges_itself = head.extensions.get::<ChargesItself>().is_some();
    let stalled = match account.kind {
        Kind::Short => account.share.as_ref().map(Share::stall),
        Kind::Long => None,
    };
    let body = ChargedBody {
        first,
        rest: Some(body),
        charged: Arc::new(Held {
            _charged: [charged, more],
            _stalled: stalled,
        }),
        later: (!charges_itself).then_some(account),
    };
    Ok(Response::from_parts(head, Body::new(body)))
}

/// What a call holds until its response is written.
struct Held {
    _charged: [Charged; 2],
    /// Set for a response that comes at once: from now on it waits for its client.
    _stalled: Option<Stalled>,
}

type Next = Option<Result<Frame<Bytes>, Status>>;

/// The next frame of a body, if it is ready. The connection polls a pending one again.
async fn now(body: &mut Body) -> Option<Next> {
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        })
    })
    .await
}

fn frame_bytes(next: &Next) -> usize {
    let frame = next.as_ref().and_then(|frame| frame.as_ref().ok());
    frame.and_then(Frame::data_ref).map_or(0, |data| data.len())
}

fn too_many_pages() -> Response<Body> {
    let mut refused = Response::new(Body::new("too many requests\n".to_owned()));
    *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    refused
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The body of a response, which is charged until all of it is written to the socket.
struct ChargedBody {
    /// The frame that was polled before the connection did.
    first: Option<Next>,
    /// The frames after it; none once it is over.
    rest: Option<Body>,
    charged: Arc<Held>,
    /// What later messages are charged to, each until it is written.
    later: Option<Arc<Account>>,
}

impl ChargedBody {
    /// The frame, charged; or none, when there is no memory for it.
    fn later(&self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let more = match &self.later {
            Some(account) => account.take(bytes.saturating_sub(MESSAGE_BYTES))?,
            None => Charged::default(),
        };
        Some(until_written(frame, (Arc::clone(&self.charged), more)))
    }
}

impl fmt::Debug for ChargedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChargedBody").finish_non_exhaustive()
    }
}

impl http_body::Body for ChargedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(first) = self.first.take() {
            let charged = Arc::clone(&self.charged);
            return Poll::Ready(first.map(|frame| frame.map(|it| until_written(it, charged))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let next = ready!(Pin::new(rest).poll_frame(context));
        Poll::Ready(next.map(|frame| {
            Ok(self.later(frame?).unwrap_or_else(|| {
                self.rest = None;
                Frame::trailers(status::trailers(&Reason::StreamUnread.into()))
            }))
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.first {
            Some(Some(_)) => false,
            Some(None) => true,
            None => self
                .rest
                .as_ref()
                .is_none_or(http_body::Body::is_end_stream),
        }
    }
}

#[cfg(test)]
mod tests;
