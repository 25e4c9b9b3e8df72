//! Claims as messages, and the response streams of acquisitions.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream};
use tenure_proto::v1;
use tenure_statemachine::{ClaimState, ClusterTime, Mode};
use tonic::Status;

use super::{
    acquire::{AcquireOutcome, Granted, Waiting},
    delivery::Delivery,
};
use crate::{
    rpc::{
        answer::{failure::Failure, status::Reason},
        call::Call,
        services::Services,
    },
    transport::ConnectionInfo,
};

/// The message of a claim; `now` is cluster time.
pub(in crate::rpc) fn claim(state: ClaimState, now: ClusterTime) -> v1::Claim {
    v1::Claim {
        since_ms: state.since.until(now).0,
        name: state.name,
        key: state.key,
        lease: state.lease.0,
        token: state.token.0,
        mode: Some(mode(state.mode)),
        held: state.held,
        principal: state.principal,
        value: state.value,
        position: state.position,
    }
}

/// The messages of claims; `now` is cluster time.
pub(in crate::rpc) fn claims(states: Vec<ClaimState>, now: ClusterTime) -> Vec<v1::Claim> {
    let messages = states.into_iter().map(|state| claim(state, now));
    messages.collect()
}

fn mode(mode: Mode) -> v1::Mode {
    use v1::mode::Kind;
    let kind = match mode {
        Mode::Exclusive => Kind::Exclusive(true),
        Mode::Shared => Kind::Shared(true),
        Mode::Permits { count, limit } => Kind::Permits(v1::Permits { count, limit }),
    };
    v1::Mode { kind: Some(kind) }
}

/// The responses of a server-streaming call.
pub(in crate::rpc) type Responses<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

/// Makes the messages of an acquisition's stream.
pub(in crate::rpc) struct Messages<R> {
    /// The claims wait.
    pub(in crate::rpc) waiting: fn(&Services, &Waiting) -> R,
    /// The claims hold.
    pub(in crate::rpc) granted: fn(&Services, &Granted) -> R,
}

/// What the stream of an acquisition does next.
enum Step<E> {
    /// Sends that the claims wait.
    SendWaiting(Box<Waiting>, E),
    /// Waits for the grant, and sends it or the failure.
    AwaitGrant(Box<Waiting>, E),
    SendGranted(Granted),
    /// Waits until the grant has left on the connection, and ends.
    Deliver(Delivery),
    End,
}

/// The stream of an acquisition: that the claims wait, unless they hold at once; then the grant, or
/// the failure. It makes progress only while it is polled. When it is dropped before the grant has
/// left on its connection, the claims are withdrawn as [`Waiting`] documents.
///
/// # Errors
/// When the claims are blocked.
pub(in crate::rpc) fn responses<R: Send + 'static>(
    services: &Arc<Services>,
    call: Call,
    outcome: AcquireOutcome,
    messages: Messages<R>,
    connection: Option<ConnectionInfo>,
) -> Result<Responses<R>, Failure> {
    let services = Arc::clone(services);
    let first = match outcome {
        AcquireOutcome::Granted(granted) => Step::SendGranted(granted),
        AcquireOutcome::Waiting(waiting) => {
            let end = Box::pin(services.stream_end(call));
            Step::SendWaiting(waiting, end)
        }
        // Only claims that must not wait are blocked.
        AcquireOutcome::Blocked(..) => return Err(Reason::WaitOver.into()),
    };
    let Messages { waiting, granted } = messages;
    let responses = stream::unfold(first, move |step| {
        let services = Arc::clone(&services);
        let connection = connection.clone();
        async move {
            let claims = match step {
                Step::SendWaiting(mut claims, end) => {
                    let message = waiting(&services, &claims);
                    // Sent once; its value may be large.
                    claims.blocker = None;
                    return Some((Ok(message), Step::AwaitGrant(claims, end)));
                }
                // Either arm ends the wait; the claims are withdrawn when `claims` is dropped.
                Step::AwaitGrant(claims, mut end) => tokio::select! {
                    granted = claims.granted() => granted.map_err(Status::from),
                    status = &mut end => Err(status),
                },
                Step::SendGranted(claims) => Ok(claims),
                Step::Deliver(delivery) => {
                    delivery.finish().await;
                    return None;
                }
                Step::End => return None,
            };
            Some(match claims {
                Ok(claims) => {
                    let message = granted(&services, &claims);
                    let delivery = Delivery::begin(claims, connection.as_ref());
                    (Ok(message), Step::Deliver(delivery))
                }
                Err(status) => (Err(status), Step::End),
            })
        }
    });
    Ok(Box::pin(responses))
}
