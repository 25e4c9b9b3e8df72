//! Renews one lease until its handle is dropped or the lease is lost.
//!
//! The invariant: a loss is reported no later than the lease can end at the server. Deadlines count
//! from the moment the last acknowledged renewal was *sent*, which is never later than the moment
//! the server counts from.

use std::time::Duration;

use tenure_proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, lease_client::LeaseClient,
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

use crate::{
    channel::Lane,
    client::{Call, Client},
    error::{Error, ErrorKind, Operation},
    id::LeaseId,
    retry::Backoff,
};

/// Renewals per TTL: two may be lost before the lease is in danger.
const RENEWALS_PER_TTL: u32 = 3;
/// Parts of a TTL that one attempt may take: in the two thirds that are left when a renewal is due,
/// a silent server leaves time for three attempts elsewhere.
const ATTEMPTS_PER_TTL: u32 = 6;
/// Renewals on the way: the next one is sent only after the answer to the one before.
const REQUESTS_MAX: usize = 1;

/// Why a lease is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseLoss {
    /// The server said that the lease does not exist any more.
    #[error("the lease expired or was revoked")]
    Ended,
    /// No renewal was acknowledged in time. The server may still know the lease, but it owes
    /// nothing any more.
    #[error("no renewal of the lease was acknowledged in time")]
    Unconfirmed,
}

/// The last acknowledged renewal.
#[derive(Debug, Clone, Copy)]
struct Renewal {
    sent: Instant,
    answer: LeaseKeepAliveResponse,
}

impl Renewal {
    fn ttl(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.answer.ttl).unwrap_or(0))
    }

    fn due(&self) -> Instant {
        self.sent + self.ttl() / RENEWALS_PER_TTL
    }

    fn deadline(&self) -> Instant {
        self.sent + self.ttl()
    }
}

/// What the renewing task tells the handle.
#[derive(Debug, Clone, Copy)]
struct State {
    renewal: Renewal,
    loss: Option<LeaseLoss>,
}

/// A lease that is being renewed. Dropping the handle stops the renewals; the lease then ends by
/// itself, or at once by [`Client::lease_revoke`].
#[derive(Debug)]
pub struct KeepAlive {
    id: LeaseId,
    state: watch::Receiver<State>,
    task: AbortHandle,
}

impl KeepAlive {
    pub(super) async fn start(client: Client, id: LeaseId) -> Result<Self, Error> {
        let sent = Instant::now();
        let answer = client.lease_keep_alive_once(id).await?;
        let renewal = Renewal { sent, answer };
        let (sender, state) = watch::channel(State {
            renewal,
            loss: None,
        });
        let renewer = Renewer {
            client,
            id,
            link: None,
            backoff: Backoff::default(),
        };
        let task = tokio::spawn(renewer.run(renewal, sender)).abort_handle();
        Ok(Self { id, state, task })
    }

    /// The lease.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The answer to the last renewal.
    #[must_use]
    pub fn last_answer(&self) -> LeaseKeepAliveResponse {
        self.state.borrow().renewal.answer
    }

    /// The TTL the server gave with the last renewal.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.state.borrow().renewal.ttl()
    }

    /// Until when the lease is certainly held, counted from the sending of the last acknowledged
    /// renewal.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.state.borrow().renewal.deadline()
    }

    /// Whether the lease is certainly held at this moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let state = *self.state.borrow();
        state.loss.is_none() && Instant::now() < state.renewal.deadline()
    }

    /// Waits until the lease is lost. Several tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe: a loss is final and is reported to every later call.
    pub async fn lost(&self) -> LeaseLoss {
        let mut state = self.state.clone();
        match state.wait_for(|state| state.loss.is_some()).await {
            Ok(state) => state.loss.unwrap_or(LeaseLoss::Unconfirmed),
            // The task ended without a word, which happens when the runtime shuts down.
            Err(_) => LeaseLoss::Unconfirmed,
        }
    }

    /// Waits for the next renewal, or returns nothing when the lease is lost. Renewals that nobody
    /// waited for are skipped.
    ///
    /// # Cancel safety
    /// Cancel safe: a renewal that is not returned is returned by the next call.
    pub async fn renewed(&mut self) -> Option<LeaseKeepAliveResponse> {
        self.state.changed().await.ok()?;
        let state = *self.state.borrow_and_update();
        state.loss.is_none().then_some(state.renewal.answer)
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An open stream of renewals.
#[derive(Debug)]
struct Link {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

/// The task behind a [`KeepAlive`].
struct Renewer {
    client: Client,
    id: LeaseId,
    link: Option<Link>,
    backoff: Backoff,
}

impl Renewer {
    async fn run(mut self, mut renewal: Renewal, state: watch::Sender<State>) {
        let loss = loop {
            sleep_until(renewal.due()).await;
            match timeout_at(renewal.deadline(), self.renew(&renewal)).await {
                Ok(next) if next.answer.ttl > 0 => {
                    renewal = next;
                    state.send_replace(State {
                        renewal,
                        loss: None,
                    });
                }
                Ok(_) => break LeaseLoss::Ended,
                Err(_) => break LeaseLoss::Unconfirmed,
            }
        };
        state.send_replace(State {
            renewal,
            loss: Some(loss),
        });
    }

    /// Tries until a server answers; the caller ends it when the lease is over.
    async fn renew(&mut self, last: &Renewal) -> Renewal {
        loop {
            let sent = Instant::now();
            let limit = sent + last.ttl() / ATTEMPTS_PER_TTL;
            match timeout_at(limit, self.attempt()).await {
                Ok(Ok(answer)) => {
                    self.backoff.reset();
                    return Renewal { sent, answer };
                }
                Ok(Err(error)) => tracing::debug!(lease = %self.id, %error, "renewal failed"),
                Err(_) => {
                    tracing::debug!(lease = %self.id, "renewal was not answered");
                    self.client.move_on();
                }
            }
            self.link = None;
            tokio::time::sleep(self.backoff.next_pause()).await;
        }
    }

    async fn attempt(&mut self) -> Result<LeaseKeepAliveResponse, Error> {
        let request = LeaseKeepAliveRequest { id: self.id.get() };
        let broken = |status| Error::from_status(status, Operation::Read, "server");
        let closed = || Error::local(ErrorKind::Unavailable, "the keep-alive stream was closed");
        let Some(link) = &mut self.link else {
            let call = Call::stream(Lane::KeepAlive, None);
            let (link, answer) = self.client.run(call, request, open).await?;
            self.link = Some(link);
            return Ok(answer);
        };
        link.requests.send(request).await.map_err(|_| closed())?;
        link.answers
            .message()
            .await
            .map_err(broken)?
            .ok_or_else(closed)
    }
}

/// Opens a stream with a first renewal on it, and waits for the answer.
async fn open(
    channel: Channel,
    request: Request<LeaseKeepAliveRequest>,
) -> Result<(Link, LeaseKeepAliveResponse), Status> {
    let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
    let first = requests
        .clone()
        .try_reserve_owned()
        .expect("a new channel has room");
    let request = request.map(|renewal| {
        first.send(renewal);
        ReceiverStream::new(outgoing)
    });
    let mut answers = LeaseClient::new(channel)
        .lease_keep_alive(request)
        .await?
        .into_inner();
    let answer = answers.message().await?;
    let answer = answer.ok_or_else(|| Status::unavailable("the keep-alive stream was closed"))?;
    Ok((Link { requests, answers }, answer))
}
