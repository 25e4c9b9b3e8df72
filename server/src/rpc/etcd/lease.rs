//! The `Lease` service: grants, revocations, renewals, TTLs, listings.

mod keep_alive;
pub(in crate::rpc) mod renewals;

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use tenure_proto::{
    etcdserverpb::{self as wire, lease_server::Lease},
    limits::TTL_SECS_MAX,
};
use tenure_statemachine::{LeaseGrant, LeaseId, LeaseRevoke, Need, Reader, Ttl};
use tonic::{Request, Response, Status, Streaming};

use crate::rpc::{
    answer::status::Reason,
    border::{conditions::Conditions, far_walks::NEAR_ROWS_MAX, request},
    services::Services,
};

#[derive(Debug)]
pub(in crate::rpc) struct LeaseService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<wire::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_grant(
        &self,
        request: Request<wire::LeaseGrantRequest>,
    ) -> Result<Response<wire::LeaseGrantResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let wire::LeaseGrantRequest { ttl, id } = request;
        let requested = u64::try_from(ttl).unwrap_or(0);
        if requested > TTL_SECS_MAX {
            return Err(Reason::LeaseTtlTooLarge.into());
        }
        let ttl = Ttl::from_secs(requested).max(self.0.limits.lease_ttl_min);
        let id = if id == 0 {
            conditions.new_lease()
        } else {
            LeaseId(id)
        };
        let grant = LeaseGrant { id, ttl };
        let cost = request::LEASE_COST_BYTES;
        let (revision, (id, ttl)) = self.0.write(&call, conditions, cost, grant).await?;
        Ok(Response::new(wire::LeaseGrantResponse {
            header: Some(self.0.headers.at(revision)),
            id: id.0,
            ttl: secs(ttl.as_secs_ceil()),
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<wire::LeaseRevokeRequest>,
    ) -> Result<Response<wire::LeaseRevokeResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let id = LeaseId(request.id);
        let is_far = |reader: &Reader<'_>| reader.lease_holds_more_than(id, NEAR_ROWS_MAX);
        let turn = self.0.far_walks.turn(&self.0, &call, is_far).await?;
        let revoke = LeaseRevoke(id);
        let (revision, ()) = self
            .0
            .write_in_turn(turn, &call, conditions, 0, revoke)
            .await?;
        Ok(Response::new(wire::LeaseRevokeResponse {
            header: Some(self.0.headers.at(revision)),
        }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<wire::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let call = self.0.admit_upkeep(&request)?;
        self.0.refuse_differing()?;
        Conditions::of(request.metadata())?.refuse_on_read()?;
        let responses = keep_alive::responses(Arc::clone(&self.0), call, request.into_inner());
        Ok(Response::new(Box::pin(responses)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<wire::LeaseTimeToLiveRequest>,
    ) -> Result<Response<wire::LeaseTimeToLiveResponse>, Status> {
        let call = self.0.admit(&request)?;
        let wire::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let reads_keys = keys.then_some(Need::ReadLease(LeaseId(id)));
        let needs = [Need::User].into_iter().chain(reads_keys).collect();
        let permit = self.0.permit(&call, needs).await?;
        call.read(self.0.replica.read_barrier()).await?;
        let services = Arc::clone(&self.0);
        let read = move |reader: &Reader<'_>| {
            permit.check(reader)?;
            let found = reader.lease(LeaseId(id))?;
            let keys = match &found {
                Some(_) if keys => reader.lease_keys(LeaseId(id))?,
                _ => Vec::new(),
            };
            let left = found
                .as_ref()
                .map(|found| services.remaining(found).as_secs());
            let granted = found.as_ref().map(|found| secs(found.ttl.as_secs_ceil()));
            Ok(wire::LeaseTimeToLiveResponse {
                header: Some(services.headers.at(reader.meta().revision)),
                id,
                ttl: left.map_or(-1, secs),
                granted_ttl: granted.unwrap_or_default(),
                keys,
            })
        };
        if keys {
            return Ok(self.0.answer(&call, read).await?);
        }
        Ok(Response::new(self.0.latest(read)?))
    }

    async fn lease_leases(
        &self,
        request: Request<wire::LeaseLeasesRequest>,
    ) -> Result<Response<wire::LeaseLeasesResponse>, Status> {
        let call = self.0.admit(&request)?;
        let permit = self.0.permit(&call, vec![Need::User]).await?;
        let services = Arc::clone(&self.0);
        let read = move |reader: &Reader<'_>| {
            permit.check(reader)?;
            let mut leases = reader.leases()?;
            permit.retain_readable(reader, &mut leases)?;
            let places = services.replica.grant_places();
            leases.sort_by_cached_key(|lease| {
                let granted = places.get(&lease.id).copied().unwrap_or(0);
                (lease.deadline, granted, lease.id)
            });
            let leases = leases.into_iter();
            Ok(wire::LeaseLeasesResponse {
                header: Some(services.headers.at(reader.meta().revision)),
                leases: leases
                    .map(|lease| wire::LeaseStatus { id: lease.id.0 })
                    .collect(),
            })
        };
        Ok(self.0.answer(&call, read).await?)
    }
}

/// A number of seconds in its wire type.
fn secs(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
