//! The handle of whoever leads.

use std::{fmt, future::Future, time::Duration};

use tenure_proto::v1::{HandOverRequest, ProclaimRequest, election_client::ElectionClient};
use tokio::time::Instant;
use tonic::Response;

use super::Leader;
use crate::{
    call::Call,
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    id::{LeaseId, Token},
    lock::{ClaimLoss, Hold},
    range::IntoBytes,
};

/// An election that is won.
///
/// Leading is a matter of time, as holding a lock is; see [`LockGuard`](crate::LockGuard) for what
/// that means. Dropping the handle resigns in the background, as long as the runtime lives;
/// without one, when the lease ends.
#[must_use = "the leader resigns when its handle is dropped"]
pub struct Leadership {
    hold: Hold,
}

impl Leadership {
    pub(super) fn new(hold: Hold) -> Self {
        Self { hold }
    }

    /// The epoch: greater than that of every leader before, and the fencing token of this one.
    #[must_use]
    pub fn epoch(&self) -> Token {
        self.hold.token()
    }

    /// The lease that the leader leads with.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.hold.lease()
    }

    /// Until when the lease certainly lives, see
    /// [`LockGuard::deadline`](crate::LockGuard::deadline).
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.hold.deadline()
    }

    /// Time until the [`deadline`](Self::deadline); nothing when the leadership is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.hold.remaining()
    }

    /// Makes sure that the lease certainly lives for so long.
    ///
    /// # Errors
    /// As for [`LockGuard::ensure`](crate::LockGuard::ensure).
    pub fn ensure(&self, needed: Duration) -> Result<(), Error> {
        self.hold.ensure(needed)
    }

    /// Whether this one leads as far as is known here. Once false, never true again.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.hold.loss().is_none()
    }

    /// Waits until the leadership is lost, see [`LockGuard::lost`](crate::LockGuard::lost).
    ///
    /// # Cancel safety
    /// Cancel safe: a loss is final and is reported to every later call.
    pub async fn lost(&self) -> ClaimLoss {
        self.hold.lost().await
    }

    /// A client on which every write carries the epoch: it is refused once another leads.
    #[must_use]
    pub fn guarded(&self) -> Client {
        self.hold.guarded()
    }

    /// Runs `work` until it is done or the leadership is lost; then it is dropped where it waits.
    ///
    /// # Errors
    /// Why the leadership was lost.
    ///
    /// # Cancel safety
    /// As cancel safe as `work`, which is dropped with the future.
    pub async fn run<Work: Future>(&self, work: Work) -> Result<Work::Output, ClaimLoss> {
        self.hold.run(work).await
    }

    /// Proclaims another value.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) or [`NotHolder`](crate::ErrorKind::NotHolder)
    /// when another may lead, and whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the value is proclaimed.
    pub async fn proclaim(&self, value: impl IntoBytes) -> Result<(), Error> {
        self.hold.ensure(Duration::ZERO)?;
        let Some(claim) = self.hold.claims().first() else {
            return Ok(());
        };
        let request = ProclaimRequest {
            name: claim.name.clone(),
            epoch: claim.token.get(),
            value: value.into_bytes(),
            options: None,
        };
        let call = Call::tenure(Operation::Write, Lane::KeepAlive);
        let proclaimed = self
            .hold
            .client()
            .run(call, request, |channel, request| async move {
                let answer = ElectionClient::new(channel).proclaim(request).await;
                answer.map(Response::into_inner)
            });
        proclaimed.await.map(drop)
    }

    /// Steps down. The next candidate leads when this returns.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) or [`NotHolder`](crate::ErrorKind::NotHolder)
    /// when the leadership was lost before. Whatever any call can meet; it is then tried again in
    /// the background.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest to the background.
    pub async fn resign(self) -> Result<(), Error> {
        // The same as releasing a lock, for the server and here.
        self.hold.release().await
    }

    /// Steps down in favour of a candidate, known by its lease, who leads at once.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when no candidate stands with that lease,
    /// [`NotHolder`](crate::ErrorKind::NotHolder) when the leadership was lost before, and whatever
    /// any call can meet. It leads as before then, unless [`Error::outcome_unknown`] is true.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the candidate leads.
    pub async fn hand_over(&mut self, to: impl Into<LeaseId>) -> Result<Leader, Error> {
        self.hold.ensure(Duration::ZERO)?;
        let claim = self.hold.claims().first();
        let request = HandOverRequest {
            name: claim.map(|claim| claim.name.clone()).unwrap_or_default(),
            epoch: self.hold.token().get(),
            to_lease: to.into().get(),
            options: None,
        };
        let call = Call::tenure(Operation::Write, Lane::KeepAlive);
        let answer = self
            .hold
            .client()
            .run(call, request, |channel, request| async move {
                let answer = ElectionClient::new(channel).hand_over(request).await;
                answer.map(Response::into_inner)
            })
            .await?;
        self.hold.give_up();
        Ok(Leader::from(answer.leader.unwrap_or_default()))
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("epoch", &self.epoch())
            .field("loss", &self.hold.loss())
            .finish_non_exhaustive()
    }
}
