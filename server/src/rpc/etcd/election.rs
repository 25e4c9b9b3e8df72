//! etcd's server-side `Election`: the same claims as tenure's own, in etcd's form.

use std::sync::Arc;

use bytes::Bytes;
use tenure_proto::v3electionpb::{self as wire, election_server::Election};
use tenure_statemachine::{
    Compare, DeleteRange, Fault, KeyRange, KeyValue, Operand, Proclaim, RangeQuery, ReadError,
    Reader, Relation, Revision, Txn, TxnOp, claimed_name,
};
use tonic::{Request, Response, Status};

use super::lock::{alone, hold};
use crate::rpc::{
    answer::{failure::Failure, large::Taker, reply, status::Reason},
    border::{conditions::Conditions, field, request},
    claim::{
        names::{self, Subject},
        responses::Responses,
    },
    services::Services,
};

/// The record of whoever leads: told when it was written anew.
const LEADER: Subject<Option<KeyValue>, Option<(Bytes, Revision)>> = Subject {
    read: leader,
    mark: |found| {
        let found = found.as_ref()?;
        Some((found.key.clone(), found.mod_revision))
    },
};

#[derive(Debug)]
pub(in crate::rpc) struct EtcdElectionService(pub(in crate::rpc) Arc<Services>);

impl EtcdElectionService {
    async fn campaign(
        &self,
        request: Request<wire::CampaignRequest>,
    ) -> Result<wire::CampaignResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
        let name = field::name(request.name)?;
        let acquire = alone(name.clone(), request.lease, request.value);
        let held = hold(&self.0, call, conditions, acquire).await;
        let held = held.map_err(|failure| match failure.reason() {
            Reason::LeaseEnded | Reason::LeaseNotFound => Reason::LeaseNotFoundToClaim.into(),
            Reason::ClaimEnded => Reason::ElectionNotLeader.into(),
            _ => failure,
        })?;
        let (revision, claim) = (held.revision, held.claims.first().cloned());
        held.told();
        let leader = claim.map(|claim| wire::LeaderKey {
            name,
            key: claim.key,
            rev: claim.token.0,
            lease: claim.lease.0,
        });
        Ok(wire::CampaignResponse {
            header: Some(self.0.headers.at(revision)),
            leader,
        })
    }

    async fn proclaim(
        &self,
        request: Request<wire::ProclaimRequest>,
    ) -> Result<wire::ProclaimResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
        let leader = request.leader.ok_or(Reason::LeaderKeyMissing)?;
        let (key, value) = (leader.key, request.value);
        let cost = request::PUT_OVERHEAD_BYTES + (key.len() + value.len()) as u64;
        let name = claimed_name(&key).ok_or(Reason::ElectionNotLeader)?;
        let token = Revision(leader.rev);
        let proclaim = Proclaim { name, token, value };
        let done = self.0.write(&call, conditions, cost, proclaim).await;
        let (revision, ()) = done.map_err(|failure| match failure.reason() {
            Reason::NotHolder => Reason::ElectionNotLeader.into(),
            _ => failure,
        })?;
        Ok(wire::ProclaimResponse {
            header: Some(self.0.headers.at(revision)),
        })
    }

    async fn leader(
        &self,
        request: Request<wire::LeaderRequest>,
    ) -> Result<Response<wire::LeaderResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let name = field::name(request.into_inner().name)?;
        call.read(self.0.replica.read_barrier()).await?;
        let (revision, found) = self
            .0
            .latest(|reader| Ok((reader.meta().revision, leader(reader, &name)?)))?;
        let found = found.ok_or(Reason::ElectionNoLeader)?;
        self.0.found(wire::LeaderResponse {
            header: Some(self.0.headers.at(revision)),
            kv: Some(reply::key_value(found)),
        })
    }

    /// As etcd's, this is silent while nobody leads.
    async fn observe(
        &self,
        request: Request<wire::LeaderRequest>,
    ) -> Result<Responses<wire::LeaderResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let name = field::name(request.into_inner().name)?;
        let tell = |services: &Services, revision, changed: names::Changed<Option<KeyValue>>| {
            let found = changed.into_iter().find_map(|(_, found)| found)?;
            Some(wire::LeaderResponse {
                header: Some(services.headers.at(revision)),
                kv: Some(reply::key_value(found)),
            })
        };
        names::follow(&self.0, call, vec![name], LEADER, tell).await
    }

    /// As etcd's, this is no error for whoever does not lead any more.
    async fn resign(
        &self,
        request: Request<wire::ResignRequest>,
    ) -> Result<wire::ResignResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
        let leader = request.leader.ok_or(Reason::LeaderKeyMissing)?;
        if leader.key.is_empty() {
            return Err(Reason::EmptyKey.into());
        }
        let key = KeyRange::from_wire(leader.key, Bytes::new());
        let delete = Txn {
            compare: vec![Compare {
                range: key.clone(),
                relation: Relation::Equal,
                operand: Operand::Create(Revision(leader.rev)),
            }],
            success: vec![TxnOp::DeleteRange(DeleteRange {
                range: key,
                want_previous: false,
            })],
            failure: Vec::new(),
        };
        let (revision, _) = self.0.write(&call, conditions, 0, delete).await?;
        Ok(wire::ResignResponse {
            header: Some(self.0.headers.at(revision)),
        })
    }
}

/// The record of the key that leads.
fn leader(reader: &Reader<'_>, name: &[u8]) -> Result<Option<KeyValue>, Fault> {
    let Some(holder) = reader.holder(name)? else {
        return Ok(None);
    };
    let query = RangeQuery::latest(KeyRange::from_wire(holder.key, Bytes::new()));
    match reader.range(&query) {
        Ok(found) => Ok(found.kvs.into_iter().next()),
        // Corrupt data is not told; every other call says so.
        Err(ReadError::Refused(_)) => Ok(None),
        Err(ReadError::Fault(fault)) => Err(fault),
    }
}

#[tonic::async_trait]
impl Election for EtcdElectionService {
    type ObserveStream = Responses<wire::LeaderResponse>;

    async fn campaign(
        &self,
        request: Request<wire::CampaignRequest>,
    ) -> Result<Response<wire::CampaignResponse>, Status> {
        Ok(Response::new(Self::campaign(self, request).await?))
    }

    async fn proclaim(
        &self,
        request: Request<wire::ProclaimRequest>,
    ) -> Result<Response<wire::ProclaimResponse>, Status> {
        Ok(Response::new(Self::proclaim(self, request).await?))
    }

    async fn leader(
        &self,
        request: Request<wire::LeaderRequest>,
    ) -> Result<Response<wire::LeaderResponse>, Status> {
        Ok(Self::leader(self, request).await?)
    }

    async fn observe(
        &self,
        request: Request<wire::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let taker = Taker::of(&request);
        Ok(taker.response(&self.0, Self::observe(self, request).await?))
    }

    async fn resign(
        &self,
        request: Request<wire::ResignRequest>,
    ) -> Result<Response<wire::ResignResponse>, Status> {
        Ok(Response::new(Self::resign(self, request).await?))
    }
}

#[cfg(test)]
mod tests;
