//! The `Session` service: remembered outcomes of mutations, and wills.

use std::sync::Arc;

use prost::Message;
use tenure_proto::v1::{self as wire, session_server::Session};
use tenure_statemachine::{
    LeaseId, LeaseRevoke, Need, Reader, Refusal, SessionOpen, Will, WillSet,
};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{failure::Failure, status::Reason},
    border::{conditions, field, request},
    claim::responses::claims,
    services::Services,
};

#[derive(Debug)]
pub(in crate::rpc) struct SessionService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Session for SessionService {
    async fn open(
        &self,
        request: Request<wire::OpenSessionRequest>,
    ) -> Result<Response<wire::OpenSessionResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let (lease, grant) = field::lease_or_ttl(request.lease, request.ttl_ms)?;
        let open = SessionOpen { lease, grant };
        let cost = request::LEASE_COST_BYTES;
        let (revision, (session, ttl)) = self.0.write(&call, conditions, cost, open).await?;
        Ok(Response::new(wire::OpenSessionResponse {
            header: Some(self.0.headers.own(revision)),
            session: session.0,
            ttl_ms: ttl.0,
        }))
    }

    /// Revokes the lease, which ends the session. The lease must belong to a session: a caller that
    /// passes another lease must not lose its keys.
    async fn close(
        &self,
        request: Request<wire::CloseSessionRequest>,
    ) -> Result<Response<wire::CloseSessionResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let session = named(request.session)?;
        let permit = self.0.permit(&call, vec![Need::User]).await?;
        call.read(self.0.replica.read_barrier()).await?;
        let open = self.0.latest(|reader| {
            permit.check_owner(reader, session)?;
            Ok(reader.session(session)?)
        })?;
        if open.is_none() {
            return Err(not_found(session).into());
        }
        let revoke = LeaseRevoke(session);
        let header = self
            .0
            .write_for_header(&call, conditions, 0, revoke)
            .await?;
        Ok(Response::new(wire::CloseSessionResponse { header }))
    }

    async fn inspect(
        &self,
        request: Request<wire::InspectSessionRequest>,
    ) -> Result<Response<wire::InspectSessionResponse>, Status> {
        let call = self.0.admit(&request)?;
        let session = named(request.into_inner().session)?;
        let permit = self.0.permit(&call, vec![Need::User]).await?;
        call.read(self.0.replica.read_barrier()).await?;
        let services = Arc::clone(&self.0);
        let read = move |reader: &Reader<'_>| {
            permit.check_owner(reader, session)?;
            let found = reader.session(session)?.zip(reader.lease(session)?);
            let (state, lease) = found.ok_or(Refusal::SessionNotFound(session))?;
            let held = reader.claims_of_lease(session)?;
            Ok(wire::InspectSessionResponse {
                header: Some(services.headers.own(reader.meta().revision)),
                ttl_ms: lease.ttl.0,
                remaining_ms: services.remaining(&lease).0,
                remembered: state.remembered,
                forgotten: state.forgotten,
                claims: claims(held, services.replica.cluster_time()),
            })
        };
        Ok(self.0.answer(&call, read).await?)
    }

    async fn set_will(
        &self,
        request: Request<wire::SetWillRequest>,
    ) -> Result<Response<wire::SetWillResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        // The cost of a will: its deletes are stored as well as its puts.
        let stored = request.transaction.as_ref().map_or(0, Message::encoded_len);
        let lease = field::lease(request.lease)?;
        let lock = Some(request.lock).filter(|lock| !lock.is_empty());
        let lock = lock.map(field::name).transpose()?;
        let guards = conditions::guards(request.guards)?;
        let txn = request.transaction;
        let txn = txn.map(|txn| request::txn(txn, self.0.limits.txn_operations_max));
        let will = txn.transpose()?.map(|txn| Will { guards, txn });
        let cost = will
            .as_ref()
            .map_or(0, |will| request::txn_cost(&will.txn).max(stored as u64));
        let set = WillSet { lease, lock, will };
        let header = self
            .0
            .write_for_header(&call, conditions, cost, set)
            .await?;
        Ok(Response::new(wire::SetWillResponse { header }))
    }
}

fn named(session: i64) -> Result<LeaseId, Failure> {
    field::lease(session).map_err(|_| Reason::SessionMissing.into())
}

fn not_found(session: LeaseId) -> Failure {
    Reason::SessionNotFound.with(session.to_string())
}

#[cfg(test)]
mod tests;
