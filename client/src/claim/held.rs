//! Claims that are held: their tokens, their deadline, and detection of their loss. Shared by locks
//! and elections, whose handles get their common methods from [`held_claim_methods`].
//!
//! Invariant: [`lost`](HeldClaims::lost) is ready before the server may grant the claim to another
//! because the lease expired, counted on the client's own clock. A claim that is released by force
//! is granted to the next at once; then the watch on its key reports the loss, and until it does
//! only the token protects.

use std::{future::Future, time::Duration};

use tenure_proto::v1::{ReleaseRequest, lock_client::LockClient};
use tokio::time::{Instant, sleep};

use super::{
    acquisition::ClaimRecord,
    session::ClaimSession,
    termination::{ClaimLoss, Termination},
};
use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    conditions::Guard,
    error::{Error, ErrorKind, Operation},
    id::{LeaseId, Token},
    lease::LeaseLoss,
    retry::Backoff,
};

/// Claims that were granted together. Released when dropped.
#[derive(Debug)]
pub(crate) struct HeldClaims {
    /// Writes through it belong to the claim's session.
    client: Client,
    /// Releases, without the guards of the user's client, which may be stale by then. The tokens
    /// identify the claims.
    releasing: Client,
    /// The user's client, from which `guarded` is made.
    plain: Client,
    session: ClaimSession,
    claims: Vec<ClaimRecord>,
    termination: Termination,
}

impl HeldClaims {
    pub(crate) fn new(plain: Client, session: ClaimSession, claims: Vec<ClaimRecord>) -> Self {
        let keys = claims.iter().map(|claim| (claim.key.clone(), claim.token));
        Self {
            client: session.attach(&plain),
            releasing: session.attach(&plain.bare()),
            termination: Termination::watch(plain.clone(), keys.collect()),
            plain,
            session,
            claims,
        }
    }

    pub(crate) fn claims(&self) -> &[ClaimRecord] {
        &self.claims
    }

    pub(crate) fn token(&self) -> Token {
        let first = self.claims.first();
        first.map_or(Token::new(0), |claim| claim.token)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.session.lease()
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.session.deadline()
    }

    /// Why the claim is lost, if it is known to be. Checks the clock.
    pub(crate) fn loss(&self) -> Option<ClaimLoss> {
        let ended = self.termination.reason();
        let lease = || ClaimLoss::Lease(LeaseLoss::Unconfirmed);
        ended.or_else(|| (!self.session.is_held()).then(lease))
    }

    pub(crate) fn remaining(&self) -> Duration {
        if self.loss().is_some() {
            return Duration::ZERO;
        }
        self.deadline().saturating_duration_since(Instant::now())
    }

    pub(crate) fn ensure(&self, needed: Duration) -> Result<(), Error> {
        if let Some(loss) = self.loss() {
            return Err(lost_error(loss));
        }
        let left = self.remaining();
        if left < needed {
            let text = format!("the lease is certain for {left:?} only; {needed:?} are needed");
            return Err(Error::local(ErrorKind::LeaseLost, text));
        }
        Ok(())
    }

    pub(crate) async fn lost(&self) -> ClaimLoss {
        // Cancel safe: both arms wait for final states.
        tokio::select! {
            biased;
            loss = self.termination.wait() => loss,
            loss = self.session.lost() => ClaimLoss::Lease(loss),
        }
    }

    pub(crate) async fn run<Work: Future>(&self, work: Work) -> Result<Work::Output, ClaimLoss> {
        // Cancel safe: `lost` is; dropping `work` at the loss is the purpose.
        tokio::select! {
            biased;
            loss = self.lost() => Err(loss),
            output = work => Ok(output),
        }
    }

    pub(crate) fn guarded(&self) -> Client {
        let guards = self.claims.iter();
        let guards = guards.map(|claim| Guard::new(claim.name.clone(), claim.token));
        self.plain.guarded(guards.collect::<Vec<_>>())
    }

    /// Records that the claims ended by a call made here.
    pub(crate) fn give_up(&self) {
        self.termination.record(ClaimLoss::Released);
    }

    /// Makes a call that passes the claims on if it succeeds.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`] or [`ErrorKind::NotHolder`] when they are lost, and those of the
    /// call.
    pub(crate) async fn pass_on<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.ensure(Duration::ZERO)?;
        self.termination.end_by(call).await
    }

    /// Releases every claim, and closes the session unless it is shared.
    pub(crate) async fn release(self) -> Result<(), Error> {
        self.ensure(Duration::ZERO)?;
        self.give_up();
        let mut outcome = Ok(());
        for claim in &self.claims {
            // Each of them, even if others fail.
            outcome = outcome.and(release(&self.releasing, claim).await);
        }
        if outcome.is_ok() {
            self.close();
        }
        outcome
    }

    /// Drops the handle of claims that were released already.
    pub(crate) fn close(mut self) {
        self.give_up();
        self.claims.clear();
    }
}

