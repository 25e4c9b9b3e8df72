//! Translates the gRPC library's refusals of oversized messages to etcd's.
//!
//! An oversized message never reaches a handler; etcd's clients expect the code
//! `ResourceExhausted`. Other responses are unchanged. For unary calls: handlers refuse the
//! messages that a stream sends after its first.

use futures::{TryFutureExt, future::MapOk};
use http::{Request, Response};
use std::task::{Context, Poll};
use tower::{Layer, Service};

use crate::rpc::answer::status;

/// The layer that translates.
#[derive(Clone, Copy, Debug)]
pub struct EtcdsWords;

impl<S> Layer<S> for EtcdsWords {
    type Service = Translated<S>;

    fn layer(&self, inner: S) -> Translated<S> {
        Translated(inner)
    }
}

/// A service whose responses are translated.
#[derive(Clone, Debug)]
pub struct Translated<S>(S);

type Translate<B> = fn(Response<B>) -> Response<B>;

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for Translated<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = MapOk<S::Future, Translate<ResponseBody>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let translate: Translate<ResponseBody> = |mut response| {
            status::translate(response.headers_mut());
            response
        };
        self.0.call(request).map_ok(translate)
    }
}
