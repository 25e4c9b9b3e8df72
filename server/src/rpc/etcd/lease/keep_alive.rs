//! A stream of renewals: reads ahead, renews in batches, responds in order.
//!
//! Reading ahead protects the connection: a client library renews all its leases on one stream,
//! each in a frame of its own, and the transport closes a connection on which too many small frames
//! are unread. Invariant: one response per request, in the order of the requests; the stream ends
//! with the first failure.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use tenure_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use tenure_statemachine::{LeaseId, LeaseRenew, Refusal, Ttl};
use tonic::Status;

use super::secs;
use crate::rpc::{
    answer::{failure::Failure, status::Reason},
    call::Call,
    etcd::lease::renewals::BATCH_LEASES_MAX,
    services::{RECHECKS_MAX, Services},
};

/// Batches of one stream that are in progress at once. Requests that arrive while all are busy stay
/// unread, and form the next batch; 65,536 renewals in progress are more than the unread part of a
/// stream can hold.
const BATCHES_IN_FLIGHT_MAX: usize = 16;

type Request = Result<LeaseKeepAliveRequest, Status>;
type Response = Result<LeaseKeepAliveResponse, Status>;

/// The responses to `requests`.
pub(super) fn responses(
    services: Arc<Services>,
    call: Call,
    requests: impl Stream<Item = Request> + Send + 'static,
) -> impl Stream<Item = Response> + Send + 'static {
    let end = Box::pin(services.renewals_end(call.clone()));
    let renewed = requests
        .ready_chunks(BATCH_LEASES_MAX)
        .map(move |requests| {
            let (services, call) = (Arc::clone(&services), call.clone());
            async move { answer(&services, &call, requests).await }
        })
        .buffered(BATCHES_IN_FLIGHT_MAX)
        .flat_map(stream::iter);
    stream::unfold(Some((Box::pin(renewed), end)), |state| async move {
        let (mut renewed, mut end) = state?;
        // Every arm either keeps both futures or ends the stream.
        let next = tokio::select! {
            next = renewed.next() => next?,
            status = &mut end => Err(status),
        };
        let state = next.is_ok().then_some((renewed, end));
        Some((next, state))
    })
}

/// Responds to a batch; requests after a failed one are ignored.
async fn answer(services: &Services, call: &Call, requests: Vec<Request>) -> Vec<Response> {
    let mut ids = Vec::with_capacity(requests.len());
    let mut failed = None;
    for request in requests {
        match request {
            Ok(request) => ids.push(request.id),
            Err(status) => {
                failed = Some(status);
                break;
            }
        }
    }
    let mut responses = match renew(services, call, &ids).await {
        Ok(responses) => responses,
        Err(failure) => vec![Err(failure.into())],
    };
    responses.extend(failed.map(Err));
    responses
}

/// Renews the leases, and checks them again when users or permissions changed meanwhile.
async fn renew_checked(
    services: &Services,
    exchange: &Call,
    leases: &[LeaseId],
) -> Result<Vec<Result<Ttl, Refusal>>, Failure> {
    let mut rechecks = 0;
    loop {
        let allowed = services
            .allow(exchange, &LeaseRenew(leases.to_vec()).into())
            .await?;
        let renewed = exchange.write(services.renewals.renew(allowed)).await?;
        let is_old = matches!(renewed.first(), Some(Err(Refusal::AuthOldRevision)));
        if !is_old || rechecks == RECHECKS_MAX {
            return Ok(renewed);
        }
        rechecks += 1;
    }
}

/// Renews each of `ids` once, however often it occurs. The header is made first, so that a lease
/// cannot have ended before its revision.
async fn renew(services: &Services, call: &Call, ids: &[i64]) -> Result<Vec<Response>, Failure> {
    let revision = services.revision()?;
    let header = services.headers.at(revision);
    let mut leases: Vec<LeaseId> = ids.iter().map(|&id| LeaseId(id)).collect();
    leases.sort_unstable();
    leases.dedup();
    let exchange = call.exchange(services.limits.request_timeout);
    let renewed = renew_checked(services, &exchange, &leases).await;
    let renewed = renewed.map_err(|failure| {
        // A renewal may be repeated, so the missing leader is more useful than the unknown outcome.
        let leaderless = services.leadership.borrow().leader.is_none();
        match failure.reason() {
            Reason::WriteTimedOut if leaderless => Reason::NoLeader.into(),
            _ => failure,
        }
    })?;
    let mut responses = Vec::with_capacity(ids.len());
    for &id in ids {
        let at = leases.binary_search(&LeaseId(id));
        let result = at.ok().and_then(|at| renewed.get(at));
        let ttl = match result.expect("every lease asked for is answered") {
            Ok(ttl) => secs(ttl.as_secs_ceil()),
            Err(Refusal::LeaseNotFound) => 0,
            Err(refusal) => {
                responses.push(Err(Failure::from(refusal.clone()).into()));
                break;
            }
        };
        let header = Some(header);
        responses.push(Ok(LeaseKeepAliveResponse { header, id, ttl }));
    }
    Ok(responses)
}
