//! What a holder has: tokens, a deadline, and word of the loss. Shared by locks and elections,
//! whose handles get their common methods from [`holder`].
//!
//! The invariant: [`lost`](Hold::lost) is ready before the server may grant to another because the
//! lease ran out, counted on the client's own clock. When somebody ends a claim by force it is
//! granted to the next at once; then the watch on its key tells, and until it does only the token
//! protects.

use std::{future::Future, time::Duration};

use tenure_proto::v1::{ReleaseRequest, lock_client::LockClient};
use tokio::time::{Instant, sleep};

use super::{
    ending::{ClaimLoss, Ending},
    pursuit::Claimed,
    tenancy::Tenancy,
};
use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    conditions::Guard,
    error::{Error, ErrorKind, Operation},
    id::{LeaseId, Token},
    lease::LeaseLoss,
    retry::Backoff,
};

/// Claims that were granted together.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Writes through it belong to the claim's session.
    client: Client,
    /// Gives back: without the guards of the user's client, which may be stale by then. The tokens
    /// say what is meant.
    giving_back: Client,
    /// As the user gave it; `guarded` starts from this one.
    plain: Client,
    tenancy: Tenancy,
    claims: Vec<Claimed>,
    ending: Ending,
}

impl Hold {
    /// Takes care of claims from now on: watches their keys, and releases them when dropped.
    pub(crate) fn new(plain: Client, tenancy: Tenancy, claims: Vec<Claimed>) -> Self {
        let keys = claims.iter().map(|claim| (claim.key.clone(), claim.token));
        Self {
            client: tenancy.session().attach(&plain),
            giving_back: tenancy.session().attach(&plain.bare()),
            ending: Ending::watch(plain.clone(), keys.collect()),
            plain,
            tenancy,
            claims,
        }
    }

    pub(crate) fn claims(&self) -> &[Claimed] {
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
        self.tenancy.session().lease()
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.tenancy.session().deadline()
    }

    /// Why the claim is lost, if it is known to be. The clock is looked at.
    pub(crate) fn loss(&self) -> Option<ClaimLoss> {
        let told = self.ending.told();
        let lease = || ClaimLoss::Lease(LeaseLoss::Unconfirmed);
        told.or_else(|| (!self.tenancy.session().is_held()).then(lease))
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
            let text = format!("the lease is certain for {left:?} only, and {needed:?} are needed");
            return Err(Error::local(ErrorKind::LeaseLost, text));
        }
        Ok(())
    }

    pub(crate) async fn lost(&self) -> ClaimLoss {
        // Both arms wait for states that stay.
        tokio::select! {
            biased;
            loss = self.ending.wait() => loss,
            loss = self.tenancy.session().lost() => ClaimLoss::Lease(loss),
        }
    }

    pub(crate) async fn run<Work: Future>(&self, work: Work) -> Result<Work::Output, ClaimLoss> {
        // Dropping the work at the loss is what this is for.
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

    /// The claim is over, by a call made here.
    pub(crate) fn give_up(&self) {
        self.ending.tell(ClaimLoss::GivenUp);
    }

    /// Releases every claim, and ends the session if it is their own.
    pub(crate) async fn release(self) -> Result<(), Error> {
        self.ensure(Duration::ZERO)?;
        self.give_up();
        let mut outcome = Ok(());
        for claim in &self.claims {
            // Each of them, whatever became of the others.
            outcome = outcome.and(release(&self.giving_back, claim).await);
        }
        if outcome.is_ok() {
            self.leave();
        }
        outcome
    }

    /// The claims are over; what is left is a session without them.
    pub(crate) fn leave(mut self) {
        self.give_up();
        self.claims.clear();
    }
}

/// Gives a handle with a field `hold` the methods that every holder has.
macro_rules! holder {
    ($handle:ty) => {
        impl $handle {
            /// The lease that the claim is held with.
            #[must_use]
            pub fn lease(&self) -> $crate::LeaseId {
                self.hold.lease()
            }

            /// Until when the lease certainly lives, and with it the claim unless somebody ends it
            /// by force: counted from the sending of the last acknowledged renewal, less a margin
            /// for clocks that run at different speeds. It moves on with every renewal. The clock
            /// of a machine that is suspended stands still: what must not be late after that needs
            /// [`guarded`](Self::guarded).
            #[must_use]
            pub fn deadline(&self) -> tokio::time::Instant {
                self.hold.deadline()
            }

            /// Time until the [`deadline`](Self::deadline); nothing when the claim is lost.
            #[must_use]
            pub fn remaining(&self) -> std::time::Duration {
                self.hold.remaining()
            }

            /// Makes sure that the lease certainly lives for so long.
            ///
            /// # Errors
            /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when it is lost or has less time left,
            /// [`NotHolder`](crate::ErrorKind::NotHolder) when somebody else ended the claim. A
            /// lease with less time left may be renewed the next moment; the handle is as good as
            /// before.
            pub fn ensure(&self, needed: std::time::Duration) -> Result<(), $crate::Error> {
                self.hold.ensure(needed)
            }

            /// Waits until the claim is lost. It is ready before the server may grant it to another
            /// because the lease ran out, unless this machine was suspended; when somebody ends it
            /// by force, as soon as that is known. Several tasks may wait.
            ///
            /// # Cancel safety
            /// Cancel safe: a loss is final and is reported to every later call.
            pub async fn lost(&self) -> $crate::ClaimLoss {
                self.hold.lost().await
            }

            /// A client on which every write carries the token: it is refused once the claim has
            /// gone to another, be it by a write that was under way for hours. It may outlive the
            /// handle.
            #[must_use]
            pub fn guarded(&self) -> $crate::Client {
                self.hold.guarded()
            }

            /// Runs `work` until it is done or the claim is lost; then it is dropped where it
            /// waits.
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
                self.hold.run(work).await
            }
        }
    };
}
pub(crate) use holder;

impl Drop for Hold {
    fn drop(&mut self) {
        self.give_up();
        let claims = std::mem::take(&mut self.claims);
        if !self.tenancy.is_own() && claims.is_empty() {
            return;
        }
        let (client, tenancy) = (self.giving_back.clone(), self.tenancy.clone());
        self.tenancy
            .in_background(release_all(client, tenancy, claims));
    }
}

fn lost_error(loss: ClaimLoss) -> Error {
    let kind = match loss {
        ClaimLoss::Lease(_) => ErrorKind::LeaseLost,
        ClaimLoss::Taken | ClaimLoss::GivenUp => ErrorKind::NotHolder,
    };
    Error::local(kind, loss.to_string())
}

async fn release(client: &Client, claim: &Claimed) -> Result<(), Error> {
    let request = ReleaseRequest {
        name: claim.name.clone(),
        token: claim.token.get(),
        options: None,
    };
    let call = Call::tenure(Operation::Write, Lane::KeepAlive);
    ask!(client, call, LockClient.release(request))
        .await
        .map(drop)
}

/// Releases what was dropped, for as long as the session lives: after it there is nothing left.
async fn release_all(client: Client, tenancy: Tenancy, mut claims: Vec<Claimed>) {
    if tenancy.is_own() {
        return tenancy.end().await;
    }
    let mut backoff = Backoff::default();
    while let Some(claim) = claims.last()
        && tenancy.session().is_held()
    {
        match release(&client, claim).await {
            Err(error) if error.leaves_undone() => {
                tracing::debug!(%error, "a release is tried again");
                sleep(backoff.next_pause()).await;
                continue;
            }
            Err(error) => tracing::debug!(name = ?claim.name, %error, "nothing to release"),
            Ok(()) => {}
        }
        claims.pop();
    }
}
