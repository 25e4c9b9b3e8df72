//! etcd's server-side `Lock`: the same claims as tenure's own, in etcd's form.

use std::sync::Arc;

use bytes::Bytes;
use tenure_proto::v3lockpb::{self as wire, lock_server::Lock};
use tenure_statemachine::{Acquire, DeleteRange, KeyRange, LeaseId, Mode, Ttl, Wait};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{failure::Failure, status::Reason},
    border::{conditions::Conditions, field},
    call::Call,
    claim::{
        acquire::{self, Begun, Granted},
        delivery::last_look,
    },
    services::Services,
};

/// Life of a lease that is made for a caller who names none; nobody renews it. etcd's measure.
const SESSION_TTL: Ttl = Ttl::from_secs(60);

#[derive(Debug)]
pub(in crate::rpc) struct EtcdLockService(pub(in crate::rpc) Arc<Services>);

impl EtcdLockService {
    async fn lock(
        &self,
        request: Request<wire::LockRequest>,
    ) -> Result<wire::LockResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
        let acquire = alone(field::name(request.name)?, request.lease, Bytes::new());
        let held = hold(&self.0, call, conditions, acquire).await;
        let held = held.map_err(|failure| match failure.reason() {
            Reason::LeaseEnded | Reason::ClaimEnded => Reason::MutexExpired.into(),
            Reason::LeaseNotFound => Reason::LeaseNotFoundToClaim.into(),
            _ => failure,
        })?;
        let (revision, claim) = (held.revision, held.claims.first());
        let key = claim.map(|claim| claim.key.clone()).unwrap_or_default();
        held.told();
        Ok(wire::LockResponse {
            header: Some(self.0.headers.at(revision)),
            key,
        })
    }

    /// As etcd's, this deletes whatever key it is given.
    async fn unlock(
        &self,
        request: Request<wire::UnlockRequest>,
    ) -> Result<wire::UnlockResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
        if request.key.is_empty() {
            return Err(Reason::EmptyKey.into());
        }
        let delete = DeleteRange {
            range: KeyRange::from_wire(request.key, Bytes::new()),
            want_previous: false,
        };
        let (revision, _) = self.0.write(&call, conditions, 0, delete).await?;
        Ok(wire::UnlockResponse {
            header: Some(self.0.headers.at(revision)),
        })
    }
}

/// A claim as etcd's calls make it: exclusive, waiting for as long as it takes, and the one that
/// the lease has already if it has one.
pub(in crate::rpc) fn alone(name: Bytes, lease: i64, value: Bytes) -> Acquire {
    let (lease, grant) = if lease == 0 {
        (field::new_lease(), Some(SESSION_TTL))
    } else {
        (LeaseId(lease), None)
    };
    Acquire {
        names: vec![name],
        mode: Mode::Exclusive,
        lease,
        grant,
        wait: Wait::Always,
        lock_delay: Ttl(0),
        principal: String::new(),
        value,
        rejoin: true,
        call: 0,
    }
}

/// Waits until what is asked for holds, in a call that has no other bound than its caller's.
pub(in crate::rpc) async fn hold(
    services: &Arc<Services>,
    call: Call,
    conditions: Conditions,
    acquire: Acquire,
) -> Result<Granted, Failure> {
    let held = match acquire::begin(services, &call, conditions, acquire).await? {
        Begun::Granted(held) => held,
        Begun::Waiting(waiting) => {
            // Either arm ends the wait; what is dropped withdraws.
            tokio::select! {
                held = waiting.granted() => held?,
                failure = services.call_end(call) => return Err(failure),
            }
        }
        // Only for claims that are not to wait.
        Begun::Blocked(..) => return Err(Reason::WaitOver.into()),
    };
    last_look().await;
    Ok(held)
}

#[tonic::async_trait]
impl Lock for EtcdLockService {
    async fn lock(
        &self,
        request: Request<wire::LockRequest>,
    ) -> Result<Response<wire::LockResponse>, Status> {
        Ok(Response::new(Self::lock(self, request).await?))
    }

    async fn unlock(
        &self,
        request: Request<wire::UnlockRequest>,
    ) -> Result<Response<wire::UnlockResponse>, Status> {
        Ok(Response::new(Self::unlock(self, request).await?))
    }
}

#[cfg(test)]
mod tests;
