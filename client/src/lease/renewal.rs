//! The task behind a [`KeepAlive`](super::KeepAlive): renews over one stream, and opens another
//! when it breaks.
//!
//! The invariant: a renewal is due after a third of the TTL, and an attempt is bounded so that a
//! silent server leaves time for attempts elsewhere.

use std::{sync::Arc, time::Duration};

use tenure_proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, lease_client::LeaseClient,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

use super::keep_alive::{LeaseLoss, State};
use crate::{
    call::Call,
    channel::Lane,
    client::Client,
    error::{Error, ErrorKind, Operation},
    id::LeaseId,
    observe::Counters,
    response::Lease,
    retry::Backoff,
};

/// Renewals per TTL: two may be lost before the lease expires.
const RENEWALS_PER_TTL: u32 = 3;
/// Parts of a TTL that one attempt may take: in the two thirds that are left when a renewal is due,
/// a silent server leaves time for three attempts elsewhere.
const ATTEMPTS_PER_TTL: u32 = 6;
/// Parts of a TTL that one pause between attempts may take, so that short leases survive a break.
const PAUSES_PER_TTL: u32 = 20;
/// Renewals under way: the next one is sent only after the response to the previous one.
const REQUESTS_MAX: usize = 1;

/// Parts of a TTL by which the clock of a server may run ahead of this one during it. Quartz clocks
/// are off by 100 ppm; a virtual machine's clock under correction by 500 ppm. A hundredth is twenty
/// times that.
const DRIFT_PARTS: u32 = 100;
/// Fixed part of the margin: timers are late by a few milliseconds, and the owner needs time to
/// react to a loss.
const DRIFT_MIN: Duration = Duration::from_millis(5);

/// Start and TTL of a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    /// When the grant or the renewal was sent.
    pub(crate) sent: Instant,
    pub(crate) ttl: Duration,
}

impl Term {
    /// The term after a renewal sent at `sent`. Responses round the TTL up to seconds, so that of
    /// the grant may be shorter.
    pub(crate) fn renewed(&self, sent: Instant, renewal: &Lease) -> Self {
        let ttl = self.ttl.min(renewal.ttl());
        Self { sent, ttl }
    }

    fn due(&self) -> Instant {
        self.sent + self.ttl / RENEWALS_PER_TTL
    }

    /// The time until which the lease is certainly held.
    pub(crate) fn deadline(&self) -> Instant {
        let margin = self.ttl / DRIFT_PARTS + DRIFT_MIN;
        self.sent + self.ttl.saturating_sub(margin)
    }
}

/// An open stream of renewals.
#[derive(Debug)]
struct Link {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

pub(super) struct Renewer {
    client: Client,
    id: LeaseId,
    state: Arc<watch::Sender<State>>,
    link: Option<Link>,
    backoff: Backoff,
}

impl Renewer {
    pub(super) fn new(client: Client, id: LeaseId, state: Arc<watch::Sender<State>>) -> Self {
        Self {
            client,
            id,
            state,
            link: None,
            backoff: Backoff::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let loss = loop {
            let term = self.state.borrow().term;
            sleep_until(term.due()).await;
            if self.state.borrow().loss.is_some() {
                return;
            }
            let Ok((sent, answer)) = timeout_at(term.deadline(), self.renew(term)).await else {
                break LeaseLoss::Unconfirmed;
            };
            if answer.ttl().is_zero() {
                break LeaseLoss::Ended;
            }
            let mut in_time = false;
            let next = term.renewed(sent, &answer);
            self.state
                .send_modify(|state| in_time = state.renew(next, answer));
            if !in_time {
                break LeaseLoss::Unconfirmed;
            }
            Counters::count(&self.client.counters().renewals);
        };
        self.state.send_if_modified(|state| state.end(loss));
        // Another reason may have been recorded first.
        if self.state.borrow().loss == Some(LeaseLoss::Unconfirmed) {
            Counters::count(&self.client.counters().lease_deadline_misses);
        }
    }

    /// Retries until a server responds; the caller bounds it by the deadline of the lease.
    async fn renew(&mut self, term: Term) -> (Instant, Lease) {
        loop {
            let sent = Instant::now();
            let limit = sent + term.ttl / ATTEMPTS_PER_TTL;
            match timeout_at(limit, self.attempt()).await {
                Ok(Ok(answer)) => {
                    self.backoff.reset();
                    return (sent, Lease::renewed(answer));
                }
                Ok(Err(error)) => tracing::debug!(lease = %self.id, %error, "renewal failed"),
                Err(_) => {
                    tracing::debug!(lease = %self.id, "renewal was not answered");
                    self.client.move_on();
                }
            }
            self.link = None;
            let pause = self.backoff.next_pause().min(term.ttl / PAUSES_PER_TTL);
            tokio::time::sleep(pause).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_held_for_its_ttl_less_a_margin_from_when_the_renewal_was_sent() {
        let sent = Instant::now();
        for (ttl, held, due) in [(200, 193, 66), (1_500, 1_480, 500), (10_000, 9_895, 3_333)] {
            let term = Term {
                sent,
                ttl: Duration::from_millis(ttl),
            };
            assert_eq!(term.deadline() - sent, Duration::from_millis(held));
            assert_eq!((term.due() - sent).as_millis(), due);
        }
        let tiny = Term {
            sent,
            ttl: Duration::from_millis(3),
        };
        assert_eq!(tiny.deadline(), sent, "never before it was sent");
    }
}
