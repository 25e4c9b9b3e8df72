//! The handle of a leader.

use std::{fmt, time::Duration};

use bytes::Bytes;
use tenure_proto::v1::{HandOverRequest, ProclaimRequest, election_client::ElectionClient};

use super::Leader;
use crate::{
    call::{Call, rpc},
    channel::Lane,
    claim::{HeldClaims, held_claim_methods},
    client::Client,
    error::{Error, Operation},
    id::{LeaseId, Token},
    range::IntoBytes,
};

/// Leadership of an election.
///
/// Leadership is bound to a lease, as a lock is; see [`LockGuard`](crate::LockGuard). Dropping the
/// handle resigns in the background as long as the runtime runs, otherwise when the lease ends.
#[must_use = "the leader resigns when its handle is dropped"]
pub struct Leadership {
    held: HeldClaims,
}

impl Leadership {
    pub(super) fn new(held: HeldClaims) -> Self {
        Self { held }
    }

    /// The epoch, which is the fencing token: greater than that of every earlier leader.
    #[must_use]
    pub fn epoch(&self) -> Token {
        self.held.token()
    }

    /// Whether the leadership is not known to be lost. Once false, it stays false.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.held.loss().is_none()
    }

    /// Proclaims a new value.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) or [`NotHolder`](crate::ErrorKind::NotHolder)
    /// when the leadership is lost, and the errors common to all calls.
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
        let proclaimed = rpc!(self.held.client(), call, ElectionClient.proclaim(request));
        proclaimed.await.map(drop)
    }

    /// Steps down. The next candidate leads when this returns.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) or [`NotHolder`](crate::ErrorKind::NotHolder)
    /// when the leadership was lost before. The errors common to all calls; the client then retries
    /// in the background.
    ///
    /// # Cancel safety
    /// Dropping the future lets the call finish in the background.
    pub async fn resign(self) -> Result<(), Error> {
        // Resigning releases the claim, as for a lock.
        self.held.release().await
    }

    /// Hands leadership over to a candidate, identified by its lease, which leads at once.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when no candidate has that lease,
    /// [`NotHolder`](crate::ErrorKind::NotHolder) when the leadership was lost before, and the
    /// errors common to all calls. This handle still leads after an error, unless
    /// [`Error::outcome_unknown`] is true.
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

/// Hands leadership over from the leader of `epoch` to a candidate.
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
    let answer = rpc!(client, call, ElectionClient.hand_over(request)).await?;
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
