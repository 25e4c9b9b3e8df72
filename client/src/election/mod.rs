//! Elections: at most one leader at a time, known by its epoch, which is its fencing token.
//!
//! An election is a queue of claims like a lock; what is added here is the value that a leader
//! proclaims, and watching who leads.

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
    /// The lease that it leads with.
    pub lease: LeaseId,
    /// The name that it gave.
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

/// An election. Made by [`Elections::named`].
#[derive(Debug, Clone)]
pub struct Election {
    client: Client,
    name: Bytes,
}

impl Election {
    /// Stands for election with a value to proclaim, and waits to be elected. See [`Campaign`] for
    /// its options, errors and cancel safety.
    pub fn campaign(&self, value: impl IntoBytes) -> Campaign {
        Campaign::new(self.client.clone(), self.name.clone(), value.into_bytes())
    }

    /// The current leader, if there is one.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        let queue = self.client.locks().inspect(&self.name).limit(1).await?;
        Ok(queue.holders().first().map(|holder| Leader {
            epoch: holder.token(),
            value: holder.value().clone(),
            lease: holder.lease(),
            principal: holder.principal().to_owned(),
        }))
    }

    /// Makes a candidate, known by its lease, lead at once in place of the leader of `epoch`, for
    /// operators: the former leader learns of it as of any other loss, and may believe for a moment
    /// that it still leads, so only what checks tokens is safe. A leader hands over by
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
    /// [`NotHolder`](crate::ErrorKind::NotHolder) when that epoch is over,
    /// [`NotFound`](crate::ErrorKind::NotFound) when no candidate stands with that lease,
    /// [`QueueFixed`](crate::ErrorKind::QueueFixed) when another program's candidate stands before
    /// it, and whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the candidate leads.
    pub async fn hand_over(&self, to: LeaseId, epoch: impl Into<Token>) -> Result<Leader, Error> {
        leadership::hand_over(&self.client, self.name.clone(), epoch.into(), to).await
    }

    /// The current leader, and every change from then on: of the leader and of its value. It
    /// resumes after breaks; changes during a break are reported as one.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
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
    /// Elections: one leader at a time, known by its epoch.
    #[must_use]
    pub fn elections(&self) -> Elections<'_> {
        Elections { client: self }
    }
}

impl Elections<'_> {
    /// The election called `name`.
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
