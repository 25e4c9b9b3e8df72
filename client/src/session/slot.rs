//! Which session the writes of a client belong to: none, one that the user opened, or one that the
//! client opens by itself when it first writes, and again after a loss.
//!
//! The invariant: a write belongs to one session from its first attempt to its last. The loss of a
//! session ends the writes under way in it; only writes that start later belong to the next one.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{Core, Ticket};
use crate::{
    client::Client,
    error::{Error, Operation},
};

/// Which session the writes of a client belong to.
#[derive(Debug, Clone, Default)]
pub(crate) enum Numbered {
    /// Writes are sent at most once.
    #[default]
    No,
    /// Writes belong to this session, and are refused when it is lost.
    Under(Arc<Core>),
    /// Writes belong to the session that is open.
    Always(Arc<Slot>),
}

impl Numbered {
    pub(crate) fn always(ttl: Duration) -> Self {
        Self::Always(Arc::new(Slot {
            ttl,
            open: Mutex::default(),
        }))
    }

    /// The same for a client that talks to other endpoints. A session is renewed where it was
    /// opened, so one that a client opens by itself is not shared with it.
    pub(crate) fn apart(&self) -> Self {
        match self {
            Self::Always(slot) => Self::always(slot.ttl),
            Self::No | Self::Under(_) => self.clone(),
        }
    }

    /// The number for a write that starts at this moment, if writes are numbered.
    pub(crate) async fn draw(
        &self,
        client: &Client,
        deadline: Instant,
    ) -> Result<Option<Ticket>, Error> {
        let core = match self {
            Self::No => return Ok(None),
            Self::Under(core) => Arc::clone(core),
            Self::Always(slot) => slot.get(client, deadline).await?,
        };
        core.draw(deadline).await.map(Some)
    }
}

/// The session of a client that keeps one open by itself.
#[derive(Debug)]
pub(crate) struct Slot {
    ttl: Duration,
    /// Held while a session is opened, so that writes that start together share it.
    open: Mutex<Option<Arc<Core>>>,
}

impl Slot {
    /// Boxed, because opening a session is a call, which may need a number.
    fn get<'a>(
        &'a self,
        client: &'a Client,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<Core>, Error>> {
        Box::pin(self.get_or_open(client, deadline))
    }

    async fn get_or_open(&self, client: &Client, deadline: Instant) -> Result<Arc<Core>, Error> {
        // Nothing of the write was sent; a read's error says so.
        let late = |_| Error::deadline(Operation::Read);
        let mut open = timeout_at(deadline, self.open.lock()).await.map_err(late)?;
        if let Some(core) = open.as_ref().filter(|core| core.check().is_ok()) {
            return Ok(Arc::clone(core));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // The renewals of the session must not inherit what is left of one write's time.
        let opening = Core::open(client.bare(), self.ttl);
        let core = tokio::time::timeout(left, opening).await.map_err(late)??;
        Ok(Arc::clone(open.insert(Arc::new(core))))
    }
}
