//! The `Election` service of tenure: campaign, proclaim, observe, resign, hand over.
//!
//! An election is a lock that is asked for alone; its epoch is the token.

use std::sync::Arc;

use tenure_proto::v1::{self as wire, campaign_response::State, election_server::Election};
use tenure_statemachine::{Acquire, ClaimState, HandOver, Mode, Proclaim, Release, Revision, Ttl};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{failure::Failure, large::Taker},
    border::{field, request},
    claim::{
        acquire::{self, Granted, Waiting},
        names,
        responses::{Responses, Tell, claim, responses},
    },
    services::Services,
};

type Holders = names::Changed<Option<ClaimState>>;

#[derive(Debug)]
pub(in crate::rpc) struct ElectionService(pub(in crate::rpc) Arc<Services>);

impl ElectionService {
    async fn campaign(
        &self,
        request: Request<wire::CampaignRequest>,
    ) -> Result<Responses<wire::CampaignResponse>, Failure> {
        let connection = request.extensions().get().cloned();
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let (lease, grant) = field::lease_or_ttl(request.lease, request.ttl_ms)?;
        let acquire = Acquire {
            names: vec![field::name(request.name)?],
            mode: Mode::Exclusive,
            lease,
            grant,
            wait: field::wait(request.wait_ms),
            lock_delay: Ttl(0),
            principal: field::principal(request.principal)?,
            value: request.value,
            rejoin: false,
            call: 0,
        };
        let begun = acquire::begin(&self.0, &call, conditions, acquire).await?;
        let tell = Tell {
            waiting: waiting_response,
            granted: elected_response,
        };
        responses(&self.0, call, begun, tell, connection)
    }

    async fn proclaim(
        &self,
        request: Request<wire::ProclaimRequest>,
    ) -> Result<wire::ProclaimResponse, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let (name, value) = (field::name(request.name)?, request.value);
        let token = field::token(request.epoch)?;
        let cost = request::PUT_OVERHEAD_BYTES + (name.len() + value.len()) as u64;
        let proclaim = Proclaim { name, token, value };
        let (revision, ()) = self.0.write(&call, conditions, cost, proclaim).await?;
        Ok(wire::ProclaimResponse {
            header: Some(self.0.headers.own(revision)),
        })
    }

    async fn observe(
        &self,
        request: Request<wire::ObserveRequest>,
    ) -> Result<Responses<wire::ObserveResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let name = field::name(request.into_inner().name)?;
        let tell = |services: &Services, revision: Revision, changed: Holders| {
            let now = services.replica.cluster_time();
            let leader = changed.into_iter().find_map(|(_, leader)| leader);
            Some(wire::ObserveResponse {
                header: Some(services.headers.own(revision)),
                leader: leader.map(|leader| claim(leader, now)),
            })
        };
        names::follow(&self.0, call, vec![name], names::VALUE, tell).await
    }

    async fn resign(
        &self,
        request: Request<wire::ResignRequest>,
    ) -> Result<wire::ResignResponse, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let release = Release {
            name: field::name(request.name)?,
            token: field::token(request.epoch)?,
        };
        let (revision, ()) = self.0.write(&call, conditions, 0, release).await?;
        Ok(wire::ResignResponse {
            header: Some(self.0.headers.own(revision)),
        })
    }

    async fn hand_over(
        &self,
        request: Request<wire::HandOverRequest>,
    ) -> Result<Response<wire::HandOverResponse>, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let hand_over = HandOver {
            name: field::name(request.name)?,
            token: field::token(request.epoch)?,
            to: field::lease(request.to_lease)?,
        };
        let cost = request::PUT_OVERHEAD_BYTES;
        let (revision, leader) = self.0.write(&call, conditions, cost, hand_over).await?;
        self.0.written(wire::HandOverResponse {
            header: Some(self.0.headers.own(revision)),
            leader: Some(claim(leader, self.0.replica.cluster_time())),
        })
    }
}

fn waiting_response(services: &Services, waiting: &Waiting) -> wire::CampaignResponse {
    let told = wire::Waiting {
        candidate: only(services, &waiting.claims),
        leader: only(services, waiting.blocker.as_slice()),
        lease: waiting.lease.0,
        ttl_ms: waiting.ttl.0,
    };
    wire::CampaignResponse {
        header: Some(services.headers.own(waiting.revision)),
        state: Some(State::Waiting(told)),
    }
}

fn elected_response(services: &Services, elected: &Granted) -> wire::CampaignResponse {
    let told = wire::Elected {
        leader: only(services, &elected.claims),
        lease: elected.lease.0,
        ttl_ms: elected.ttl.0,
        remaining_ms: elected.remaining.0,
    };
    wire::CampaignResponse {
        header: Some(services.headers.own(elected.revision)),
        state: Some(State::Elected(told)),
    }
}

/// The claim of a list of at most one.
fn only(services: &Services, claims: &[ClaimState]) -> Option<wire::Claim> {
    let now = services.replica.cluster_time();
    claims.first().map(|state| claim(state.clone(), now))
}

#[tonic::async_trait]
impl Election for ElectionService {
    type CampaignStream = Responses<wire::CampaignResponse>;
    type ObserveStream = Responses<wire::ObserveResponse>;

    async fn campaign(
        &self,
        request: Request<wire::CampaignRequest>,
    ) -> Result<Response<Self::CampaignStream>, Status> {
        let taker = Taker::of(&request);
        Ok(taker.response(&self.0, Self::campaign(self, request).await?))
    }

    async fn proclaim(
        &self,
        request: Request<wire::ProclaimRequest>,
    ) -> Result<Response<wire::ProclaimResponse>, Status> {
        Ok(Response::new(Self::proclaim(self, request).await?))
    }

    async fn observe(
        &self,
        request: Request<wire::ObserveRequest>,
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

    async fn hand_over(
        &self,
        request: Request<wire::HandOverRequest>,
    ) -> Result<Response<wire::HandOverResponse>, Status> {
        Ok(Self::hand_over(self, request).await?)
    }
}

#[cfg(test)]
mod tests;
