//! How the end of a claim or a registration becomes known, apart from its lease: its key is
//! watched.
//!
//! The invariant: what was told first stays.

use bytes::Bytes;
use futures::future::select_all;
use tokio::{sync::watch, task::AbortHandle, time::sleep};

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
    /// Somebody else ended it, by force or by deleting its key.
    #[error("the claim was ended by somebody else")]
    Taken,
    /// It was released, transferred or handed over here.
    #[error("the claim was given up")]
    GivenUp,
}

/// Why keys of the user have ended, once they have.
#[derive(Debug)]
pub(crate) struct Ending {
    loss: watch::Sender<Option<ClaimLoss>>,
    watching: AbortHandle,
}

impl Ending {
    /// Watches keys, each with the revision at which it was created, until one of them is gone.
    pub(crate) fn watch(client: Client, keys: Vec<(Bytes, Token)>) -> Self {
        let (loss, _) = watch::channel(None);
        let told = loss.clone();
        let watching = tokio::spawn(async move {
            let ends = keys
                .iter()
                .map(|(key, token)| Box::pin(end_of(&client, key, *token)));
            // There is at least one: nothing is held without a key.
            let (end, ..) = select_all(ends).await;
            match end {
                Ok(()) => tell(&told, ClaimLoss::Taken),
                Err(error) => {
                    tracing::warn!(%error, "a key cannot be watched; its lease and token hold");
                }
            }
        });
        Self {
            loss,
            watching: watching.abort_handle(),
        }
    }

    /// Why they ended, if they did as far as is known.
    pub(crate) fn told(&self) -> Option<ClaimLoss> {
        *self.loss.borrow()
    }

    /// Says that they have ended; the watch is over.
    pub(crate) fn tell(&self, loss: ClaimLoss) {
        self.watching.abort();
        tell(&self.loss, loss);
    }

    /// Waits until they have ended.
    pub(crate) async fn wait(&self) -> ClaimLoss {
        let mut told = self.loss.subscribe();
        let told = told.wait_for(Option::is_some).await;
        told.ok().and_then(|loss| *loss).unwrap_or(ClaimLoss::Taken)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn tell(told: &watch::Sender<Option<ClaimLoss>>, loss: ClaimLoss) {
    told.send_if_modified(|told| {
        let news = told.is_none();
        *told = told.or(Some(loss));
        news
    });
}

/// Waits until a key that was created at `token` is deleted. The watch begins where the key does,
/// so that an end that came first is seen.
async fn end_of(client: &Client, key: &Bytes, token: Token) -> Result<(), Error> {
    let mut from = Revision::from(token).next();
    let mut backoff = Backoff::default();
    loop {
        match deleted_after(client, key, from).await {
            Err(error) if error.kind() == ErrorKind::Compacted => {}
            // Only the opening can fail for now: an open watch goes on by itself.
            Err(error) if error.ends_stream_for_now() => {
                sleep(backoff.next_pause()).await;
                continue;
            }
            outcome => return outcome,
        }
        // History is gone, so the present has to tell.
        let now = match client.get(key.clone()).await {
            Err(error) if error.ends_stream_for_now() => {
                sleep(backoff.next_pause()).await;
                continue;
            }
            outcome => outcome?,
        };
        let created = now.first().map(KeyValue::create_revision);
        let held = created.is_some_and(|created| Token::from(created) == token);
        if !held {
            return Ok(());
        }
        from = now.revision().next();
    }
}

async fn deleted_after(client: &Client, key: &Bytes, from: Revision) -> Result<(), Error> {
    // A server that is cut off from the others would be silent about an end for good.
    let watch = client.watch(key.clone()).without_puts().require_leader();
    let mut changes = watch.start_revision(from).await?;
    while let Some(update) = changes.next().await {
        if update?.iter().any(Event::is_delete) {
            break;
        }
    }
    Ok(())
}
