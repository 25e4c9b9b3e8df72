//! Detects that a claim or a registration ended for other reasons than its lease: watches its keys
//! for deletion and records the results of the client's own calls.
//!
//! Invariant: the first reason recorded is final.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use futures::future::select_all;
use tokio::{
    sync::{Mutex, watch},
    task::AbortHandle,
    time::sleep,
};

use crate::{
    client::Client,
    error::{Error, ErrorKind},
    id::{Revision, Token},
    lease::LeaseLoss,
    response::{Event, KeyValue},
    retry::Backoff,
};

/// Why a claim is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimLoss {
    /// Its lease is lost, or cannot be shown to live.
    #[error("{0}")]
    Lease(LeaseLoss),
    /// Another client ended it, by a forced release or by deleting its key.
    #[error("the claim was ended by another client")]
    Revoked,
    /// This client released, transferred or handed it over.
    #[error("the claim was released by this client")]
    Released,
}

/// Why claims have ended, once they have. Watches their keys until then.
#[derive(Debug)]
pub(crate) struct Termination {
    reason: watch::Sender<Option<ClaimLoss>>,
    watching: AbortHandle,
    /// Locked while a call of this client may end the claims: its result decides the reason of a
    /// deletion that is seen before it.
    ending: Arc<Mutex<()>>,
}

impl Termination {
    /// Watches keys, each with the revision at which it was created, until one of them is deleted.
    pub(crate) fn watch(client: Client, keys: Vec<(Bytes, Token)>) -> Self {
        let (reason, _) = watch::channel(None);
        let found = reason.clone();
        let ending = Arc::<Mutex<()>>::default();
        let ending_here = Arc::clone(&ending);
        let watching = tokio::spawn(async move {
            let deletions = keys
                .iter()
                .map(|(key, token)| Box::pin(deletion(&client, key, *token)));
            // There is at least one: every claim has a key.
            let (deleted, ..) = select_all(deletions).await;
            match deleted {
                Ok(()) => {
                    drop(ending_here.lock().await);
                    record(&found, ClaimLoss::Revoked);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot watch a claim's key; relying on its lease");
                }
            }
        });
        Self {
            reason,
            watching: watching.abort_handle(),
            ending,
        }
    }

    /// Makes a call that ends the claims if it succeeds, and records that.
    ///
    /// # Errors
    /// Those of the call.
    ///
    /// # Cancel safety
    /// As cancel safe as the call. If it ended the claims, the watch reports that.
    pub(crate) async fn end_by<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let _ending = self.ending.lock().await;
        let answer = call.await?;
        self.record(ClaimLoss::Released);
        Ok(answer)
    }

    /// The reason, if the claims are known to have ended.
    pub(crate) fn reason(&self) -> Option<ClaimLoss> {
        *self.reason.borrow()
    }

    /// Records that the claims have ended, and stops watching.
    pub(crate) fn record(&self, reason: ClaimLoss) {
        self.watching.abort();
        record(&self.reason, reason);
    }

    /// Waits until the claims have ended.
    ///
    /// # Cancel safety
    /// Cancel safe: a reason is final.
    pub(crate) async fn wait(&self) -> ClaimLoss {
        let mut reason = self.reason.subscribe();
        let reason = reason.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| *reason);
        reason.unwrap_or(ClaimLoss::Revoked)
    }
}

impl Drop for Termination {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn record(recorded: &watch::Sender<Option<ClaimLoss>>, reason: ClaimLoss) {
    recorded.send_if_modified(|recorded| {
        let first = recorded.is_none();
        *recorded = recorded.or(Some(reason));
        first
    });
}

/// Waits until a key that was created at `token` is deleted. The watch starts right after the
/// creation, so that a deletion before this call is seen.
async fn deletion(client: &Client, key: &Bytes, token: Token) -> Result<(), Error> {
    let mut from = Revision::from(token).next();
    let mut backoff = Backoff::default();
    loop {
        match deletion_after(client, key, from).await {
            Err(error) if error.kind() == ErrorKind::Compacted => {}
            // Only opening the watch can fail for now: an open one resumes by itself.
            Err(error) if error.allows_resume() => {
                sleep(backoff.next_pause()).await;
                continue;
            }
            outcome => return outcome,
        }
        // The history is compacted, so the current state decides.
        let current = match client.get(key.clone()).await {
            Err(error) if error.allows_resume() => {
                sleep(backoff.next_pause()).await;
                continue;
            }
            outcome => outcome?,
        };
        let created = current.first().map(KeyValue::create_revision);
        let held = created.is_some_and(|created| Token::from(created) == token);
        if !held {
            return Ok(());
        }
        from = current.revision().next();
    }
}

async fn deletion_after(client: &Client, key: &Bytes, from: Revision) -> Result<(), Error> {
    // A server that is partitioned from the quorum would never report the deletion.
    let watch = client.watch(key.clone()).without_puts().require_leader();
    let mut changes = watch.start_revision(from).await?;
    while let Some(update) = changes.next().await {
        if update?.iter().any(Event::is_delete) {
            break;
        }
    }
    Ok(())
}