/// Implements, for a handle with a field `held: HeldClaims`, the methods that all handles share.
macro_rules! held_claim_methods {
    ($handle:ty) => {
        impl $handle {
            /// The lease that the claim is held with.
            #[must_use]
            pub fn lease(&self) -> $crate::LeaseId {
                self.held.lease()
            }

            /// Until when the lease certainly lives, and with it the claim unless it is released by
            /// force: counted from the sending of the last acknowledged renewal, less a margin for
            /// clocks that run at different speeds. Every renewal extends it. The clock stops while
            /// the machine is suspended: writes that must not happen after the lease ended need
            /// [`guarded`](Self::guarded).
            #[must_use]
            pub fn deadline(&self) -> tokio::time::Instant {
                self.held.deadline()
            }

            /// Time until the [`deadline`](Self::deadline); nothing when the claim is lost.
            #[must_use]
            pub fn remaining(&self) -> std::time::Duration {
                self.held.remaining()
            }

            /// Checks that the lease certainly lives for `needed`.
            ///
            /// # Errors
            /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when it is lost or has less time left,
            /// [`NotHolder`](crate::ErrorKind::NotHolder) when another client ended the claim. A
            /// lease with less time left may be renewed the next moment; the handle is as good as
            /// before.
            pub fn ensure(&self, needed: std::time::Duration) -> Result<(), $crate::Error> {
                self.held.ensure(needed)
            }

            /// Waits until the claim is lost. It is ready before the server may grant it to another
            /// because the lease expired, unless this machine was suspended; after a forced
            /// release, as soon as that is known. Several tasks may wait.
            ///
            /// # Cancel safety
            /// Cancel safe: a loss is final and is reported to every later call.
            pub async fn lost(&self) -> $crate::ClaimLoss {
                self.held.lost().await
            }

            /// A client whose every write carries the token: a write is refused once the claim was
            /// granted to another client, even if it was sent before. It may outlive the handle.
            #[must_use]
            pub fn guarded(&self) -> $crate::Client {
                self.held.guarded()
            }

            /// Runs `work` until it completes or the claim is lost, which drops it at its current
            /// await.
            ///
            /// # Errors
            /// Why the claim was lost.
            ///
            /// # Cancel safety
            /// As cancel safe as `work`, which is dropped with the future.
            pub async fn run<Work: Future>(
                &self,
                work: Work,
            ) -> Result<Work::Output, $crate::ClaimLoss> {
                self.held.run(work).await
            }
        }
    };
}
pub(crate) use held_claim_methods;

impl Drop for HeldClaims {
    fn drop(&mut self) {
        self.give_up();
        let claims = std::mem::take(&mut self.claims);
        if !self.session.is_own() && claims.is_empty() {
            return;
        }
        let (client, session) = (self.releasing.clone(), self.session.clone());
        self.session
            .in_background(release_all(client, session, claims));
    }
}

fn lost_error(loss: ClaimLoss) -> Error {
    let kind = match loss {
        ClaimLoss::Lease(_) => ErrorKind::LeaseLost,
        ClaimLoss::Revoked | ClaimLoss::Released => ErrorKind::NotHolder,
    };
    Error::local(kind, loss.to_string())
}

async fn release(client: &Client, claim: &ClaimRecord) -> Result<(), Error> {
    let request = ReleaseRequest {
        name: claim.name.clone(),
        token: claim.token.get(),
        options: None,
    };
    let call = Call::tenure(Operation::Write, Lane::KeepAlive);
    rpc!(client, call, LockClient.release(request))
        .await
        .map(drop)
}

/// Releases claims until the session ends, and the claims with it.
async fn release_all(client: Client, session: ClaimSession, mut claims: Vec<ClaimRecord>) {
    if session.is_own() {
        return session.close().await;
    }
    let mut backoff = Backoff::default();
    while let Some(claim) = claims.last()
        && session.is_held()
    {
        match release(&client, claim).await {
            Err(error) if error.needs_retry() => {
                tracing::debug!(%error, "releasing a claim failed; trying again");
                sleep(backoff.next_pause()).await;
                continue;
            }
            Err(error) => {
                tracing::debug!(name = ?claim.name, %error, "a claim had ended before its release")
            }
            Ok(()) => {}
        }
        claims.pop();
    }
}
