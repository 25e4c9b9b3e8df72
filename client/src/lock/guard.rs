//! The handle of whoever holds a lock.

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;
use tenure_proto::v1::{TransferRequest, lock_client::LockClient};
use tokio::time::Instant;
use tonic::Response;

use super::{ending::ClaimLoss, hold::Hold};
use crate::{
    call::Call,
    channel::Lane,
    client::Client,
    error::{Error, ErrorKind, Operation},
    id::{LeaseId, Token},
};

/// A lock that is held, or several that were granted together.
///
/// Holding is a matter of time: when renewals stop being acknowledged, the lease ends and the lock
/// goes to another. [`lost`](Self::lost) tells in time, for whoever runs; a process that is paused
/// is told too late. So let whatever the lock protects check the token: writes through
/// [`guarded`](Self::guarded) do, and [`fence`](crate::fence) helps elsewhere.
///
/// Dropping the guard releases the lock in the background, as long as the runtime lives; without
/// one, the lock is free when its lease ends. [`release`](Self::release) tells how it went.
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example(client: tenure::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let guard = client.lock("jobs/42").ttl(Duration::from_secs(5)).await?;
/// let store = guard.guarded();
/// guard
///     .run(async {
///         // Refused, should the lock have gone to another; dropped as soon as it is lost.
///         store.put("jobs/42/state", "done").await
///     })
///     .await??;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the lock is released when its guard is dropped"]
pub struct LockGuard {
    hold: Hold,
}

impl LockGuard {
    pub(crate) fn new(hold: Hold) -> Self {
        Self { hold }
    }

    /// The fencing token: greater than that of everybody who held the lock before. Of several
    /// locks, that of the first name in byte order; see [`token_of`](Self::token_of).
    #[must_use]
    pub fn token(&self) -> Token {
        self.hold.token()
    }

    /// The fencing token of one of several locks; nothing for a name that is not among them.
    #[must_use]
    pub fn token_of(&self, name: impl AsRef<[u8]>) -> Option<Token> {
        let name = name.as_ref();
        let claim = self.hold.claims().iter().find(|claim| claim.name == name);
        claim.map(|claim| claim.token)
    }

    /// What is locked, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &Bytes> {
        self.hold.claims().iter().map(|claim| &claim.name)
    }

    /// The lease that the lock is held with.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.hold.lease()
    }

    /// Until when the lease certainly lives, and with it the lock unless somebody ends it by
    /// force: counted from the sending of the last acknowledged renewal, less a margin for clocks
    /// that run at different speeds. It moves on with every renewal.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.hold.deadline()
    }

    /// Time until the [`deadline`](Self::deadline); nothing when the lock is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.hold.remaining()
    }

    /// Makes sure that the lease certainly lives for so long.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when it is lost or has less time left,
    /// [`NotHolder`](ErrorKind::NotHolder) when somebody else ended the claim. A lease with less
    /// time left may be renewed the next moment; the guard is as good as before.
    pub fn ensure(&self, needed: Duration) -> Result<(), Error> {
        self.hold.ensure(needed)
    }

    /// Whether the lock is held as far as is known here. Once false, never true again.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold.loss().is_none()
    }

    /// Waits until the lock is lost. It is ready before the server may grant the lock to another
    /// because the lease ran out; when somebody ends the claim by force, as soon as that is known.
    /// Several tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe: a loss is final and is reported to every later call.
    pub async fn lost(&self) -> ClaimLoss {
        self.hold.lost().await
    }

    /// A client on which every write carries the token: it is refused once the lock has gone to
    /// another, be it by a write that was under way for hours. It may outlive the guard.
    #[must_use]
    pub fn guarded(&self) -> Client {
        self.hold.guarded()
    }

    /// Runs `work` until it is done or the lock is lost; then it is dropped where it waits.
    ///
    /// # Errors
    /// Why the lock was lost.
    ///
    /// # Cancel safety
    /// As cancel safe as `work`, which is dropped with the future.
    pub async fn run<Work: Future>(&self, work: Work) -> Result<Work::Output, ClaimLoss> {
        self.hold.run(work).await
    }

    /// Gives the lock back. The next in line has it when this returns.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) or [`NotHolder`](ErrorKind::NotHolder) when it was lost
    /// before: others may have held it since. Whatever any call can meet; the release is then
    /// tried again in the background.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest to the background.
    pub async fn release(self) -> Result<(), Error> {
        self.hold.release().await
    }

    /// Hands the lock to another lease, under a new and greater token and without a moment in
    /// which nobody holds it: to a successor of this process, say. This guard holds nothing then.
    ///
    /// # Errors
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) for several locks at once, which
    /// cannot be handed on; [`NotHolder`](ErrorKind::NotHolder) when it was lost before;
    /// [`NotFound`](ErrorKind::NotFound) for a lease that does not exist; and whatever any call can
    /// meet. The guard holds as before then, unless [`Error::outcome_unknown`] is true.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the lock was handed on.
    pub async fn transfer(
        &mut self,
        to: impl Into<LeaseId>,
        principal: impl Into<String>,
    ) -> Result<Token, Error> {
        self.hold.ensure(Duration::ZERO)?;
        let [claim] = self.hold.claims() else {
            let text = "locks that were granted together cannot be transferred";
            return Err(Error::local(ErrorKind::FailedPrecondition, text));
        };
        let request = TransferRequest {
            name: claim.name.clone(),
            token: claim.token.get(),
            to_lease: to.into().get(),
            principal: principal.into(),
            options: None,
        };
        let call = Call::tenure(Operation::Write, Lane::KeepAlive);
        let answer = self
            .hold
            .client()
            .run(call, request, |channel, request| async move {
                let answer = LockClient::new(channel).transfer(request).await;
                answer.map(Response::into_inner)
            })
            .await?;
        self.hold.give_up();
        let claim = answer.claim.unwrap_or_default();
        Ok(Token::from(claim.token))
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names().collect();
        f.debug_struct("LockGuard")
            .field("names", &names)
            .field("token", &self.token())
            .field("loss", &self.hold.loss())
            .finish_non_exhaustive()
    }
}
