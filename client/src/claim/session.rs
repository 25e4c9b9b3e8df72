//! The session that owns a claim: one opened for the claim alone, or one that the user shares
//! among several claims.
//!
//! Every claim has a session, so that its request has an id: a broken stream is resumed by sending
//! the same request again, which joins the existing claim instead of making a second one.

use std::{future::Future, time::Duration};

use tokio::{runtime::Handle, time::Instant};

use crate::{
    client::{Client, SequenceNumber},
    error::Error,
    id::LeaseId,
    lease::LeaseLoss,
    session::Session,
};

/// Default time to live of a session opened for one claim. A holder that crashes blocks others for
/// this long; one that is only slow has this long to recover.
const TTL: Duration = Duration::from_secs(10);

/// Which session a claim is to belong to.
#[derive(Debug, Clone)]
pub(crate) enum SessionChoice {
    /// A session opened for the claim, with this time to live; it is closed with the claim.
    Own(Duration),
    /// A session of the user's.
    Shared(Session),
}

impl Default for SessionChoice {
    fn default() -> Self {
        Self::Own(TTL)
    }
}

/// The session that owns a claim.
#[derive(Debug, Clone)]
pub(crate) struct ClaimSession {
    session: Session,
    own: bool,
    /// Where cleanup runs after the owner was dropped, possibly on a thread without a runtime.
    runtime: Handle,
}

impl ClaimSession {
    /// # Cancel safety
    /// Dropping the future may leave an empty session behind, which expires.
    pub(crate) async fn open(client: &Client, choice: SessionChoice) -> Result<Self, Error> {
        let (session, own) = match choice {
            SessionChoice::Own(ttl) => (client.sessions().open(ttl).await?, true),
            SessionChoice::Shared(session) => (session, false),
        };
        Ok(Self {
            session,
            own,
            runtime: Handle::current(),
        })
    }

    /// Whether the session was opened for this claim alone and is closed with it.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.session.lease()
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.session.ttl()
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.session.deadline()
    }

    pub(crate) fn is_held(&self) -> bool {
        self.session.is_held()
    }

    /// # Cancel safety
    /// Cancel safe: a loss is final and is reported to every later call.
    pub(crate) async fn lost(&self) -> LeaseLoss {
        self.session.lost().await
    }

    /// The same client with its writes in this session.
    pub(crate) fn attach(&self, client: &Client) -> Client {
        self.session.attach(client)
    }

    /// Allocates the sequence number of a request that `attached`, a client of this session, will
    /// send, possibly several times.
    pub(crate) async fn allocate(&self, attached: &Client) -> Result<SequenceNumber, Error> {
        let number = attached.allocate(attached.deadline(None)).await?;
        Ok(number.expect("a client that is attached to a session numbers its writes"))
    }

    /// Spawns `work`, which goes on when the caller is dropped. A runtime that shuts down drops
    /// it; then the lease expires.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        _ = self.runtime.spawn(work);
    }

    /// Closes the session unless it is the user's.
    pub(crate) async fn close(self) {
        if !self.own {
            return;
        }
        let lease = self.session.lease();
        if let Err(error) = self.session.close().await {
            tracing::debug!(%lease, %error, "closing a session failed; it expires instead");
        }
    }
}
