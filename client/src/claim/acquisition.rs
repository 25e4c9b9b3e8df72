//! The loop that acquires a claim: sends the request, waits for the grant, and resumes across
//! broken streams and silent servers.
//!
//! Invariants: all attempts carry one request id, so there is one claim, wherever the streams
//! broke. A caller that stops waiting withdraws the claim, and not before the outcome of the
//! request is known: a withdrawal that overtook the request would leave an orphaned claim.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use super::{
    session::ClaimSession,
    withdrawal::{ClaimRequest, Withdrawal},
};
use crate::{
    call::Call,
    channel::Lane,
    client::{Client, SequenceNumber, WAIT_MAX},
    error::{Error, ErrorKind, Operation},
    id::Token,
    lease::LeaseLoss,
    response::Claim,
    resume::Resume,
    retry::Backoff,
};

/// How much longer than the server the client waits before it times out by itself, so that the
/// server's own timeout can arrive.
const WAIT_MARGIN: Duration = Duration::from_millis(250);

/// The place of a waiting claim in its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuePlace {
    /// How many claims are ahead of it.
    pub position: u32,
    /// The claim that holds what it waits for, if one does.
    pub holder: Option<Claim>,
}

/// Called whenever the server reports the place of the claim in its queue.
pub(crate) type Listener = Arc<dyn Fn(&QueuePlace) + Send + Sync>;

/// A claim that exists at the server, waiting or granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimRecord {
    pub(crate) name: Bytes,
    pub(crate) key: Bytes,
    pub(crate) token: Token,
}

impl From<v1::Claim> for ClaimRecord {
    fn from(claim: v1::Claim) -> Self {
        Self {
            name: claim.name,
            key: claim.key,
            token: Token::new(claim.token),
        }
    }
}

/// The state of the claims of one request, as reported by the server.
#[derive(Debug)]
pub(crate) enum ClaimState {
    Waiting(Vec<ClaimRecord>, QueuePlace),
    Granted(Vec<ClaimRecord>),
}

/// A request for a claim that is answered by a stream of states, the last of which is the grant.
pub(crate) trait StreamedClaimRequest: Clone + Send + Sync + 'static {
    /// The message of the stream.
    type Answer: Send + 'static;

    fn send(
        channel: Channel,
        request: Request<Self>,
    ) -> BoxFuture<'static, Result<Response<Streaming<Self::Answer>>, Status>>;

    fn read(answer: Self::Answer) -> Option<ClaimState>;
}

/// The outcome is known with the first message of the stream, which comes after the claims exist.
impl<R: StreamedClaimRequest> ClaimRequest for R {
    fn resolve<'a>(
        &'a self,
        client: &'a Client,
        number: &'a SequenceNumber,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut answers = open(self, client, number).await?;
            let limit = Some(client.deadline(None));
            next(&mut answers, client, limit).await.map(|_| true)
        })
    }
}

