//! The bounds of nested transactions, and their refusals.
//!
//! The message decoder has a depth limit of its own, which it applies before a request is checked,
//! and its error lists every level. Invariants: a request that is nested too deep is refused with
//! one reason and a short text, whichever limit it exceeds; one with too many operations in all is
//! refused before it is decoded, which would take long.

use std::task::{Context, Poll};

use futures::{TryFutureExt, future::MapOk};
use http::{Request, Response};
use tenure_proto::codec::{OPERATIONS_BOUND, OperationsBound};
use tokio::task::futures::TaskLocalFuture;
use tonic::{Status, server::NamedService};
use tower::Service;

use crate::rpc::answer::{failure::Failure, status::Reason};

/// Levels of nested transactions, the outermost included. The decoder permits a hundred nested
/// messages, and each nested transaction is two.
pub(in crate::rpc) const TXN_DEPTH_MAX: usize = 48;

/// Operations of a transaction in all of its lists, nested ones and comparisons included, for each
/// that one list may have. Every level may have lists of that length: without this bound 1.5 MiB of
/// nested transactions would be half a million operations.
const TXN_LISTS_MAX: usize = 64;

/// The header that carries the text of a call that failed before its first message.
const MESSAGE: &str = "grpc-message";
/// A word that only the decoder's error for deep messages contains.
const TOO_DEEP: &[u8] = b"recursion";

/// A service that bounds the operations of the transactions it decodes, and replaces its decoder's
/// refusals of deep messages by the common refusal.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Nesting<S> {
    inner: S,
    bound: OperationsBound,
}

impl<S> Nesting<S> {
    /// The service, where one list of a transaction may have `operations_max`.
    pub(in crate::rpc) fn new(inner: S, operations_max: usize) -> Self {
        let bound = OperationsBound {
            operations_max: operations_in_all(operations_max),
            refusal: || Reason::TooManyOperations.into(),
        };
        Self { inner, bound }
    }
}

impl<S: NamedService> NamedService for Nesting<S> {
    const NAME: &'static str = S::NAME;
}

type Translated<F, B> = MapOk<F, fn(Response<B>) -> Response<B>>;

impl<S, Q, B> Service<Request<Q>> for Nesting<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = TaskLocalFuture<OperationsBound, Translated<S::Future, B>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let response = self.inner.call(request);
        let translated = response.map_ok(translate::<B> as fn(_) -> _);
        OPERATIONS_BOUND.scope(self.bound, translated)
    }
}

/// Most operations of a transaction in all of its lists, where one list may have `operations_max`.
pub(in crate::rpc) const fn operations_in_all(operations_max: usize) -> usize {
    operations_max.saturating_mul(TXN_LISTS_MAX)
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
