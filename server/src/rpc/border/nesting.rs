//! How deep transactions may lie within each other, and what a request that is deeper is told.
//!
//! The decoder of messages stops at a depth of its own, before a request is looked at, and tells of
//! every level it went through. Invariant: a request that is too deep is refused with one reason
//! and a short text, whichever of the two stops it.

use std::task::{Context, Poll};

use futures::{TryFutureExt, future::MapOk};
use http::{Request, Response};
use tonic::{Status, server::NamedService};
use tower::Service;

use crate::rpc::answer::{failure::Failure, status::Reason};

/// Transactions that may lie within each other, the outermost included. The decoder takes a hundred
/// nested messages, and a transaction within another is two.
pub(in crate::rpc) const TXN_DEPTH_MAX: usize = 48;

/// Where a call that failed before its first message has its text.
const MESSAGE: &str = "grpc-message";
/// A word of what the decoder tells when a message is too deep, and of nothing else it tells.
const TOO_DEEP: &[u8] = b"recursion";

/// A service whose decoder's refusals of deep messages are told as they are everywhere.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Nesting<S>(pub(in crate::rpc) S);

impl<S: NamedService> NamedService for Nesting<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, Q, B> Service<Request<Q>> for Nesting<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<B>) -> Response<B>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        self.0.call(request).map_ok(told::<B>)
    }
}

/// What a request is told whose transactions lie too deep.
pub(in crate::rpc) fn too_deep() -> Failure {
    Reason::TxnTooDeep.with(format!("{TXN_DEPTH_MAX} may lie within each other"))
}

fn told<B: Default>(response: Response<B>) -> Response<B> {
    let message = response.headers().get(MESSAGE);
    let is_too_deep = message.is_some_and(|message| {
        let mut words = message.as_bytes().windows(TOO_DEEP.len());
        words.any(|word| word == TOO_DEEP)
    });
    if is_too_deep {
        Status::from(too_deep()).into_http()
    } else {
        response
    }
}