async fn open<R: StreamedClaimRequest>(
    request: &R,
    client: &Client,
    number: &SequenceNumber,
) -> Result<Streaming<R::Answer>, Error> {
    let call = Call::tenure(Operation::Write, Lane::KeepAlive)
        .streaming()
        .require_leader()
        .with_number(Some(number.clone()));
    let answers = client.run(call, request.clone(), R::send).await?;
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

/// Parameters of an acquisition beside its request.
#[derive(Clone)]
pub(super) struct AcquireParams {
    /// In byte order, as in the request.
    pub(super) names: Vec<Bytes>,
    pub(super) wait: Option<Duration>,
    pub(super) listener: Option<Listener>,
}

/// Makes claims and waits until they are granted.
///
/// # Cancel safety
/// Dropping the future withdraws the claim in the background.
pub(super) async fn acquire<R: StreamedClaimRequest>(
    client: &Client,
    session: &ClaimSession,
    params: AcquireParams,
    request: R,
) -> Result<Vec<ClaimRecord>, Error> {
    let client = session.attach(client);
    let number = session.allocate(&client).await?;
    let mut acquisition = Acquisition {
        limit: params
            .wait
            .map(|wait| Instant::now() + wait.min(WAIT_MAX) + WAIT_MARGIN),
        withdrawal: Withdrawal::arm(&client, session, &params.names, request.clone(), &number),
        shared: !session.is_own(),
        waiting: None,
        last: None,
        client,
        number,
        params,
        request,
    };
    // Cancel safe: both arms may be dropped at any await, because `withdrawal` then cleans up.
    let outcome = tokio::select! {
        biased;
        outcome = acquisition.run() => outcome,
        loss = session.lost() => Err(stopped(loss)),
    };
    if outcome.is_ok() {
        acquisition.withdrawal.disarm();
    }
    outcome
}

/// The error of an acquisition whose session ended first.
fn stopped(loss: LeaseLoss) -> Error {
    Error::local(ErrorKind::SessionLost, format!("stopped waiting: {loss}"))
}

struct Acquisition<R: StreamedClaimRequest> {
    client: Client,
    number: SequenceNumber,
    params: AcquireParams,
    request: R,
    withdrawal: Withdrawal<R>,
    limit: Option<Instant>,
    /// The session has other writes, too.
    shared: bool,
    /// The claims, once the server reported that they wait.
    waiting: Option<Vec<ClaimRecord>>,
    /// Why the last attempt failed.
    last: Option<Error>,
}

impl<R: StreamedClaimRequest> Acquisition<R> {
    async fn run(&mut self) -> Result<Vec<ClaimRecord>, Error> {
        let Some(limit) = self.limit else {
            return self.repeat().await;
        };
        match timeout_at(limit, self.repeat()).await {
            Ok(outcome) => outcome,
            Err(_) if self.waiting.is_some() => Err(Error::local(
                ErrorKind::WaitOver,
                "the claim was not granted within the requested wait",
            )),
            // No server has confirmed the claim, so this is not just a wait that timed out.
            Err(_) => {
                let last = self.last.take();
                Err(last.unwrap_or_else(|| Error::deadline(Operation::Write)))
            }
        }
    }

    async fn repeat(&mut self) -> Result<Vec<ClaimRecord>, Error> {
        let mut resume = Resume::default();
        loop {
            let error = match self.attempt(&mut resume).await {
                Ok(claims) => return self.complete(claims),
                Err(error) => error,
            };
            if error.kind() == ErrorKind::RequestForgotten
                && let Some(claims) = self.waiting.clone()
            {
                let followed = self.follow(claims).await;
                return followed.inspect_err(|error| self.withdrawal.refused(error, true));
            }
            if error.kind() == ErrorKind::LeaseLost {
                self.number.session().forgotten();
                return Err(stopped(LeaseLoss::Ended));
            }
            if !error.allows_resume() {
                let repeated = self.last.is_some() || self.waiting.is_some();
                self.withdrawal.refused(&error, repeated);
                return Err(error);
            }
            tracing::debug!(%error, "waiting for a claim resumes");
            self.last = Some(error);
            sleep(resume.next_pause()).await;
        }
    }

    /// Sends the request and reads the stream to its end.
    async fn attempt(&mut self, resume: &mut Resume) -> Result<Vec<ClaimRecord>, Error> {
        let mut answers = open(&self.request, &self.client, &self.number).await?;
        resume.opened();
        // The first message comes as soon as the request is executed; after it, silence means that
        // the claim waits.
        let mut limit = Some(self.client.deadline(None));
        loop {
            let message = next(&mut answers, &self.client, limit.take()).await?;
            match R::read(message) {
                Some(ClaimState::Granted(claims)) => return Ok(claims),
                Some(ClaimState::Waiting(claims, place)) => self.wait(claims, &place),
                None => {}
            }
        }
    }

    /// The claims, if they are on the requested names. A server that grants others would do so
    /// again: the request is not repeated, and the claims are withdrawn.
    fn complete(&mut self, claims: Vec<ClaimRecord>) -> Result<Vec<ClaimRecord>, Error> {
        let granted = claims.iter().map(|claim| &claim.name);
        if granted.eq(&self.params.names) {
            return Ok(claims);
        }
        self.withdrawal.executed();
        let text = "the server granted other names than requested";
        Err(Error::local(ErrorKind::Internal, text))
    }

    fn wait(&mut self, claims: Vec<ClaimRecord>, place: &QueuePlace) {
        self.waiting = Some(claims);
        self.withdrawal.executed();
        if self.shared {
            // A long wait must not hold up the watermark of the session's other writes. Should the
            // server forget the request, the claim is found by its key.
            self.number.finish();
        }
        if let Some(listener) = &self.params.listener {
            listener(place);
        }
    }

    /// Waits for claims whose request the server has forgotten, by polling.
    async fn follow(&mut self, claims: Vec<ClaimRecord>) -> Result<Vec<ClaimRecord>, Error> {
        let mut backoff = Backoff::default();
        loop {
            match self.look(&claims).await {
                Ok(Some(held)) => return Ok(held),
                Ok(None) => {}
                Err(error) if error.allows_resume() => {
                    tracing::debug!(%error, "polling a claim failed");
                }
                Err(error) => return Err(error),
            }
            sleep(backoff.next_pause()).await;
        }
    }

    /// The claims with their current tokens, if all of them hold.
    async fn look(&self, claims: &[ClaimRecord]) -> Result<Option<Vec<ClaimRecord>>, Error> {
        let mut held = Vec::with_capacity(claims.len());
        for claim in claims {
            let found = self.client.get(&claim.key).await?;
            let Some(record) = found.first() else {
                let text = "the claim was removed from the queue";
                return Err(Error::local(ErrorKind::ClaimEnded, text));
            };
            // A transfer in the queue gives out new tokens.
            let token = Token::from(record.create_revision());
            let check = self.client.locks().check_token(&claim.name, token).await?;
            if !check.is_valid() {
                return Ok(None);
            }
            held.push(ClaimRecord {
                token,
                ..claim.clone()
            });
        }
        Ok(Some(held))
    }
}
