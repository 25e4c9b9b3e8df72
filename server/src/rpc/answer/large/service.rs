//! Sends large answers in place of the messages that stand for them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{StreamExt, stream};
use http::{Request, Response};
use prost::Message;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::{Answer, framed};
use crate::{
    rpc::{
        answer::{bulk::CALLER, written::ChargesItself},
        claim::responses::Responses,
        services::Services,
    },
    transport::ConnectionInfo,
};

/// A service whose responses may carry an [`Answer`] in their extensions, which is sent instead.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct WithAnswers<S>(pub(in crate::rpc) S);

/// An extension of a call whose response may carry an answer.
#[derive(Clone, Copy, Debug)]
struct Taken;

/// The path of a stream's messages: as large answers, or through the library.
#[derive(Debug)]
pub(in crate::rpc) struct MessagePath(bool);

impl MessagePath {
    /// The path for this call.
    pub(in crate::rpc) fn of<T>(call: &tonic::Request<T>) -> Self {
        Self(call.extensions().get::<Taken>().is_some())
    }

    /// The response of a stream, whose large messages are sent as answers. The library would keep
    /// the memory of the last message for as long as the stream is open.
    pub(in crate::rpc) fn response<M: Message + 'static>(
        &self,
        services: &Services,
        messages: Responses<M>,
    ) -> tonic::Response<Responses<M>> {
        if !self.0 {
            return tonic::Response::new(messages);
        }
        let encoded = messages.map(|message: Result<M, Status>| {
            message.and_then(|message| framed(&message).map_err(Status::from))
        });
        let answer = Answer::of_stream(encoded.boxed(), services.bulk_reads.memory());
        let nothing: Responses<M> = Box::pin(stream::empty());
        answer.instead_of(tonic::Response::new(nothing))
    }
}

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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<ConnectionInfo>();
        let share = connection.map(|connection| connection.share.clone());
        request.extensions_mut().insert(Taken);
        let response = self.0.call(request);
        Box::pin(async move {
            let mut response = match share {
                Some(share) => CALLER.scope(share, response).await?,
                None => response.await?,
            };
            if let Some(answer) = response.extensions_mut().remove::<Answer>() {
                *response.body_mut() = Body::new(answer.into_body());
                response.extensions_mut().insert(ChargesItself);
            }
            Ok(response)
        })
    }
}
