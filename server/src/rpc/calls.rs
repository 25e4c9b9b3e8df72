//! Bounds the memory of the calls that are open on a node, whatever their kind.
//!
//! An open call takes memory before it is read, and until its response is read: its stream, its
//! metadata, its task, a small response. This is charged to one account when the call arrives; a
//! large request is charged while it waits for the quorum. Large responses have an account of their
//! own.
//!
//! Invariant: the account is never overdrawn, and no connection holds more than its share of it.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use http_body::{Body as _, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::answer::{failure::Failure, status::Reason};
use crate::{
    share::{CALLS_BYTES_MAX, Share, UNIT_BYTES},
    transport::ConnectionInfo,
};

/// Least memory of a call, as measured for watch streams, which take most, with one message of the
/// response.
const CALL_BYTES: usize = 32 * 1024;
/// Bytes of a response's message that [`CALL_BYTES`] covers.
const MESSAGE_BYTES: usize = 8 * 1024;
/// Memory of a metadata field beside its text, in the map that holds it.
const FIELD_BYTES: usize = 128;
/// A request of at least this size is charged while it waits.
const REQUEST_BYTES_MIN: usize = 16 * 1024;

/// The account of calls. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Calls(Arc<Semaphore>);

/// Charged memory; released when dropped.
#[derive(Debug, Default)]
pub(super) struct Charged {
    _free: Option<OwnedSemaphorePermit>,
    _shared: Option<OwnedSemaphorePermit>,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(CALLS_BYTES_MAX / UNIT_BYTES)))
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
        if bytes == 0 {
            return Some(Charged::default());
        }
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let shared = match share {
            Some(share) => Some(
                Arc::clone(share.calls())
                    .try_acquire_many_owned(units)
                    .ok()?,
            ),
            None => None,
        };
        let free = Arc::clone(&self.0).try_acquire_many_owned(units).ok()?;
        Some(Charged {
            _free: Some(free),
            _shared: shared,
        })
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
        if !is_grpc(request.headers()) {
            return Box::pin(self.inner.call(request));
        }
        let connection = request.extensions().get::<ConnectionInfo>();
        let share = connection.map(|connection| connection.share.clone());
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
            let body = ChargedBody {
                first,
                body,
                charged: [charged, more],
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

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The body of a response, which is charged until it is sent.
struct ChargedBody {
    /// The frame that was polled before the connection did.
    first: Option<Next>,
    body: Body,
    #[expect(dead_code, reason = "held, not read")]
    charged: [Charged; 2],
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
            return Poll::Ready(first);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        match &self.first {
            Some(Some(_)) => false,
            Some(None) => true,
            None => self.body.is_end_stream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tenure_proto::metadata::{OUTCOME_METADATA, OUTCOME_UNKNOWN, REASON_METADATA};
    use tonic::transport::server::Connected;
    use tower::service_fn;

    use super::*;
    use crate::{share::CALLS_SHARE_BYTES, transport::Connection};

    /// Calls without metadata that a connection may have open.
    const CALLS_PER_CONNECTION: usize = CALLS_SHARE_BYTES / (CALL_BYTES + UNIT_BYTES);

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

    #[tokio::test]
    async fn calls_whose_answers_are_not_read_are_bounded_on_a_connection_and_on_the_node() {
        let mut service = service();
        let mut unread = Vec::new();
        let all = CALLS_BYTES_MAX / CALLS_SHARE_BYTES;
        for number in 0..all {
            let hostile = connection();
            loop {
                let response = service.call(request(&hostile, 0)).await.unwrap();
                if is_refused(&response) {
                    break;
                }
                unread.push(response);
            }
            assert_eq!(unread.len(), (number + 1) * CALLS_PER_CONNECTION);
        }
        // What the shares leave is enough for one call.
        let honest = connection();
        let last = service.call(request(&honest, 0)).await.unwrap();
        assert!(!is_refused(&last));
        assert!(is_refused(
            &service.call(request(&honest, 0)).await.unwrap()
        ));
        unread.truncate(CALLS_PER_CONNECTION);
        assert!(!is_refused(
            &service.call(request(&honest, 0)).await.unwrap()
        ));
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
        let mut unread = Vec::new();
        loop {
            let response = service.call(request(&hostile, 0)).await.unwrap();
            if is_refused(&response) {
                break;
            }
            unread.push(response);
        }
        assert!(
            unread.len() < CALLS_SHARE_BYTES / 80_000,
            "{}",
            unread.len()
        );
        // A message that is read is released, and complete.
        let mut body = unread.pop().expect("some").into_body();
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let data = frame.expect("a frame").expect("data").into_data();
        assert_eq!(data.expect("data").len(), 60_000);
        let end = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert!(end.is_none());
        drop(body);
        assert!(!is_refused(
            &service.call(request(&hostile, 0)).await.unwrap()
        ));
    }

    /// All calls are admitted before the first response, as during a lost quorum.
    #[tokio::test]
    async fn messages_for_which_there_is_no_memory_are_dropped_with_a_status() {
        let mut service =
            CallsLayer(Calls::new()).layer(service_fn(|_: Request<()>| answer(60_000)));
        let hostile = connection();
        let waiting: Vec<_> = (0..CALLS_PER_CONNECTION)
            .map(|_| service.call(request(&hostile, 0)))
            .collect();
        let mut unread = Vec::new();
        for response in waiting {
            unread.push(response.await.unwrap());
        }
        let (dropped, held): (Vec<_>, Vec<_>) = unread.into_iter().partition(is_refused);
        // The rest of the share is less than one more message.
        let spare = CALLS_SHARE_BYTES - CALLS_PER_CONNECTION * (CALL_BYTES + UNIT_BYTES);
        assert!(
            held.len() * (60_000 - MESSAGE_BYTES)
                <= spare + dropped.len() * (CALL_BYTES + UNIT_BYTES),
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
        let hostile = connection();
        let mut unread = Vec::new();
        loop {
            let response = service.call(request(&hostile, 256 * 1024)).await.unwrap();
            if is_refused(&response) {
                break;
            }
            unread.push(response);
        }
        assert!(unread.len() < CALLS_PER_CONNECTION / 8, "{}", unread.len());
        let honest = connection();
        assert!(!is_refused(
            &service.call(request(&honest, 0)).await.unwrap()
        ));
    }

    #[tokio::test]
    async fn what_is_no_call_is_not_charged() {
        let mut service = service();
        let visitor = connection();
        let mut pages = Vec::new();
        for _ in 0..CALLS_PER_CONNECTION + 2 {
            let mut page = Request::new(());
            page.extensions_mut().insert(visitor.clone());
            pages.push(service.call(page).await.unwrap());
        }
        assert!(pages.iter().all(|page| !is_refused(page)));
    }

    #[test]
    fn large_requests_that_wait_are_bounded_and_small_ones_are_not_charged() {
        let calls = Calls::new();
        let hostile = connection();
        let mut held = Vec::new();
        while let Ok(charged) = calls.charge(1 << 20, Some(&hostile)) {
            held.push(charged);
        }
        assert_eq!(held.len(), CALLS_SHARE_BYTES >> 20);
        assert!(calls.charge(1000, Some(&hostile)).is_ok());
        assert!(calls.charge(1 << 20, Some(&connection())).is_ok());
    }
}
