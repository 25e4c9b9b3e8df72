//! Leader election: at most one leader at a time, identified by its epoch, which is its fencing
//! token.
//!
//! An election is a queue of claims like a lock; this module adds the value that a leader proclaims
//! and the observer of the leader.

mod campaign;
mod leadership;
mod observe;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use tenure_proto::v1;

pub use campaign::Campaign;
pub use leadership::Leadership;
pub use observe::Observer;

use crate::{
    client::Client,
    error::Error,
    id::{LeaseId, Token},
    range::IntoBytes,
};

/// The leader of an election.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// The epoch of the leader, which is its fencing token.
    pub epoch: Token,
    /// The value that it proclaims.
    pub value: Bytes,
    /// The lease of its claim.
    pub lease: LeaseId,
    /// The name given by [`Campaign::principal`].
    pub principal: String,
}

impl Leader {
    fn of(claim: v1::Claim) -> Self {
        Self {
            epoch: Token::new(claim.token),
            value: claim.value,
            lease: LeaseId::new(claim.lease),
            principal: claim.principal,
        }
    }
}

/// A named election. Made by [`Elections::named`].
#[derive(Debug, Clone)]
pub struct Election {
    client: Client,
    name: Bytes,
}

impl Election {
    /// Campaigns with a value to proclaim, and waits to be elected. See [`Campaign`] for its
    /// options, errors and cancel safety.
    pub fn campaign(&self, value: impl IntoBytes) -> Campaign {
        Campaign::new(self.client.clone(), self.name.clone(), value.into_bytes())
    }

    /// The current leader, if there is one.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        let queue = self.client.locks().inspect(&self.name).limit(1).await?;
        Ok(queue.holders().first().map(|holder| Leader {
            epoch: holder.token(),
            value: holder.value().clone(),
            lease: holder.lease(),
            principal: holder.principal().to_owned(),
        }))
    }

    /// Forces a handover from the leader of `epoch` to a candidate, identified by its lease; for
    /// operators. The former leader is notified as of any other loss and may act as leader until
    /// then, so only writes that check tokens are safe. A leader hands over by
    /// [`Leadership::hand_over`].
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let election = client.elections().named("schedulers");
    /// let queue = client.locks().inspect("schedulers").limit(1).await?;
    /// if let (Some(leader), Some(next)) = (election.leader().await?, queue.waiters().first()) {
    ///     let leader = election.hand_over(next.lease(), leader.epoch).await?;
    ///     println!("leading in epoch {}", leader.epoch);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NotHolder`](crate::ErrorKind::NotHolder) when that epoch has ended,
    /// [`NotFound`](crate::ErrorKind::NotFound) when no candidate has that lease,
    /// [`QueueFixed`](crate::ErrorKind::QueueFixed) when a candidate of another program is ahead of
    /// it, and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the candidate leads.
    pub async fn hand_over(&self, to: LeaseId, epoch: impl Into<Token>) -> Result<Leader, Error> {
        leadership::hand_over(&self.client, self.name.clone(), epoch.into(), to).await
    }

    /// Observes the current leader and every later change of the leader or its value. The stream
    /// resumes after a break; changes during the break are reported as one.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future has no effect on the cluster.
    pub async fn observe(&self) -> Result<Observer, Error> {
        Observer::open(self.client.clone(), self.name.clone()).await
    }
}

/// Elections of the cluster. Made by [`Client::elections`].
#[derive(Debug, Clone, Copy)]
pub struct Elections<'a> {
    client: &'a Client,
}

impl Client {
    /// Elections: one leader at a time, identified by its epoch.
    #[must_use]
    pub fn elections(&self) -> Elections<'_> {
        Elections { client: self }
    }
}

impl Elections<'_> {
    /// The election named `name`.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: tenure::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let election = client.elections().named("schedulers");
    /// let leadership = election.campaign("10.0.0.3:7000").ttl(Duration::from_secs(5)).await?;
    /// println!("leading in epoch {}", leadership.epoch());
    /// let store = leadership.guarded();
    /// leadership
    ///     .run(async {
    ///         // Dropped at the loss; writes of an old epoch are refused.
    ///         store.put("schedulers/plan", "...").await
    ///     })
    ///     .await??;
    /// leadership.resign().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn named(self, name: impl IntoBytes) -> Election {
        Election {
            client: self.client.clone(),
            name: name.into_bytes(),
        }
    }
}
