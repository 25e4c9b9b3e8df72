//! Elections.

use futures::StreamExt;
use tenure_proto::v1::{
    CampaignRequest, CampaignResponse, Elected, HandOverRequest, HandOverResponse, ObserveRequest,
    ObserveResponse, ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse, Waiting,
    campaign_response::State, election_server::Election,
};
use tenure_statemachine::{Acquire, ClaimState, HandOver, LeaseId, Proclaim, Release, Revision};
use tonic::{Request, Response};

use super::{
    lock::wait,
    message::{claim, tenure_header},
    node::{Answer, Answers, Service},
    store::Store,
};

fn campaigned(store: &Store, claims: Vec<ClaimState>) -> CampaignResponse {
    let now = store.now();
    let candidate = claims.into_iter().next().expect("a campaign has a claim");
    let state = if candidate.held {
        State::Elected(Elected {
            leader: Some(claim(candidate, now)),
            ..Elected::default()
        })
    } else {
        State::Waiting(Waiting {
            leader: store.holder(&candidate.name).map(|it| claim(it, now)),
            candidate: Some(claim(candidate, now)),
            ..Waiting::default()
        })
    };
    CampaignResponse {
        header: tenure_header(store.revision()),
        state: Some(state),
    }
}

#[tonic::async_trait]
impl Election for Service {
    type CampaignStream = Answers<CampaignResponse>;
    type ObserveStream = Answers<ObserveResponse>;

    async fn campaign(&self, request: Request<CampaignRequest>) -> Answer<Self::CampaignStream> {
        let command = |request: CampaignRequest| Acquire {
            names: vec![request.name],
            lease: LeaseId(request.lease),
            wait: wait(request.wait_ms),
            principal: request.principal,
            value: request.value,
            ..Acquire::default()
        };
        self.acquire_and_follow("campaign", request, command, campaigned)
            .await
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Answer<ProclaimResponse> {
        let command = |request: ProclaimRequest| Proclaim {
            name: request.name,
            token: Revision(request.epoch),
            value: request.value,
        };
        self.execute("proclaim", request, command).await
    }

    async fn observe(&self, request: Request<ObserveRequest>) -> Answer<Self::ObserveStream> {
        self.open("observe", &request);
        let name = request.into_inner().name;
        let leaders = self.follow(move |store| ObserveResponse {
            header: tenure_header(store.revision()),
            leader: store.holder(&name).map(|it| claim(it, store.now())),
        });
        Ok(Response::new(self.breakable(leaders.map(Ok))))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Answer<ResignResponse> {
        let command = |request: ResignRequest| Release {
            name: request.name,
            token: Revision(request.epoch),
        };
        self.execute("resign", request, command).await
    }

    async fn hand_over(&self, request: Request<HandOverRequest>) -> Answer<HandOverResponse> {
        let command = |request: HandOverRequest| HandOver {
            name: request.name,
            token: Revision(request.epoch),
            to: LeaseId(request.to_lease),
        };
        let answer = |leader| HandOverResponse {
            leader: Some(leader),
            ..HandOverResponse::default()
        };
        self.move_claim("hand_over", request, command, answer).await
    }
}
