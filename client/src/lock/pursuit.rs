//! Waiting for a claim to be granted, across broken streams and silent servers.
//!
//! The invariants: all attempts carry one request id, so there is one claim, wherever the streams
//! broke. Whoever stops waiting withdraws, and not before the server has said what became of the
//! request: a withdrawal that overtook it would leave a claim that nobody knows of.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1::{
    self, AcquireRequest, AcquireResponse, acquire_response::State, lock_client::LockClient,
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use super::{
    tenancy::Tenancy,
    withdrawal::{Claiming, Withdrawal},
};
use crate::{
    call::Call,
    channel::Lane,
    client::{Client, WAIT_MAX},
    error::{Error, ErrorKind, Operation},
    id::Token,
    lease::LeaseLoss,
    response::Claim,
    resume::Resume,
    retry::Backoff,
    session::Ticket,
};

/// How much longer than the server the client waits before it ends a wait by itself, so that the
/// answer that the wait is over can arrive.
const WAIT_MARGIN: Duration = Duration::from_millis(250);

/// Where a claim that waits stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuePlace {
    /// How many claims are before it.
    pub position: u32,
    /// Who holds what it waits for, if anybody does.
    pub holder: Option<Claim>,
}

/// Called whenever the server says where the claim stands.
pub(crate) type Listener = Arc<dyn Fn(&QueuePlace) + Send + Sync>;

/// A claim that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) name: Bytes,
    pub(crate) key: Bytes,
    pub(crate) token: Token,
}

impl From<v1::Claim> for Claimed {
    fn from(claim: v1::Claim) -> Self {
        Self {
            name: claim.name,
            key: claim.key,
            token: Token::new(claim.token),
        }
    }
}

/// What a server says of a claim.
#[derive(Debug)]
pub(crate) enum Standing {
    Waits(Vec<Claimed>, QueuePlace),
    Granted(Vec<Claimed>),
}

/// A request that is answered by a stream which ends when the claim is granted.
pub(crate) trait Pursuit: Clone + Send + Sync + 'static {
    /// What the stream sends.
    type Answer: Send + 'static;

    fn send(
        channel: Channel,
        request: Request<Self>,
    ) -> BoxFuture<'static, Result<Response<Streaming<Self::Answer>>, Status>>;

    fn read(answer: Self::Answer) -> Option<Standing>;
}

/// A pursuit is settled by the first word of its stream, which speaks of claims that were made.
impl<P: Pursuit> Claiming for P {
    fn settle<'a>(
        &'a self,
        client: &'a Client,
        ticket: &'a Ticket,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut answers = open(self, client, ticket).await?;
            let limit = Some(client.deadline(None));
            next(&mut answers, client, limit).await.map(|_| true)
        })
    }
}

async fn open<P: Pursuit>(
    request: &P,
    client: &Client,
    ticket: &Ticket,
) -> Result<Streaming<P::Answer>, Error> {
    let call = Call::tenure(Operation::Write, Lane::KeepAlive)
        .streaming()
        .require_leader()
        .under(Some(ticket.clone()));
    let answers = client.run(call, request.clone(), P::send).await?;
    Ok(answers.into_inner())
}

async fn next<Answer>(
    answers: &mut Streaming<Answer>,
    client: &Client,
    limit: Option<Instant>,
) -> Result<Answer, Error> {
    let message = match limit {
        Some(limit) => timeout_at(limit, answers.message()).await.map_err(|_| {
            client.move_on();
            Error::deadline(Operation::Write)
        })?,
        None => answers.message().await,
    };
    let broken = |status| Error::from_status(status, Operation::Write, "server");
    message.map_err(broken)?.ok_or_else(|| {
        let text = "the stream ended before the claim was granted";
        Error::local(ErrorKind::Unavailable, text)
    })
}

impl Pursuit for AcquireRequest {
    type Answer = AcquireResponse;

    fn send(
        channel: Channel,
        request: Request<Self>,
    ) -> BoxFuture<'static, Result<Response<Streaming<AcquireResponse>>, Status>> {
        Box::pin(async move { LockClient::new(channel).acquire(request).await })
    }

    fn read(answer: AcquireResponse) -> Option<Standing> {
        let claimed = |claims: Vec<v1::Claim>| claims.into_iter().map(Claimed::from).collect();
        Some(match answer.state? {
            State::Queued(queued) => {
                let place = QueuePlace {
                    position: queued.position,
                    holder: queued.holder.map(Claim::of),
                };
                Standing::Waits(claimed(queued.claims), place)
            }
            State::Granted(granted) => Standing::Granted(claimed(granted.claims)),
        })
    }
}

/// What a claim is to be, beside the request itself.
#[derive(Clone)]
pub(crate) struct Terms {
    /// Sorted; as in the request.
    pub(crate) names: Vec<Bytes>,
    pub(crate) wait: Option<Duration>,
    pub(crate) listener: Option<Listener>,
}

/// Makes a claim and waits until it is granted.
///
/// # Cancel safety
/// Dropping the future withdraws the claim in the background.
pub(crate) async fn pursue<P: Pursuit>(
    client: &Client,
    tenancy: &Tenancy,
    terms: Terms,
    request: P,
) -> Result<Vec<Claimed>, Error> {
    let client = tenancy.session().attach(client);
    let ticket = tenancy.draw(&client).await?;
    let mut chase = Chase {
        limit: terms
            .wait
            .map(|wait| Instant::now() + wait.min(WAIT_MAX) + WAIT_MARGIN),
        withdrawal: Withdrawal::arm(&client, tenancy, &terms.names, request.clone(), &ticket),
        shared: !tenancy.is_own(),
        waits: None,
        last: None,
        client,
        ticket,
        terms,
        request,
    };
    // Both arms may be dropped at any await: the withdrawal takes care of the claim.
    let outcome = tokio::select! {
        biased;
        outcome = chase.run() => outcome,
        loss = tenancy.session().lost() => Err(stopped(loss)),
    };
    if outcome.is_ok() {
        chase.withdrawal.disarm();
    }
    outcome
}

