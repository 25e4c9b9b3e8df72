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
        let calls = self.calls.clone();
        let response = self.inner.call(request);
        Box::pin(async move {
            let (head, mut body) = response.await?.into_parts();
            // A message that is ready is held until the client reads it, and charged for its
            // length. Without memory for that it is dropped, and the status says that the request
            // may have taken effect.
            let first = now(&mut body).await;
            let message = first.as_ref().map_or(0, frame_bytes);
            let more = message.saturating_sub(MESSAGE_BYTES);
            let Some(more) = calls.take(more, share.as_ref()) else {
                return Ok(Status::from(Reason::AnswerDropped).into_http());
            };
            let charges_itself = head.extensions.get::<ChargesItself>().is_some();
            let body = ChargedBody {
                first,
                rest: Some(body),
                charged: Arc::new([charged, more]),
                later: (!charges_itself).then_some((calls, share)),
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
    later: Option<(Calls, Option<Share>)>,
}

impl ChargedBody {
    /// The frame, charged; or none, when there is no memory for it.
    fn later(&self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let more = match &self.later {
            Some((calls, share)) => {
                let more = bytes.saturating_sub(MESSAGE_BYTES);
                calls.take(more, share.as_ref())?
            }
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
mod tests {
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
        let mut service =
            CallsLayer(Calls::new()).layer(service_fn(|_: Request<()>| answer(60_000)));
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
        let mut service =
            CallsLayer(Calls::new()).layer(service_fn(|_: Request<()>| answer(60_000)));
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
}
