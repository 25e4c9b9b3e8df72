//! Claims as clients see them, and the streams on which they are waited for.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream};
use tenure_proto::v1;
use tenure_statemachine::{ClaimState, ClusterTime, Mode};
use tonic::Status;

use super::{
    acquire::{Begun, Granted, Waiting},
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

/// A claim on the wire; `now` is cluster time.
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

/// Claims on the wire.
pub(in crate::rpc) fn claims(states: Vec<ClaimState>, now: ClusterTime) -> Vec<v1::Claim> {
    let told = states.into_iter().map(|state| claim(state, now));
    told.collect()
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

/// The answers of a stream.
pub(in crate::rpc) type Responses<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

/// How a stream tells of claims.
pub(in crate::rpc) struct Tell<R> {
    /// That they wait.
    pub(in crate::rpc) waiting: fn(&Services, &Waiting) -> R,
    /// That they hold.
    pub(in crate::rpc) granted: fn(&Services, &Granted) -> R,
}

enum Step<E> {
    Waiting(Box<Waiting>, E),
    /// Told that they wait.
    Queued(Box<Waiting>, E),
    Granted(Granted),
    /// Told that they hold.
    Told(Delivery),
    Ended,
}

/// Tells of claims until they hold, or end. The stream does nothing unless it is read; when it is
/// dropped before the grant has left on its connection, the claims are withdrawn as [`Waiting`]
/// says. It ends only then.
pub(in crate::rpc) fn responses<R: Send + 'static>(
    services: &Arc<Services>,
    call: Call,
    begun: Begun,
    tell: Tell<R>,
    connection: Option<ConnectionInfo>,
) -> Result<Responses<R>, Failure> {
    let services = Arc::clone(services);
    let first = match begun {
        Begun::Granted(granted) => Step::Granted(granted),
        Begun::Waiting(waiting) => {
            let end = Box::pin(services.stream_end(call));
            Step::Waiting(waiting, end)
        }
        // Only for claims that are not to wait.
        Begun::Blocked(..) => return Err(Reason::WaitOver.into()),
    };
    let Tell { waiting, granted } = tell;
    let told = stream::unfold(first, move |step| {
        let services = Arc::clone(&services);
        let connection = connection.clone();
        async move {
            let claims = match step {
                Step::Waiting(mut claims, end) => {
                    let answer = waiting(&services, &claims);
                    // Told once, and with a value that may be large.
                    claims.blocker = None;
                    return Some((Ok(answer), Step::Queued(claims, end)));
                }
                // Either arm ends the wait; what is dropped withdraws.
                Step::Queued(claims, mut end) => tokio::select! {
                    held = claims.granted() => held.map_err(Status::from),
                    status = &mut end => Err(status),
                },
                Step::Granted(claims) => Ok(claims),
                Step::Told(delivery) => {
                    delivery.finish().await;
                    return None;
                }
                Step::Ended => return None,
            };
            Some(match claims {
                Ok(claims) => {
                    let answer = granted(&services, &claims);
                    let delivery = Delivery::begin(claims, connection.as_ref());
                    (Ok(answer), Step::Told(delivery))
                }
                Err(status) => (Err(status), Step::Ended),
            })
        }
    });
    Ok(Box::pin(told))
}
