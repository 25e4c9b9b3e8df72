//! The `Session` service: what remembers the outcomes of mutations, and last wills.

use std::sync::Arc;

use prost::Message;
use tenure_proto::v1::{self as wire, session_server::Session};
use tenure_statemachine::{LeaseId, LeaseRevoke, Reader, Refusal, SessionOpen, Will, WillSet};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{failure::Failure, status::Reason},
    border::{conditions, field, request},
    claim::responses::claims,
    services::Services,
};

#[derive(Debug)]
pub(in crate::rpc) struct SessionService(pub(in crate::rpc) Arc<Services>);

impl SessionService {
    async fn open(
        &self,
        request: Request<wire::OpenSessionRequest>,
    ) -> Result<wire::OpenSessionResponse, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |_| None)?;
        let (lease, grant) = field::lease_or_ttl(request.lease, request.ttl_ms)?;
        let open = SessionOpen { lease, grant };
        let cost = request::LEASE_COST_BYTES;
        let (revision, (session, ttl)) = self.0.write(&call, conditions, cost, open).await?;
        Ok(wire::OpenSessionResponse {
            header: Some(self.0.headers.own(revision)),
            session: session.0,
            ttl_ms: ttl.0,
        })
    }

    /// Ending the lease ends the session. That it is one's is looked up before: the caller who
    /// mistakes any lease for its session must not lose what hangs on it.
    async fn close(
        &self,
        request: Request<wire::CloseSessionRequest>,
    ) -> Result<wire::CloseSessionResponse, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |_| None)?;
        let session = named(request.session)?;
        call.read(self.0.replica.read_barrier()).await?;
        let open = self.0.latest(|reader| Ok(reader.session(session)?))?;
        if open.is_none() {
            return Err(not_found(session));
        }
        let revoke = LeaseRevoke(session);
        let (revision, ()) = self.0.write(&call, conditions, 0, revoke).await?;
        Ok(wire::CloseSessionResponse {
            header: Some(self.0.headers.own(revision)),
        })
    }

    async fn inspect(
        &self,
        request: Request<wire::InspectSessionRequest>,
    ) -> Result<Response<wire::InspectSessionResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let session = named(request.into_inner().session)?;
        call.read(self.0.replica.read_barrier()).await?;
        let services = Arc::clone(&self.0);
        let read = move |reader: &Reader<'_>| {
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
        self.0.answer(&call, read).await
    }

    async fn set_will(
        &self,
        request: Request<wire::SetWillRequest>,
    ) -> Result<wire::SetWillResponse, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        // What it stores: what it deletes is stored as well as what it puts.
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
        let (revision, ()) = self.0.write(&call, conditions, cost, set).await?;
        Ok(wire::SetWillResponse {
            header: Some(self.0.headers.own(revision)),
        })
    }
}

fn named(session: i64) -> Result<LeaseId, Failure> {
    field::lease(session).map_err(|_| Reason::SessionMissing.into())
}

fn not_found(session: LeaseId) -> Failure {
    Reason::SessionNotFound.with(session.to_string())
}

#[tonic::async_trait]
impl Session for SessionService {
    async fn open(
        &self,
        request: Request<wire::OpenSessionRequest>,
    ) -> Result<Response<wire::OpenSessionResponse>, Status> {
        Ok(Response::new(Self::open(self, request).await?))
    }

    async fn close(
        &self,
        request: Request<wire::CloseSessionRequest>,
    ) -> Result<Response<wire::CloseSessionResponse>, Status> {
        Ok(Response::new(Self::close(self, request).await?))
    }

    async fn inspect(
        &self,
        request: Request<wire::InspectSessionRequest>,
    ) -> Result<Response<wire::InspectSessionResponse>, Status> {
        Ok(Self::inspect(self, request).await?)
    }

    async fn set_will(
        &self,
        request: Request<wire::SetWillRequest>,
    ) -> Result<Response<wire::SetWillResponse>, Status> {
        Ok(Response::new(Self::set_will(self, request).await?))
    }
}

#[cfg(test)]
mod tests;
