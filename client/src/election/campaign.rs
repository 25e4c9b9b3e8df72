//! How somebody stands for election.

use std::{fmt, future::IntoFuture, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1::{
    CampaignRequest, CampaignResponse, campaign_response::State, election_client::ElectionClient,
};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use super::leadership::Leadership;
use crate::{
    client::Client,
    error::{Error, ErrorKind},
    lock::{
        Claimed, Claiming, Hold, Lifetime, Listener, Pursuit, QueuePlace, Standing, Tenancy, Terms,
        pursue, settle,
    },
    registry::milliseconds,
    session::{Session, Ticket},
};

/// A candidacy. Made by [`Election::campaign`](crate::Election::campaign); waits to be elected
/// when it is awaited.
///
/// # Errors
/// When awaited: [`WaitOver`](ErrorKind::WaitOver) when somebody else still leads after the time
/// given with [`wait`](Self::wait), [`SessionLost`](ErrorKind::SessionLost) when its lease ran out
/// first, and whatever any call can meet. Broken connections and passing troubles of servers are
/// no errors: the candidate keeps its place.
///
/// # Cancel safety
/// Dropping the future withdraws the candidate in the background; without a runtime, when its
/// lease ends.
#[derive(Clone)]
#[must_use = "a candidate stands when the campaign is awaited"]
pub struct Campaign {
    client: Client,
    name: Bytes,
    value: Bytes,
    lifetime: Lifetime,
    wait: Option<Duration>,
    principal: String,
    listener: Option<Listener>,
}

impl Campaign {
    pub(super) fn new(client: Client, name: Bytes, value: Bytes) -> Self {
        Self {
            client,
            name,
            value,
            lifetime: Lifetime::default(),
            wait: None,
            principal: String::new(),
            listener: None,
        }
    }

    /// Stands with a lease of its own that ends so long after its last renewal; ten seconds unless
    /// set. Shorter means that a dead leader is replaced sooner.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lifetime = Lifetime::Own(ttl);
        self
    }

    /// Stands with the lease of a session, instead of one of its own.
    pub fn session(mut self, session: &Session) -> Self {
        self.lifetime = Lifetime::Of(session.clone());
        self
    }

    /// Waits for so long at most; without it, for as long as the lease lives.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Says who stands, for whoever inspects the election.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = principal.into();
        self
    }

    /// Calls `listener` when the candidate has to wait, with its place in line and who leads at
    /// that moment, and again when the wait goes on after a break. Called on the runtime: it must
    /// not block.
    pub fn on_waiting(mut self, listener: impl Fn(&QueuePlace) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    async fn run(self) -> Result<Leadership, Error> {
        if self.wait.is_some_and(|wait| wait.is_zero()) {
            let text = "a wait of no time at all";
            return Err(Error::local(ErrorKind::InvalidArgument, text));
        }
        let tenancy = Tenancy::open(&self.client, self.lifetime).await?;
        let request = CampaignRequest {
            name: self.name.clone(),
            lease: tenancy.session().lease().get(),
            ttl_ms: 0,
            value: self.value,
            wait_ms: self.wait.map_or(0, milliseconds),
            principal: self.principal,
            options: None,
        };
        let terms = Terms {
            names: vec![self.name],
            wait: self.wait,
            listener: self.listener,
        };
        let claims = pursue(&self.client, &tenancy, terms, request).await?;
        Ok(Leadership::new(Hold::new(self.client, tenancy, claims)))
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
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl Claiming for CampaignRequest {
    fn settle<'a>(
        &'a self,
        client: &'a Client,
        ticket: &'a Ticket,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(settle(self, client, ticket))
    }
}

impl Pursuit for CampaignRequest {
    type Answer = CampaignResponse;

    fn send(
        channel: Channel,
        request: Request<Self>,
    ) -> BoxFuture<'static, Result<Response<Streaming<CampaignResponse>>, Status>> {
        Box::pin(async move { ElectionClient::new(channel).campaign(request).await })
    }

    fn read(answer: CampaignResponse) -> Option<Standing> {
        let claimed = |claim: Option<_>| claim.map(Claimed::from).into_iter().collect();
        Some(match answer.state? {
            State::Waiting(waiting) => {
                let position = waiting.candidate.as_ref().map_or(0, |claim| claim.position);
                let place = QueuePlace {
                    position,
                    holder: waiting.leader,
                };
                Standing::Waits(claimed(waiting.candidate), place)
            }
            State::Elected(elected) => Standing::Granted(claimed(elected.leader)),
        })
    }
}
