//! etcd's server-side `Election`: the same claims as tenure's own, in etcd's form.

use std::sync::Arc;

use bytes::Bytes;
use tenure_proto::v3electionpb::{self as wire, election_server::Election};
use tenure_statemachine::{
    Compare, DeleteRange, Fault, KeyRange, KeyValue, Need, Operand, Proclaim, RangeQuery,
    ReadError, Reader, Relation, Revision, Txn, TxnOp, claim_range, claimed_name,
};
use tonic::{Request, Response, Status};

use super::lock::{exclusive, of_recipe, wait_for_grant};
use crate::rpc::{
    answer::{large::MessagePath, reply, status::Reason},
    border::{field, request},
    claim::{
        names::{self, Subject},
        responses::Responses,
    },
    services::Services,
};

/// The record of the leader's key: reported when it was written.
const LEADER: Subject<Option<KeyValue>, Option<(Bytes, Revision)>> = Subject {
    read: leader,
    mark: |found| {
        let found = found.as_ref()?;
        Some((found.key.clone(), found.mod_revision))
    },
};

#[derive(Debug)]
pub(in crate::rpc) struct EtcdElectionService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Election for EtcdElectionService {
    type ObserveStream = Responses<wire::LeaderResponse>;

    async fn campaign(
        &self,
        request: Request<wire::CampaignRequest>,
    ) -> Result<Response<wire::CampaignResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let name = field::name(request.name)?;
        let acquire = exclusive(name.clone(), request.lease, request.value);
        let granted = wait_for_grant(&self.0, call, conditions, acquire).await;
        let granted = granted.map_err(|failure| match failure.reason() {
            Reason::LeaseEnded => Reason::LeaseNotFoundToClaim.into(),
            Reason::ClaimEnded => Reason::ElectionNotLeader.into(),
            _ => of_recipe(failure),
        })?;
        let (revision, claim) = (granted.revision, granted.claims.first().cloned());
        granted.delivered();
        let leader = claim.map(|claim| wire::LeaderKey {
            name,
            key: claim.key,
            rev: claim.token.0,
            lease: claim.lease.0,
        });
        Ok(Response::new(wire::CampaignResponse {
            header: Some(self.0.headers.at(revision)),
            leader,
        }))
    }

    async fn proclaim(
        &self,
        request: Request<wire::ProclaimRequest>,
    ) -> Result<Response<wire::ProclaimResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let leader = request.leader.ok_or(Reason::LeaderKeyMissing)?;
        let (key, value) = (leader.key, request.value);
        let cost = request::key_cost(&key, &value);
        let name = claimed_name(&key).ok_or(Reason::ElectionNotLeader)?;
        let token = Revision(leader.rev);
        let proclaim = Proclaim { name, token, value };
        let done = self.0.write(&call, conditions, cost, proclaim).await;
        let (revision, ()) = done.map_err(|failure| match failure.reason() {
            Reason::NotHolder => Reason::ElectionNotLeader.into(),
            _ => of_recipe(failure),
        })?;
        Ok(Response::new(wire::ProclaimResponse {
            header: Some(self.0.headers.at(revision)),
        }))
    }

    async fn leader(
        &self,
        request: Request<wire::LeaderRequest>,
    ) -> Result<Response<wire::LeaderResponse>, Status> {
        let call = self.0.admit(&request)?;
        let name = field::name(request.into_inner().name)?;
        let permit = self
            .0
            .permit(&call, vec![Need::Read(claim_range(&name))])
            .await?;
        call.read(self.0.replica.read_barrier()).await?;
        let (revision, found) = self.0.latest(|reader| {
            permit.check(reader)?;
            Ok((reader.meta().revision, leader(reader, &name)?))
        })?;
        let found = found.ok_or(Reason::ElectionNoLeader)?;
        Ok(self.0.found(wire::LeaderResponse {
            header: Some(self.0.headers.at(revision)),
            kv: Some(reply::key_value(found)),
        })?)
    }

    /// Sends nothing while there is no leader, as etcd does.
    async fn observe(
        &self,
        request: Request<wire::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let path = MessagePath::of(&request);
        let call = self.0.admit(&request)?;
        let name = field::name(request.into_inner().name)?;
        let respond = |services: &Services, revision, changed: names::Changed<Option<KeyValue>>| {
            let found = changed.into_iter().find_map(|(_, found)| found)?;
            Some(wire::LeaderResponse {
                header: Some(services.headers.at(revision)),
                kv: Some(reply::key_value(found)),
            })
        };
        let responses = names::follow(&self.0, call, vec![name], LEADER, respond).await?;
        Ok(path.response(&self.0, responses))
    }

    /// Succeeds for a candidate that is no longer the leader, as in etcd.
    async fn resign(
        &self,
        request: Request<wire::ResignRequest>,
    ) -> Result<Response<wire::ResignResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
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
        let deleted = self.0.write(&call, conditions, 0, delete).await;
        let (revision, _) = deleted.map_err(of_recipe)?;
        Ok(Response::new(wire::ResignResponse {
            header: Some(self.0.headers.at(revision)),
        }))
    }
}

/// The record of the leader's key.
fn leader(reader: &Reader<'_>, name: &[u8]) -> Result<Option<KeyValue>, Fault> {
    let Some(holder) = reader.holder(name)? else {
        return Ok(None);
    };
    let query = RangeQuery::latest(KeyRange::from_wire(holder.key, Bytes::new()));
    match reader.range(&query) {
        Ok(found) => Ok(found.kvs.into_iter().next()),
        // A read of the latest revision is not refused.
        Err(ReadError::Refused(_)) => Ok(None),
        Err(ReadError::Fault(fault)) => Err(fault),
    }
}

#[cfg(test)]
mod tests;
