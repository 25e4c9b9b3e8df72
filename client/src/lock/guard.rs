//! The handle of locks that are held.

use std::{fmt, time::Duration};

use bytes::Bytes;
use tenure_proto::v1::{TransferRequest, lock_client::LockClient};

use crate::{
    call::{Call, ask},
    channel::Lane,
    claim::{HeldClaims, held_claim_methods},
    error::{Error, ErrorKind, Operation},
    id::{LeaseId, Token},
};

/// A lock that is held, or several that were granted together.
///
/// Holding is a matter of time: when renewals stop being acknowledged, the lease ends and the lock
/// goes to another. [`lost`](Self::lost) reports that in time to a process that runs, and too late
/// to one that is paused. So let what the lock protects check the token: writes through
/// [`guarded`](Self::guarded) do, and [`fence`](crate::fence) helps elsewhere.
///
/// Dropping the guard releases the lock in the background, as long as the runtime lives; without
/// one, the lock is free when its lease ends. [`release`](Self::release) tells how it went.
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example(client: tenure::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let guard = client.locks().acquire("jobs/42").ttl(Duration::from_secs(5)).await?;
/// let store = guard.guarded();
/// guard
///     .run(async {
///         // Refused, should the lock have gone to another; dropped as soon as it is lost.
///         store.put("state/jobs/42", "done").await
///     })
///     .await??;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the lock is released when its guard is dropped"]
pub struct LockGuard {
    held: HeldClaims,
}

impl LockGuard {
    pub(crate) fn new(held: HeldClaims) -> Self {
        Self { held }
    }

    /// The fencing token: greater than those of all earlier holders of the lock. Of several
    /// locks, that of the first name in byte order; see [`token_of`](Self::token_of).
    #[must_use]
    pub fn token(&self) -> Token {
        self.held.token()
    }

    /// The fencing token of one of several locks; nothing for a name that is not among them.
    #[must_use]
    pub fn token_of(&self, name: impl AsRef<[u8]>) -> Option<Token> {
        let name = name.as_ref();
        let claim = self.held.claims().iter().find(|claim| claim.name == name);
        claim.map(|claim| claim.token)
    }

    /// What is locked, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &Bytes> {
        self.held.claims().iter().map(|claim| &claim.name)
    }

    /// Whether the lock is held as far as is known here. Once false, never true again.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.loss().is_none()
    }

    /// Releases the lock. The next in the queue has it when this returns.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) or [`NotHolder`](ErrorKind::NotHolder) when it was lost
    /// before: others may have held it since. Whatever any call can meet; the release is then
    /// tried again in the background.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest to the background.
    pub async fn release(self) -> Result<(), Error> {
        self.held.release().await
    }

    /// Hands the lock to another lease, under a new and greater token and without a moment in
    /// which it is free: to a successor of this process, say. This guard holds nothing then.
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
        to: LeaseId,
        principal: impl Into<String>,
    ) -> Result<Token, Error> {
        self.held.ensure(Duration::ZERO)?;
        let [claim] = self.held.claims() else {
            let text = "locks that were granted together cannot be transferred";
            return Err(Error::local(ErrorKind::FailedPrecondition, text));
        };
        let request = TransferRequest {
            name: claim.name.clone(),
            token: claim.token.get(),
            to_lease: to.get(),
            principal: principal.into(),
            options: None,
        };
        let call = Call::tenure(Operation::Write, Lane::KeepAlive);
        let transferred = ask!(self.held.client(), call, LockClient.transfer(request));
        let answer = self.held.pass_on(transferred).await?;
        let claim = answer.claim.unwrap_or_default();
        Ok(Token::new(claim.token))
    }
}

held_claim_methods!(LockGuard);

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names().collect();
        f.debug_struct("LockGuard")
            .field("names", &names)
            .field("token", &self.token())
            .field("loss", &self.held.loss())
            .finish_non_exhaustive()
    }
}
