//! Bounds the memory of the calls that are open on a node, whatever their kind.
//!
//! An open call takes memory before it is read, and until its response is written to the socket:
//! its stream, its metadata, its task, a small response. This is charged to one account when the
//! call arrives; a large request is charged while it waits for the quorum, a message of a stream
//! until it is written. Large responses have an account of their own, and so have pages, so that
//! calls do not keep probes out.
//!
//! Invariants: no account is overdrawn, and no connection holds more than its part of what is free.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body as _, Frame};
use tenure_proto::codec::{ChargedMessage, MESSAGE_ACCOUNT, MessageAccount};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::answer::{
    failure::Failure,
    status::{self, Reason},
    written::{ChargesItself, until_written},
};
use crate::{
    share::{CALLS_BYTES_MAX, CALLS_PARTS, PAGES_BYTES_MAX, Share, UNIT_BYTES},
    transport::ConnectionInfo,
};

/// Least memory of a call, as measured for watch streams, which take most, with one message of the
/// response.
const CALL_BYTES: usize = 32 * 1024;
/// Bytes of a response's message that [`CALL_BYTES`] covers.
const MESSAGE_BYTES: usize = 8 * 1024;
/// Memory of a metadata field beside its text, in the map that holds it.
const FIELD_BYTES: usize = 128;
/// Memory of a page: the largest, of metrics, and its stream.
const PAGE_BYTES: usize = 128 * 1024;
/// A request of at least this size is charged while it waits.
const REQUEST_BYTES_MIN: usize = 16 * 1024;

/// The accounts of calls and of pages. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    calls: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

/// Charged memory; released when dropped.
#[derive(Debug, Default)]
pub(super) struct Charged {
    _free: Option<OwnedSemaphorePermit>,
    _part: Option<Part>,
}

/// Units that a connection has taken; given back when dropped.
#[derive(Debug)]
struct Part {
    taken: Arc<AtomicUsize>,
    units: usize,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.units, Ordering::Relaxed);
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        let account = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT_BYTES));
        Self {
            calls: account(CALLS_BYTES_MAX),
            pages: account(PAGES_BYTES_MAX),
        }
    }

    /// Charges a request that is held while the call waits.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn charge(
        &self,
        request_bytes: usize,
        connection: Option<&ConnectionInfo>,
    ) -> Result<Charged, Failure> {
        if request_bytes < REQUEST_BYTES_MIN {
            return Ok(Charged::default());
        }
        let share = connection.map(|connection| &connection.share);
        self.take(request_bytes, share)
            .ok_or_else(|| Reason::TooManyRequests.into())
    }

    fn take(&self, bytes: usize, share: Option<&Share>) -> Option<Charged> {
        take(&self.calls, bytes, share.map(Share::calls))
    }

    fn take_page(&self, share: Option<&Share>) -> Option<Charged> {
        take(&self.pages, PAGE_BYTES, share.map(Share::pages))
    }
}

/// The account of one call.
#[derive(Debug)]
struct Account {
    calls: Calls,
    share: Option<Share>,
}

impl Account {
    fn take(&self, bytes: usize) -> Option<Charged> {
        self.calls.take(bytes, self.share.as_ref())
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

/// Takes `bytes` of an account for a connection that has `taken` of it, if there are so many and
/// they are not more than its part of what is free.
fn take(
    account: &Arc<Semaphore>,
    bytes: usize,
    taken: Option<&Arc<AtomicUsize>>,
) -> Option<Charged> {
    if bytes == 0 {
        return Some(Charged::default());
    }
    let units = bytes.div_ceil(UNIT_BYTES);
    let part = match taken {
        Some(taken) => {
            let before = taken.fetch_add(units, Ordering::Relaxed);
            let part = Part {
                taken: Arc::clone(taken),
                units,
            };
            if before + units > account.available_permits() / CALLS_PARTS {
                return None;
            }
            Some(part)
        }
        None => None,
    };
    let units = u32::try_from(units).ok()?;
    let free = Arc::clone(account).try_acquire_many_owned(units).ok()?;
    Some(Charged {
        _free: Some(free),
        _part: part,
    })
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
pub struct CallsLayer(pub(super) Calls);

impl<S> Layer<S> for CallsLayer {
    type Service = ChargedService<S>;

    fn layer(&self, inner: S) -> ChargedService<S> {
        ChargedService {
            inner,
            calls: self.0.clone(),
        }
    }
}

/// The service of [`CallsLayer`].
#[derive(Clone, Debug)]
pub struct ChargedService<S> {
    inner: S,
    calls: Calls,
}

impl<S, B> Service<Request<B>> for ChargedService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
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
        if !is_grpc(request.headers()) {
            let Some(charged) = self.calls.take_page(share.as_ref()) else {
                return Box::pin(async { Ok(too_many_pages()) });
            };
            let page = self.inner.call(request);
            return Box::pin(async move {
                let (head, body) = page.await?.into_parts();
                let body = ChargedBody {
                    first: None,
                    rest: Some(body),
                    charged: Arc::new([charged, Charged::default()]),
                    later: None,
                };
                Ok(Response::from_parts(head, Body::new(body)))
            });
        }
        let bytes = call_bytes(request.headers());
        let Some(charged) = self.calls.take(bytes, share.as_ref()) else {
            let refused = Status::from(Reason::TooManyRequests).into_http();
            return Box::pin(async move { Ok(refused) });
        };
        let account = Arc::new(Account {
            calls: self.calls.clone(),
            share,
        });
        let messages: Arc<dyn MessageAccount> = Arc::clone(&account) as _;
        let response = MESSAGE_ACCOUNT.scope(messages, self.inner.call(request));
        Box::pin(async move {
            let (head, mut body) = response.await?.into_parts();
            // A message that is ready is held until the client reads it, and charged for its
            // length. Without memory for that it is dropped, and the status says that the request
            // may have taken effect.
            let first = now(&mut body).await;
            let message = first.as_ref().map_or(0, frame_bytes);
            let more = message.saturating_sub(MESSAGE_BYTES);
            let Some(more) = account.take(more) else {
                return Ok(Status::from(Reason::AnswerDropped).into_http());
            };
            let charges_itself = head.extensions.get::<ChargesItself>().is_some();
            let body = ChargedBody {
                first,
                rest: Some(body),
                charged: Arc::new([charged, more]),
                later: (!charges_itself).then_some(account),
            };
            Ok(Response::from_parts(head, Body::new(body)))
        })
    }
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
    charged: Arc<[Charged; 2]>,
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
