//! Puts large answers in the place of the messages that stand for them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{body::Body, server::NamedService};
use tower::Service;

use super::Answer;

/// A service whose responses may hold an [`Answer`] among their extensions, which is sent instead.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct WithAnswers<S>(pub(in crate::rpc) S);

impl<S: NamedService> NamedService for WithAnswers<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for WithAnswers<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            if let Some(answer) = response.extensions_mut().remove::<Answer>() {
                *response.body_mut() = Body::new(answer.into_body());
            }
            Ok(response)
        })
    }
}
