//! The source of sequence numbers for a client's writes: none, a session of the user's, or a
//! session that is opened automatically with the first write and reopened after a loss.
//!
//! Invariant: a write belongs to one session from its first attempt to its last. The loss of a
//! session ends the writes under way in it; only writes that start later belong to the next one.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{
    Client,
    sequence::{SequenceNumber, SequencedSession},
};
use crate::error::{Error, ErrorKind};

/// Which session the writes of a client belong to.
#[derive(Debug, Clone, Default)]
pub(crate) enum Sequencing {
    /// None: writes are sent at most once.
    #[default]
    Off,
    /// This session: writes are refused once it is lost.
    Session(Arc<dyn SequencedSession>),
    /// The session that the source has open.
    Automatic(Arc<dyn SessionSource>),
}

/// Keeps a session open for a client.
pub(crate) trait SessionSource: fmt::Debug + Send + Sync {
    /// The open session; opens one if there is none or it was lost.
    ///
    /// Boxed, because opening a session is a call, which may itself need a number.
    fn session<'a>(
        &'a self,
        client: &'a Client,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<dyn SequencedSession>, Error>>;

    /// A source with the same settings and no session.
    fn another(&self) -> Arc<dyn SessionSource>;
}

impl Sequencing {
    /// The same for a client of other endpoints. A session is renewed where it was opened, so one
    /// that is opened automatically is not shared.
    pub(crate) fn apart(&self) -> Self {
        match self {
            Self::Automatic(source) => Self::Automatic(source.another()),
            Self::Off | Self::Session(_) => self.clone(),
        }
    }

    /// The sequence number for a write that starts now, if writes are numbered.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`] when the session may have ended, and [`ErrorKind::Overloaded`]
    /// when as many writes as a session may have are under way until the deadline.
    pub(crate) async fn allocate(
        &self,
        client: &Client,
        deadline: Instant,
    ) -> Result<Option<SequenceNumber>, Error> {
        let session = match self {
            Self::Off => return Ok(None),
            Self::Session(session) => Arc::clone(session),
            Self::Automatic(source) => source.session(client, deadline).await?,
        };
        session.check()?;
        match SequenceNumber::allocate(session, deadline).await {
            Some(number) => Ok(Some(number)),
            None => {
                let text = "too many writes of the session are under way";
                Err(Error::local(ErrorKind::Overloaded, text))
            }
        }
    }
}
