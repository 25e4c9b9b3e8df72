//! A tower layer that rejects requests with a stale token.
//!
//! The pass is held until the inner service has responded. Work after the response, such as writing
//! while it streams a body, is not covered.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tower::{Layer, Service};

use super::{gate::FenceGate, header};

/// Puts a [`FenceGate`] in front of a service.
///
/// ```
/// use tenure::fence::{FenceGate, FenceLayer};
/// use tower::ServiceBuilder;
///
/// let gate = FenceGate::volatile();
/// let layer = FenceLayer::new(gate).lock("printers/1");
/// let builder = ServiceBuilder::new().layer(layer);
/// # let _ = builder;
/// ```
#[derive(Debug, Clone)]
pub struct FenceLayer {
    gate: FenceGate,
    lock: Option<Arc<str>>,
}

impl FenceLayer {
    /// Every request names its lock.
    #[must_use]
    pub fn new(gate: FenceGate) -> Self {
        Self { gate, lock: None }
    }

    /// Fences the whole service by one lock; a request that names another one is refused.
    #[must_use]
    pub fn lock(mut self, name: &str) -> Self {
        self.lock = Some(name.into());
        self
    }
}

impl<S> Layer<S> for FenceLayer {
    type Service = FenceService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FenceService {
            inner,
            fence: self.clone(),
        }
    }
}

/// A service behind a [`FenceLayer`].
#[derive(Debug, Clone)]
pub struct FenceService<S> {
    inner: S,
    fence: FenceLayer,
}

impl<S, Body, Answer> Service<Request<Body>> for FenceService<S>
where
    S: Service<Request<Body>, Response = Response<Answer>> + Clone + Send + 'static,
    S::Future: Send,
    Body: Send + 'static,
    Answer: From<String> + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The request takes the service that is ready; its clone is polled for the next one.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let fence = self.fence.clone();
        Box::pin(async move {
            let lock = fence.lock.as_deref();
            match header::admit(&fence.gate, lock, request.headers()).await {
                Ok(pass) => {
                    let answer = inner.call(request).await;
                    drop(pass);
                    answer
                }
                Err(rejection) => {
                    tracing::debug!(%rejection, "a request was fenced off");
                    Ok(rejection.into_answer())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::fence::header::{FENCE_CURRENT, FENCE_TOKEN};

    async fn ask(layer: &FenceLayer, token: &str) -> Response<String> {
        let service = service_fn(|request: Request<()>| async move {
            let token = request.headers()[FENCE_TOKEN].to_str().unwrap().to_owned();
            Ok::<_, Infallible>(Response::new(format!("written under {token}")))
        });
        let request = Request::builder()
            .header(FENCE_TOKEN, token)
            .body(())
            .unwrap();
        layer.layer(service).oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_stale_request_does_not_reach_the_service() {
        let layer = FenceLayer::new(FenceGate::volatile()).lock("printers/1");
        assert_eq!(ask(&layer, "17").await.body(), "written under 17");
        assert_eq!(ask(&layer, "23").await.body(), "written under 23");
        let late = ask(&layer, "17").await;
        assert_eq!(late.status(), 412);
        assert_eq!(late.headers()[FENCE_CURRENT], "23");
        let text = "token of \"printers/1\" is stale: yours 17, current 23\n";
        assert_eq!(late.body(), text);
    }
}
