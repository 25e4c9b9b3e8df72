//! Tower layer around every call: starts the counts, wraps the bodies to continue them, and warns
//! of slow answers.
//!
//! Requests that are not gRPC pass through uncounted, so it may wrap a port that serves both.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header::CONTENT_TYPE};
use tenure_proto::metadata::API_VERSION_METADATA;
use tower::{Layer, Service};

use super::{
    body::{CountingBody, STATUS},
    grpc::GrpcMetrics,
    slow_call::SlowCall,
};

/// Counts the calls of the service it wraps.
#[derive(Debug, Clone)]
pub struct GrpcLayer {
    metrics: Arc<GrpcMetrics>,
    /// Time until an answer beyond which a warning is logged.
    expected: Duration,
}

impl GrpcLayer {
    pub(super) fn new(metrics: Arc<GrpcMetrics>, expected: Duration) -> Self {
        Self { metrics, expected }
    }
}

impl<S> Layer<S> for GrpcLayer {
    type Service = GrpcService<S>;

    fn layer(&self, inner: S) -> GrpcService<S> {
        GrpcService {
            inner,
            metrics: Arc::clone(&self.metrics),
            expected: self.expected,
        }
    }
}

/// The service made by [`GrpcLayer`].
#[derive(Debug, Clone)]
pub struct GrpcService<S> {
    inner: S,
    metrics: Arc<GrpcMetrics>,
    /// Time until an answer beyond which a warning is logged.
    expected: Duration,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for GrpcService<S>
where
    S: Service<Request<CountingBody<RequestBody>>, Response = Response<ResponseBody>>,
    S::Future: Send + 'static,
{
    type Response = Response<CountingBody<ResponseBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        if !is_grpc(&request) {
            let response = self.inner.call(request.map(CountingBody::uncounted));
            return Box::pin(async move { Ok(response.await?.map(CountingBody::uncounted)) });
        }
        let mut call = {
            let version = request.headers().get(API_VERSION_METADATA);
            self.metrics.begin(request.uri().path(), version)
        };
        let method = Arc::clone(call.method());
        let slow = SlowCall::begin(&method, self.expected);
        let response = self
            .inner
            .call(request.map(|body| CountingBody::request(body, method)));
        Box::pin(async move {
            // Held until the response begins, or until the client stops waiting.
            let _slow = slow;
            let response = match response.await {
                Ok(response) => response,
                Err(error) => {
                    call.failed();
                    return Err(error);
                }
            };
            // A call that fails before its first message has its outcome in the headers.
            if let Some(status) = response.headers().get(STATUS) {
                call.ended(status.as_bytes());
            }
            call.answered();
            Ok(response.map(|body| CountingBody::response(body, call)))
        })
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests;