/// The error of a wait whose session ended first.
fn stopped(loss: LeaseLoss) -> Error {
    Error::local(ErrorKind::SessionLost, format!("stopped waiting: {loss}"))
}

struct Chase<P: Pursuit> {
    client: Client,
    ticket: Ticket,
    terms: Terms,
    request: P,
    withdrawal: Withdrawal<P>,
    limit: Option<Instant>,
    /// The session numbers other writes, too.
    shared: bool,
    /// The claims, once the server said that they wait.
    waits: Option<Vec<Claimed>>,
    /// Why the last attempt broke off.
    last: Option<Error>,
}

impl<P: Pursuit> Chase<P> {
    async fn run(&mut self) -> Result<Vec<Claimed>, Error> {
        let Some(limit) = self.limit else {
            return self.repeat().await;
        };
        match timeout_at(limit, self.repeat()).await {
            Ok(outcome) => outcome,
            Err(_) if self.waits.is_some() => {
                Err(Error::local(ErrorKind::WaitOver, "waited as long as asked"))
            }
            // Nobody has said that there is anything to wait for: that is more than a wait that is
            // over.
            Err(_) => {
                let last = self.last.take();
                Err(last.unwrap_or_else(|| Error::deadline(Operation::Write)))
            }
        }
    }

    async fn repeat(&mut self) -> Result<Vec<Claimed>, Error> {
        let mut resume = Resume::default();
        loop {
            let error = match self.attempt(&mut resume).await {
                Ok(claims) => return self.complete(claims),
                Err(error) => error,
            };
            if error.kind() == ErrorKind::RequestForgotten
                && let Some(claims) = self.waits.clone()
            {
                let followed = self.follow(claims).await;
                return followed.inspect_err(|error| self.withdrawal.refused(error, true));
            }
            if error.kind() == ErrorKind::LeaseLost {
                self.ticket.session().forgotten();
                return Err(stopped(LeaseLoss::Ended));
            }
            if !error.ends_stream_for_now() {
                let repeated = self.last.is_some() || self.waits.is_some();
                self.withdrawal.refused(&error, repeated);
                return Err(error);
            }
            tracing::debug!(%error, "the wait for a claim is resumed");
            self.last = Some(error);
            sleep(resume.next_pause()).await;
        }
    }

    /// Sends the request and follows the stream to its end.
    async fn attempt(&mut self, resume: &mut Resume) -> Result<Vec<Claimed>, Error> {
        let mut answers = open(&self.request, &self.client, &self.ticket).await?;
        resume.opened();
        // The first answer comes as soon as the request is executed; after it, silence is waiting.
        let mut limit = Some(self.client.deadline(None));
        loop {
            let message = next(&mut answers, &self.client, limit.take()).await?;
            match P::read(message) {
                Some(Standing::Granted(claims)) => return Ok(claims),
                Some(Standing::Waits(claims, place)) => self.waits(claims, &place),
                None => {}
            }
        }
    }

    /// The claims, if they are those that were asked for. A server that confuses them would say
    /// the same again: this is no reason to repeat, and what was claimed is withdrawn.
    fn complete(&mut self, claims: Vec<Claimed>) -> Result<Vec<Claimed>, Error> {
        let granted = claims.iter().map(|claim| &claim.name);
        if granted.eq(&self.terms.names) {
            return Ok(claims);
        }
        self.withdrawal.executed();
        let text = "the server granted other names than were asked for";
        Err(Error::local(ErrorKind::Internal, text))
    }

    fn waits(&mut self, claims: Vec<Claimed>, place: &QueuePlace) {
        self.waits = Some(claims);
        self.withdrawal.executed();
        if self.shared {
            // A long wait must not hold up the numbers of the session's other writes. Should the
            // request be forgotten, the claim is found by its key.
            self.ticket.finish();
        }
        if let Some(listener) = &self.terms.listener {
            listener(place);
        }
    }

    /// Waits for claims whose request the server has forgotten, by asking for them now and then.
    async fn follow(&mut self, claims: Vec<Claimed>) -> Result<Vec<Claimed>, Error> {
        let mut backoff = Backoff::default();
        loop {
            match self.look(&claims).await {
                Ok(Some(held)) => return Ok(held),
                Ok(None) => {}
                Err(error) if error.ends_stream_for_now() => {
                    tracing::debug!(%error, "a claim could not be looked for");
                }
                Err(error) => return Err(error),
            }
            sleep(backoff.next_pause()).await;
        }
    }

    /// The claims as they are by now, if all of them hold.
    async fn look(&self, claims: &[Claimed]) -> Result<Option<Vec<Claimed>>, Error> {
        let mut held = Vec::with_capacity(claims.len());
        for claim in claims {
            let found = self.client.get(&claim.key).await?;
            let Some(record) = found.first() else {
                let text = "the claim is gone from the queue";
                return Err(Error::local(ErrorKind::ClaimEnded, text));
            };
            // The queue may have been reordered, which gives out new tokens.
            let token = Token::from(record.create_revision());
            let check = self.client.check_token(&claim.name, token).await?;
            if !check.is_valid() {
                return Ok(None);
            }
            held.push(Claimed {
                token,
                ..claim.clone()
            });
        }
        Ok(Some(held))
    }
}
