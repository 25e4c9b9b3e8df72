//! The handle of an election that is won.

use std::{fmt, time::Duration};

use bytes::Bytes;
use tenure_proto::v1::{HandOverRequest, ProclaimRequest, election_client::ElectionClient};

use super::Leader;
use crate::{
    call::{Call, ask},
    channel::Lane,
    claim::{HeldClaims, held_claim_methods},
    client::Client,
    error::{Error, Operation},
    id::{LeaseId, Token},
    range::IntoBytes,
};

/// An election that is won.
///
/// Leading is a matter of time, as holding a lock is; see [`LockGuard`](crate::LockGuard) for what
/// that means. Dropping the handle resigns in the background, as long as the runtime lives;
/// without one, when the lease ends.
#[must_use = "the leader resigns when its handle is dropped"]
pub struct Leadership {
    held: HeldClaims,
}

impl Leadership {
    pub(super) fn new(held: HeldClaims) -> Self {
        Self { held }
    }

    /// The epoch: greater than that of every leader before, and the fencing token of this one.
    #[must_use]
    pub fn epoch(&self) -> Token {
        self.held.token()
    }

    /// Whether this one leads as far as is known here. Once false, never true again.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.held.loss().is_none()
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
        self.held.ensure(Duration::ZERO)?;
        let Some(claim) = self.held.claims().first() else {
            return Ok(());
        };
        let request = ProclaimRequest {
            name: claim.name.clone(),
            epoch: claim.token.get(),
            value: value.into_bytes(),
            options: None,
        };
        let call = Call::tenure(Operation::Write, Lane::KeepAlive);
        let proclaimed = ask!(self.held.client(), call, ElectionClient.proclaim(request));
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
        self.held.release().await
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
    pub async fn hand_over(&mut self, to: LeaseId) -> Result<Leader, Error> {
        let claim = self.held.claims().first();
        let name = claim.map(|claim| claim.name.clone()).unwrap_or_default();
        let handed_over = hand_over(self.held.client(), name, self.epoch(), to);
        self.held.pass_on(handed_over).await
    }
}

held_claim_methods!(Leadership);

/// Makes a candidate lead in place of the leader of `epoch`.
pub(super) async fn hand_over(
    client: &Client,
    name: Bytes,
    epoch: Token,
    to: LeaseId,
) -> Result<Leader, Error> {
    let request = HandOverRequest {
        name,
        epoch: epoch.get(),
        to_lease: to.get(),
        options: None,
    };
    let call = Call::tenure(Operation::Write, Lane::KeepAlive);
    let answer = ask!(client, call, ElectionClient.hand_over(request)).await?;
    Ok(Leader::of(answer.leader.unwrap_or_default()))
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("epoch", &self.epoch())
            .field("loss", &self.held.loss())
            .finish_non_exhaustive()
    }
}
