//! The builder of a campaign.

use std::{fmt, future::IntoFuture, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1::{
    CampaignRequest, CampaignResponse, campaign_response::State, election_client::ElectionClient,
};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use super::leadership::Leadership;
use crate::{
    claim::{
        ClaimOptions, ClaimRecord, ClaimState, QueuePlace, SessionChoice, StreamedClaimRequest,
    },
    client::Client,
    error::Error,
    id::LeaseId,
    response::Claim,
    session::Session,
};

/// Builder of a campaign. Made by [`Election::campaign`](crate::Election::campaign); waits to be
/// elected when it is awaited.
///
/// # Errors
/// When awaited: [`WaitOver`](crate::ErrorKind::WaitOver) when another candidate still leads after
/// the time set by [`wait`](Self::wait), [`SessionLost`](crate::ErrorKind::SessionLost) when its
/// lease ran out first, [`ClaimEnded`](crate::ErrorKind::ClaimEnded) when another client removed
/// the candidate from the queue, and the errors common to all calls. Once the candidate is in the
/// queue, broken connections and transient failures of servers are not errors: it keeps its place.
///
/// # Cancel safety
/// Dropping the future withdraws the candidate in the background; without a runtime, when its
/// lease ends.
#[derive(Clone)]
#[must_use = "a candidate stands when the campaign is awaited"]
pub struct Campaign {
    options: ClaimOptions,
    name: Bytes,
    value: Bytes,
}

impl Campaign {
    pub(super) fn new(client: Client, name: Bytes, value: Bytes) -> Self {
        Self {
            options: ClaimOptions::new(client),
            name,
            value,
        }
    }

    /// Campaigns with a lease of its own that ends `ttl` after its last renewal; ten seconds unless
    /// set. A crashed leader is replaced after this time.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.session = SessionChoice::Own(ttl);
        self
    }

    /// Campaigns with the lease of a session, instead of one of its own.
    pub fn session(mut self, session: &Session) -> Self {
        self.options.session = SessionChoice::Shared(session.clone());
        self
    }

    /// The longest time to wait; unless set, the campaign waits for as long as the lease lives.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.options.wait = Some(wait);
        self
    }

    /// Sets the name that [`Locks::inspect`](crate::Locks::inspect) shows for the candidate.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.options.principal = principal.into();
        self
    }

    /// Calls `listener` with the place of the candidate in the queue and the current leader when it
    /// starts to wait, and again when the wait resumes on another stream. It runs on the async
    /// runtime and must not block.
    pub fn on_waiting(mut self, listener: impl Fn(&QueuePlace) + Send + Sync + 'static) -> Self {
        self.options.listener = Some(Arc::new(listener));
        self
    }

    async fn run(self) -> Result<Leadership, Error> {
        let request = CampaignRequest {
            name: self.name.clone(),
            value: self.value,
            wait_ms: self.options.wait_ms("")?,
            principal: self.options.principal.clone(),
            ..CampaignRequest::default()
        };
        let of = |lease: LeaseId| CampaignRequest {
            lease: lease.get(),
            ..request
        };
        let names = vec![self.name];
        self.options.acquire(names, of).await.map(Leadership::new)
    }
}

impl IntoFuture for Campaign {
    type Output = Result<Leadership, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Campaign")
            .field("name", &self.name)
            .field("wait", &self.options.wait)
            .finish_non_exhaustive()
    }
}

impl StreamedClaimRequest for CampaignRequest {
    type Answer = CampaignResponse;

    fn send(
        channel: Channel,
        request: Request<Self>,
    ) -> BoxFuture<'static, Result<Response<Streaming<CampaignResponse>>, Status>> {
        Box::pin(async move { ElectionClient::new(channel).campaign(request).await })
    }

    fn read(answer: CampaignResponse) -> Option<ClaimState> {
        let record = |claim: Option<_>| claim.map(ClaimRecord::from).into_iter().collect();
        Some(match answer.state? {
            State::Waiting(waiting) => {
                let position = waiting.candidate.as_ref().map_or(0, |claim| claim.position);
                let place = QueuePlace {
                    position,
                    holder: waiting.leader.map(Claim::of),
                };
                ClaimState::Waiting(record(waiting.candidate), place)
            }
            State::Elected(elected) => ClaimState::Granted(record(elected.leader)),
        })
    }
}
