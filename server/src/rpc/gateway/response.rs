//! Responses of calls as responses of HTTP.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tower::BoxError;

use super::{
    error::Told,
    headers,
    messages::{Ended, Form, Messages},
};
use crate::rpc::answer::status::Reason;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// No cache may keep events, or hold them back.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// The body of a response to a client.
#[derive(Debug)]
pub struct ResponseBody<R>(Kind<R>);

#[derive(Debug)]
enum Kind<R> {
    /// Of a response that is not the gateway's.
    Plain(R),
    /// All of a body.
    Text(Bytes),
    /// The first chunk, if it was not taken, and the others.
    Chunks(Option<Bytes>, Box<Messages<R>>),
}

impl<R> ResponseBody<R> {
    pub(super) const fn plain(body: R) -> Self {
        Self(Kind::Plain(body))
    }

    fn text(text: impl Into<Bytes>) -> Self {
        Self(Kind::Text(text.into()))
    }
}

/// The response of a page.
pub(super) fn page<R>(status: StatusCode, text: &'static str) -> Response<ResponseBody<R>> {
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    response
}

/// The response to a call of gRPC where none is served. In gRPC's own form, because libraries make
/// different things of a page.
pub(super) fn no_grpc<R>() -> Response<ResponseBody<R>> {
    let told = Status::from(Reason::GrpcElsewhere).into_http::<()>();
    told.map(|()| ResponseBody::text(""))
}

/// The response of a call that failed before its first message.
pub(super) fn failed<R>(form: Form, told: &Told) -> Response<ResponseBody<R>> {
    let body = match form {
        Form::Whole | Form::Events => told.body(),
        Form::Lines | Form::Frames => form.failure(told),
    };
    let mut response = Response::new(ResponseBody::text(body));
    *response.status_mut() = told.http_status();
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The response of a call that failed with this status before its first message.
pub(super) fn failed_with<R>(form: Form, status: &Status) -> Response<ResponseBody<R>> {
    let mut response = failed(form, &Told::from(status));
    headers::carry(status.metadata().as_ref(), response.headers_mut());
    response
}

/// The response of a call, whose own response has this metadata.
pub(super) async fn of_call<R>(
    metadata: &HeaderMap,
    mut messages: Messages<R>,
) -> Response<ResponseBody<R>>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    let form = messages.form();
    let status = Status::from_header_map(metadata);
    if let Some(status) = status.filter(|status| i32::from(status.code()) != 0) {
        return failed_with(form, &messages.cause(status));
    }
    // The status of HTTP says whether the call failed, so the response begins with the first chunk.
    let first = match next(&mut messages).await {
        Some(Ok(chunk)) => Some(chunk),
        None => None,
        Some(Err(Ended::Failed(status))) => return failed_with(form, &status),
        Some(Err(Ended::Broken(error))) => return broken(form, &error),
    };
    let body = if form == Form::Whole && messages.is_between() {
        // A call may fail after its message, and before anything of it was sent.
        match next(&mut messages).await {
            None => ResponseBody::text(first.unwrap_or_else(|| Bytes::from_static(b"{}"))),
            Some(Ok(_)) => return broken(form, &"more than one message".into()),
            Some(Err(Ended::Failed(status))) => return failed_with(form, &status),
            Some(Err(Ended::Broken(error))) => return broken(form, &error),
        }
    } else {
        ResponseBody(Kind::Chunks(first, Box::new(messages)))
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers::carry(metadata, headers);
    set_type(form, headers);
    response
}

fn set_type(form: Form, headers: &mut HeaderMap) {
    match form {
        Form::Whole | Form::Lines | Form::Frames => headers.insert(CONTENT_TYPE, JSON),
        Form::Events => {
            headers.insert(CACHE_CONTROL, NO_CACHE);
            headers.insert(CONTENT_TYPE, EVENTS)
        }
    };
}

/// The response of a call whose own response cannot be understood.
fn broken<R>(form: Form, error: &BoxError) -> Response<ResponseBody<R>> {
    failed_with(form, &Status::from_error(error.to_string().into()))
}

async fn next<R>(messages: &mut Messages<R>) -> Option<Result<Bytes, Ended>>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    poll_fn(|context| messages.poll_chunk(context)).await
}

impl<R> Body for ResponseBody<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut self.get_mut().0;
        let chunk = match this {
            Kind::Plain(body) => return Pin::new(body).poll_frame(context).map_err(Into::into),
            Kind::Text(text) => {
                let text = std::mem::take(text);
                (!text.is_empty()).then_some(Ok(text))
            }
            Kind::Chunks(first, messages) => match first.take() {
                Some(first) => Some(Ok(first)),
                None => match ready!(messages.poll_chunk(context)) {
                    Some(Err(Ended::Failed(status))) if messages.form() != Form::Whole => {
                        let line = messages.form().failure(&Told::from(&*status));
                        *this = Kind::Text(Bytes::new());
                        Some(Ok(line.into()))
                    }
                    Some(Err(Ended::Failed(status))) => Some(Err((*status).into())),
                    Some(Err(Ended::Broken(error))) => Some(Err(error)),
                    Some(Ok(chunk)) => Some(Ok(chunk)),
                    None => None,
                },
            },
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Plain(body) => body.is_end_stream(),
            Kind::Text(text) => text.is_empty(),
            Kind::Chunks(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Plain(body) => body.size_hint(),
            Kind::Text(text) => SizeHint::with_exact(text.len() as u64),
            Kind::Chunks(..) => SizeHint::default(),
        }
    }
}
