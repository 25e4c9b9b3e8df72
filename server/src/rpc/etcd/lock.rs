//! etcd's server-side `Lock`: the same claims as tenure's own, in etcd's form.

use std::sync::Arc;

use bytes::Bytes;
use tenure_proto::v3lockpb::{self as wire, lock_server::Lock};
use tenure_statemachine::{Acquire, DeleteRange, KeyRange, LeaseId, Ttl};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{failure::Failure, status::Reason},
    border::{conditions::Conditions, field},
    call::Call,
    claim::{
        acquire::{self, AcquireOutcome, Granted},
        delivery::notice_cancellation,
    },
    services::Services,
};

/// TTL of the lease that is granted for a request without one; it is not renewed. etcd's value.
const SESSION_TTL: Ttl = Ttl::from_secs(60);

#[derive(Debug)]
pub(in crate::rpc) struct EtcdLockService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Lock for EtcdLockService {
    async fn lock(
        &self,
        request: Request<wire::LockRequest>,
    ) -> Result<Response<wire::LockResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let acquire = exclusive(field::name(request.name)?, request.lease, Bytes::new());
        let granted = wait_for_grant(&self.0, call, conditions, acquire).await;
        let granted = granted.map_err(|failure| match failure.reason() {
            Reason::LeaseEnded | Reason::ClaimEnded => Reason::MutexExpired.into(),
            _ => of_recipe(failure),
        })?;
        let (revision, claim) = (granted.revision, granted.claims.first());
        let key = claim.map(|claim| claim.key.clone()).unwrap_or_default();
        granted.delivered();
        Ok(Response::new(wire::LockResponse {
            header: Some(self.0.headers.at(revision)),
            key,
        }))
    }

    /// Deletes the given key, whether it is a claim or not, as etcd does.
    async fn unlock(
        &self,
        request: Request<wire::UnlockRequest>,
    ) -> Result<Response<wire::UnlockResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        if request.key.is_empty() {
            return Err(Reason::EmptyKey.into());
        }
        let delete = DeleteRange {
            range: KeyRange::from_wire(request.key, Bytes::new()),
            want_previous: false,
        };
        let deleted = self.0.write(&call, conditions, 0, delete).await;
        let (revision, _) = deleted.map_err(of_recipe)?;
        Ok(Response::new(wire::UnlockResponse {
            header: Some(self.0.headers.at(revision)),
        }))
    }
}

/// The failure as etcd's calls for locks and elections report it: its server runs a recipe of its
/// client there, and passes on the text of an error without its code.
pub(super) fn of_recipe(failure: Failure) -> Failure {
    match failure.reason() {
        Reason::LeaseNotFound => Reason::LeaseNotFoundToClaim.into(),
        Reason::NoSpace => Reason::NoSpaceToClaim.into(),
        Reason::Corrupt => Reason::CorruptToClaim.into(),
        _ => failure,
    }
}

/// The claim of etcd's calls: exclusive and without a bound on its wait. It is the claim that the
/// lease has already, if it has one. Without a lease it gets one of its own.
pub(super) fn exclusive(name: Bytes, lease: i64, value: Bytes) -> Acquire {
    let lease = if lease == 0 {
        (field::new_lease(), Some(SESSION_TTL))
    } else {
        (LeaseId(lease), None)
    };
    Acquire {
        rejoin: true,
        ..acquire::exclusive(name, lease, value)
    }
}

/// Waits until the claim holds, in a unary call that only its caller's deadline bounds.
pub(super) async fn wait_for_grant(
    services: &Arc<Services>,
    call: Call,
    conditions: Conditions,
    acquire: Acquire,
) -> Result<Granted, Failure> {
    let granted = match acquire::begin(services, &call, conditions, acquire).await? {
        AcquireOutcome::Granted(granted) => granted,
        AcquireOutcome::Waiting(waiting) => {
            // Either arm ends the wait; the claims are withdrawn when `waiting` is dropped.
            tokio::select! {
                granted = waiting.granted() => granted?,
                failure = services.call_end(call) => return Err(failure),
            }
        }
        // Only claims that must not wait are blocked.
        AcquireOutcome::Blocked(..) => return Err(Reason::WaitOver.into()),
    };
    notice_cancellation().await;
    Ok(granted)
}

#[cfg(test)]
mod tests;
