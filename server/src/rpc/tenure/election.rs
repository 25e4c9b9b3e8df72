//! The `Election` service of tenure: campaign, proclaim, observe, resign, hand over.
//!
//! An election is an exclusive lock on one name; its epoch is the fencing token.

use std::sync::Arc;

use tenure_proto::v1::{self as wire, campaign_response::State, election_server::Election};
use tenure_statemachine::{Acquire, ClaimState, HandOver, Proclaim, Release, Revision};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::large::MessagePath,
    border::{field, request},
    claim::{
        acquire::{self, Granted, Waiting},
        names,
        responses::{Messages, Responses, claim, responses},
    },
    services::Services,
};

type Holders = names::Changed<Option<ClaimState>>;

#[derive(Debug)]
pub(in crate::rpc) struct ElectionService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Election for ElectionService {
    type CampaignStream = Responses<wire::CampaignResponse>;
    type ObserveStream = Responses<wire::ObserveResponse>;

    async fn campaign(
        &self,
        request: Request<wire::CampaignRequest>,
    ) -> Result<Response<Self::CampaignStream>, Status> {
        let path = MessagePath::of(&request);
        let connection = request.extensions().get().cloned();
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let lease = field::lease_or_ttl(request.lease, request.ttl_ms)?;
        let name = field::name(request.name)?;
        let acquire = Acquire {
            wait: field::wait(request.wait_ms),
            principal: field::principal(request.principal)?,
            ..acquire::exclusive(name, lease, request.value)
        };
        let outcome = acquire::begin(&self.0, &call, conditions, acquire).await?;
        let messages = Messages {
            waiting: waiting_response,
            granted: elected_response,
        };
        let responses = responses(&self.0, call, outcome, messages, connection)?;
        Ok(path.response(&self.0, responses))
    }

    async fn proclaim(
        &self,
        request: Request<wire::ProclaimRequest>,
    ) -> Result<Response<wire::ProclaimResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let (name, value) = (field::name(request.name)?, request.value);
        let token = field::token(request.epoch)?;
        let cost = request::key_cost(&name, &value);
        let proclaim = Proclaim { name, token, value };
        let header = self
            .0
            .write_for_header(&call, conditions, cost, proclaim)
            .await?;
        Ok(Response::new(wire::ProclaimResponse { header }))
    }

    async fn observe(
        &self,
        request: Request<wire::ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let path = MessagePath::of(&request);
        let call = self.0.admit(&request)?;
        let name = field::name(request.into_inner().name)?;
        let respond = |services: &Services, revision: Revision, changed: Holders| {
            let now = services.replica.cluster_time();
            let leader = changed.into_iter().find_map(|(_, leader)| leader);
            Some(wire::ObserveResponse {
                header: Some(services.headers.own(revision)),
                leader: leader.map(|leader| claim(leader, now)),
            })
        };
        let responses = names::follow(&self.0, call, vec![name], names::VALUE, respond).await?;
        Ok(path.response(&self.0, responses))
    }

    async fn resign(
        &self,
        request: Request<wire::ResignRequest>,
    ) -> Result<Response<wire::ResignResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let release = Release {
            name: field::name(request.name)?,
            token: field::token(request.epoch)?,
        };
        let header = self
            .0
            .write_for_header(&call, conditions, 0, release)
            .await?;
        Ok(Response::new(wire::ResignResponse { header }))
    }

    async fn hand_over(
        &self,
        request: Request<wire::HandOverRequest>,
    ) -> Result<Response<wire::HandOverResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let hand_over = HandOver {
            name: field::name(request.name)?,
            token: field::token(request.epoch)?,
            to: field::lease(request.to_lease)?,
        };
        let cost = request::PUT_OVERHEAD_BYTES;
        let (revision, leader) = self.0.write(&call, conditions, cost, hand_over).await?;
        Ok(self.0.written(wire::HandOverResponse {
            header: Some(self.0.headers.own(revision)),
            leader: Some(claim(leader, self.0.replica.cluster_time())),
        })?)
    }
}

fn waiting_response(services: &Services, waiting: &Waiting) -> wire::CampaignResponse {
    let waiting_state = wire::Waiting {
        candidate: only(services, &waiting.claims),
        leader: only(services, waiting.blocker.as_slice()),
        lease: waiting.lease.0,
        ttl_ms: waiting.ttl.0,
    };
    wire::CampaignResponse {
        header: Some(services.headers.own(waiting.revision)),
        state: Some(State::Waiting(waiting_state)),
    }
}

fn elected_response(services: &Services, elected: &Granted) -> wire::CampaignResponse {
    let elected_state = wire::Elected {
        leader: only(services, &elected.claims),
        lease: elected.lease.0,
        ttl_ms: elected.ttl.0,
        remaining_ms: elected.remaining.0,
    };
    wire::CampaignResponse {
        header: Some(services.headers.own(elected.revision)),
        state: Some(State::Elected(elected_state)),
    }
}

/// The claim of a list of at most one.
fn only(services: &Services, claims: &[ClaimState]) -> Option<wire::Claim> {
    let now = services.replica.cluster_time();
    claims.first().map(|state| claim(state.clone(), now))
}

#[cfg(test)]
mod tests;
