//! The bound of nested transactions, and its refusal.
//!
//! The message decoder has a depth limit of its own, which it applies before a request is checked,
//! and its error lists every level. Invariant: a request that is nested too deep is refused with
//! one reason and a short text, whichever limit it exceeds.

use std::task::{Context, Poll};

use futures::{TryFutureExt, future::MapOk};
use http::{Request, Response};
use tonic::{Status, server::NamedService};
use tower::Service;

use crate::rpc::answer::{failure::Failure, status::Reason};

/// Levels of nested transactions, the outermost included. The decoder permits a hundred nested
/// messages, and each nested transaction is two.
pub(in crate::rpc) const TXN_DEPTH_MAX: usize = 48;

/// The header that carries the text of a call that failed before its first message.
const MESSAGE: &str = "grpc-message";
/// A word that only the decoder's error for deep messages contains.
const TOO_DEEP: &[u8] = b"recursion";

/// A service that replaces its decoder's refusals of deep messages by the common refusal.
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
        self.0.call(request).map_ok(translate::<B>)
    }
}

/// The refusal of transactions that are nested too deep.
pub(in crate::rpc) fn too_deep() -> Failure {
    Reason::TxnTooDeep.with(format!("{TXN_DEPTH_MAX} may lie within each other"))
}

fn translate<B: Default>(response: Response<B>) -> Response<B> {
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
