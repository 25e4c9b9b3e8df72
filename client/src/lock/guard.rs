//! The handle of held locks.

use std::{fmt, time::Duration};

use bytes::Bytes;
use tenure_proto::v1::{TransferRequest, lock_client::LockClient};

use crate::{
    call::{Call, rpc},
    channel::Lane,
    claim::{HeldClaims, held_claim_methods},
    error::{Error, ErrorKind, Operation},
    id::{LeaseId, Token},
};

/// A held lock, or several locks that were granted together.
///
/// A lock is bound to a lease: when renewals are no longer acknowledged, the lease expires and the
/// lock is granted to another client. [`lost`](Self::lost) reports that in time to a running
/// process, but too late to one that was paused. So the protected resource should check the fencing
/// token: writes through [`guarded`](Self::guarded) do, and [`fence`](crate::fence) helps for other
/// resources.
///
/// Dropping the guard releases the lock in the background as long as the runtime runs, otherwise
/// when its lease ends. [`release`](Self::release) returns the result.
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example(client: tenure::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let guard = client.locks().acquire("jobs/42").ttl(Duration::from_secs(5)).await?;
/// let store = guard.guarded();
/// guard
///     .run(async {
///         // Refused if the lock was granted to another client; dropped when it is lost.
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

    /// The fencing token of one of several locks; `None` for a name that is not among them.
    #[must_use]
    pub fn token_of(&self, name: impl AsRef<[u8]>) -> Option<Token> {
        let name = name.as_ref();
        let claim = self.held.claims().iter().find(|claim| claim.name == name);
        claim.map(|claim| claim.token)
    }

    /// The names of the locks, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &Bytes> {
        self.held.claims().iter().map(|claim| &claim.name)
    }

    /// Whether the lock is not known to be lost. Once false, it stays false.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.loss().is_none()
    }

    /// Releases the lock. The next claim in the queue holds it when this returns.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) or [`NotHolder`](ErrorKind::NotHolder) when it was lost
    /// before: other clients may have held it since. The errors common to all calls; the client
    /// then retries the release in the background.
    ///
    /// # Cancel safety
    /// Dropping the future lets the call finish in the background.
    pub async fn release(self) -> Result<(), Error> {
        self.held.release().await
    }

    /// Transfers the lock to another lease, such as that of a successor process, under a new and
    /// greater token and without releasing it in between. This guard no longer holds it then.
    ///
    /// # Errors
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) for several locks at once, which
    /// cannot be transferred; [`NotHolder`](ErrorKind::NotHolder) when it was lost before;
    /// [`NotFound`](ErrorKind::NotFound) for a lease that does not exist; and the errors common to
    /// all calls. The guard still holds the lock after an error, unless [`Error::outcome_unknown`]
    /// is true.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the lock was transferred.
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
        let transferred = rpc!(self.held.client(), call, LockClient.transfer(request));
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
