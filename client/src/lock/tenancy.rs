//! The session that a claim lives on: one of its own, or one that the user shares among several.
//!
//! Every claim has a session, so that its request has an id: a broken stream is resumed by sending
//! the same request again, which joins the claim it made instead of making another.

use std::{future::Future, time::Duration};

use tokio::runtime::Handle;

use crate::{
    client::Client,
    error::Error,
    session::{Session, Ticket},
};

/// Time to live of a claim's own session unless the caller says otherwise. A holder that dies
/// blocks others for so long; one that is only slow has as long to recover.
const TTL: Duration = Duration::from_secs(10);

/// How long a claim lives without being renewed, and by whom it is.
#[derive(Debug, Clone)]
pub(crate) enum Lifetime {
    /// A session of its own, which ends with the claim.
    Own(Duration),
    /// A session of the user.
    Of(Session),
}

impl Default for Lifetime {
    fn default() -> Self {
        Self::Own(TTL)
    }
}

/// A session, and whether it is to end with what lives on it.
#[derive(Debug, Clone)]
pub(crate) struct Tenancy {
    session: Session,
    own: bool,
    /// Where work goes on after its owner was dropped, be it on a thread without a runtime.
    runtime: Handle,
}

impl Tenancy {
    /// # Cancel safety
    /// Dropping the future may leave a session behind that ends after its time to live, with
    /// nothing attached to it.
    pub(crate) async fn open(client: &Client, lifetime: Lifetime) -> Result<Self, Error> {
        let (session, own) = match lifetime {
            Lifetime::Own(ttl) => (client.session(ttl).await?, true),
            Lifetime::Of(session) => (session, false),
        };
        Ok(Self {
            session,
            own,
            runtime: Handle::current(),
        })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the session ends with what lives on it.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    /// The number for a request that a handle of the session will send, perhaps several times.
    pub(crate) async fn draw(&self, attached: &Client) -> Result<Ticket, Error> {
        let ticket = attached.draw(attached.deadline(None)).await?;
        Ok(ticket.expect("a handle that is attached to a session numbers its writes"))
    }

    /// Goes on with `work` whatever happens to the caller. A runtime that shuts down drops it: the
    /// lease ends by itself then.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(work));
    }

    /// Ends the session if it is its own.
    pub(crate) async fn end(self) {
        if !self.own {
            return;
        }
        let lease = self.session.lease();
        if let Err(error) = self.session.close().await {
            tracing::debug!(%lease, %error, "a session was left to end by itself");
        }
    }
}
