//! The `Lease` service: grants, revocations, renewals, and what leases there are.

mod keep_alive;

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use tenure_proto::etcdserverpb::{self as wire, lease_server::Lease};
use tenure_statemachine::{Command, LeaseGrant, LeaseId, Reader, Reply, Ttl};
use tonic::{Request, Response, Status, Streaming};

use super::{conditions::Conditions, field, request, services::Services, status::Reason};

#[derive(Debug)]
pub(super) struct LeaseService(pub(super) Arc<Services>);

impl LeaseService {
    async fn grant(
        &self,
        request: Request<wire::LeaseGrantRequest>,
    ) -> Result<wire::LeaseGrantResponse, Reason> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let wire::LeaseGrantRequest { ttl, id } = request.into_inner();
        let asked = u64::try_from(ttl).unwrap_or(0);
        if asked > field::TTL_SECS_MAX {
            return Err(Reason::LeaseTtlTooLarge);
        }
        let asked = Ttl::from_secs(asked);
        let ttl = asked.max(self.0.limits.lease_ttl_min);
        let id = if id == 0 {
            conditions.new_lease()
        } else {
            LeaseId(id)
        };
        let command = Command::LeaseGrant(LeaseGrant { id, ttl });
        let cost = request::LEASE_COST_BYTES;
        let (revision, reply) = self.0.write(&call, conditions, cost, command).await?;
        let Reply::LeaseGrant(id, ttl) = reply else {
            unreachable!("the reply to a grant is a grant's")
        };
        Ok(wire::LeaseGrantResponse {
            header: Some(self.0.headers.at(revision)),
            id: id.0,
            ttl: secs(ttl.as_secs_ceil()),
            error: String::new(),
        })
    }

    async fn revoke(
        &self,
        request: Request<wire::LeaseRevokeRequest>,
    ) -> Result<wire::LeaseRevokeResponse, Reason> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let command = Command::LeaseRevoke(LeaseId(request.into_inner().id));
        let (revision, _) = self.0.write(&call, conditions, 0, command).await?;
        Ok(wire::LeaseRevokeResponse {
            header: Some(self.0.headers.at(revision)),
        })
    }

    async fn time_to_live(
        &self,
        request: Request<wire::LeaseTimeToLiveRequest>,
    ) -> Result<wire::LeaseTimeToLiveResponse, Reason> {
        let call = self.0.admit(request.metadata())?;
        let wire::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        call.read(self.0.backend.read_barrier()).await?;
        let lease = LeaseId(id);
        let read = move |reader: &Reader<'_>| {
            let found = reader.lease(lease)?;
            let keys = if keys {
                reader.lease_keys(lease)?
            } else {
                Vec::new()
            };
            Ok((reader.meta().revision, found, keys))
        };
        let (revision, found, keys) = if keys {
            call.read(self.0.latest_bulk(read)).await?
        } else {
            self.0.latest(read)?
        };
        let header = Some(self.0.headers.at(revision));
        let Some(found) = found else {
            let gone = wire::LeaseTimeToLiveResponse {
                header,
                id,
                ttl: -1,
                ..Default::default()
            };
            return Ok(gone);
        };
        Ok(wire::LeaseTimeToLiveResponse {
            header,
            id,
            ttl: secs(self.0.remaining(&found).as_secs()),
            granted_ttl: secs(found.ttl.as_secs_ceil()),
            keys,
        })
    }

    async fn leases(
        &self,
        request: Request<wire::LeaseLeasesRequest>,
    ) -> Result<wire::LeaseLeasesResponse, Reason> {
        let call = self.0.admit(request.metadata())?;
        let read = |reader: &Reader<'_>| Ok((reader.meta().revision, reader.leases()?));
        let (revision, mut leases) = call.read(self.0.latest_bulk(read)).await?;
        let place = |lease: &tenure_statemachine::Lease| {
            let granted = self.0.backend.grant_place(lease.id);
            (lease.deadline, granted, lease.id)
        };
        leases.sort_by_cached_key(place);
        let leases = leases
            .into_iter()
            .map(|lease| wire::LeaseStatus { id: lease.id.0 })
            .collect();
        Ok(wire::LeaseLeasesResponse {
            header: Some(self.0.headers.at(revision)),
            leases,
        })
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<wire::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_grant(
        &self,
        request: Request<wire::LeaseGrantRequest>,
    ) -> Result<Response<wire::LeaseGrantResponse>, Status> {
        Ok(Response::new(self.grant(request).await?))
    }

    async fn lease_revoke(
        &self,
        request: Request<wire::LeaseRevokeRequest>,
    ) -> Result<Response<wire::LeaseRevokeResponse>, Status> {
        Ok(Response::new(self.revoke(request).await?))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<wire::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let call = self.0.admit(request.metadata())?;
        Conditions::of(request.metadata())?.refuse_on_read()?;
        let responses = keep_alive::responses(Arc::clone(&self.0), call, request.into_inner());
        Ok(Response::new(Box::pin(responses)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<wire::LeaseTimeToLiveRequest>,
    ) -> Result<Response<wire::LeaseTimeToLiveResponse>, Status> {
        Ok(Response::new(self.time_to_live(request).await?))
    }

    async fn lease_leases(
        &self,
        request: Request<wire::LeaseLeasesRequest>,
    ) -> Result<Response<wire::LeaseLeasesResponse>, Status> {
        Ok(Response::new(self.leases(request).await?))
    }
}

/// Seconds as the wire has them.
fn secs(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
