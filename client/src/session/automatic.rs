//! A session that a client opens automatically with its first write, and again after a loss.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};

use super::Core;
use crate::{
    client::{Client, SequencedSession, Sequencing, SessionSource},
    error::{Error, Operation},
};

/// Numbers the writes of a client in a session that is opened automatically.
pub(crate) fn automatic(ttl: Duration) -> Sequencing {
    Sequencing::Automatic(Arc::new(AutomaticSession::new(ttl)))
}

#[derive(Debug)]
struct AutomaticSession {
    ttl: Duration,
    /// Locked while a session is opened, so that writes that start together share it.
    open: Mutex<Option<Arc<Core>>>,
}

impl AutomaticSession {
    fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            open: Mutex::default(),
        }
    }

    async fn get_or_open(&self, client: &Client, deadline: Instant) -> Result<Arc<Core>, Error> {
        // Nothing was sent: as for a read, the outcome is known.
        let late = |_| Error::deadline(Operation::Read);
        let mut open = timeout_at(deadline, self.open.lock()).await.map_err(late)?;
        if let Some(core) = open.as_ref().filter(|core| core.check().is_ok()) {
            return Ok(Arc::clone(core));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // The bare client: the renewals of the session must not inherit the remaining deadline of
        // one write.
        let opening = Core::open(client.bare(), self.ttl);
        let core = timeout(left, opening).await.map_err(late)??;
        Ok(Arc::clone(open.insert(Arc::new(core))))
    }
}

impl SessionSource for AutomaticSession {
    fn session<'a>(
        &'a self,
        client: &'a Client,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<dyn SequencedSession>, Error>> {
        Box::pin(async move {
            let core = self.get_or_open(client, deadline).await?;
            Ok(core as Arc<dyn SequencedSession>)
        })
    }

    fn another(&self) -> Arc<dyn SessionSource> {
        Arc::new(Self::new(self.ttl))
    }
}
