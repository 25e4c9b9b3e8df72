//! Turns of the messages that take long to decode.
//!
//! A message is decoded at once, on the thread that serves everything else: 1.5 MiB of empty fields
//! take tens of milliseconds, and compressed a few kilobytes. A connection may have thousands of
//! them ready. So the end of a heavy message is handed on only when the message before it was
//! decoded and all tasks that were ready ran; and one that took long is followed by a pause of
//! several times as long, in which everything else goes on. Connections take turns, however many
//! messages each has.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tower::BoxError;

use super::{UNFINISHED_MAX, failure};
use crate::{rpc::Reason, share::Share, tasks};

/// Decoding of this duration is followed by a pause. Meant for messages of hundreds of thousands of
/// fields, which were seen to take tens of milliseconds to a tenth of a second.
const LONG: Duration = Duration::from_millis(2);
/// The pause after a message that took long, as a multiple of what it took: such messages get at
/// most a fifth of the thread. Without it each step of another call waited for one of them, seconds
/// in all.
const PAUSES: u32 = 4;

/// The turns of a node. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(pub(super) Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

type Turn = (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>);

/// A message that was handed on and is being decoded.
#[derive(Debug)]
pub(super) struct Decoding {
    since: Instant,
    /// What it took, once that is known.
    took: Arc<OnceLock<Duration>>,
}

impl Drop for Decoding {
    /// It is over: the reader of the body goes on, or lets go of it.
    fn drop(&mut self) {
        _ = self.took.set(self.since.elapsed());
    }
}

/// The end of a heavy message.
pub(super) struct Heavy {
    data: Bytes,
    /// Yields nothing when the turn did not come in time.
    turn: Pin<Box<dyn Future<Output = Option<Turn>> + Send>>,
}

impl fmt::Debug for Heavy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heavy").finish_non_exhaustive()
    }
}

impl Heavy {
    /// Begins to wait for the turn of a message that ends with `data`.
    pub(super) fn new(data: Bytes, turns: &Turns, share: Option<&Share>) -> Self {
        let all = Arc::clone(&turns.0);
        let own = share.map(|share| Arc::clone(share.decodes()));
        let turn = async move {
            let own = match own {
                Some(own) => own.acquire_owned().await.ok(),
                None => None,
            };
            (own, all.acquire_owned().await.ok())
        };
        Self {
            data,
            turn: Box::pin(async move { timeout(UNFINISHED_MAX, turn).await.ok() }),
        }
    }

    /// Yields the data once, and what measures its decoding. The message is decoded before this
    /// task lets others run, so the turn ends when all tasks that are ready now have run, and the
    /// pause is over.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Bytes, Decoding), BoxError>> {
        let turn = ready!(self.turn.as_mut().poll(context));
        Poll::Ready(match turn {
            Some(turn) => {
                let took = Arc::new(OnceLock::new());
                let measured = Arc::clone(&took);
                tasks::spawn("turn", async move {
                    let took = measured.get().copied().unwrap_or_default();
                    if took >= LONG {
                        sleep(took * PAUSES).await;
                    }
                    drop(turn);
                });
                let since = Instant::now();
                let decoding = Decoding { since, took };
                Ok((std::mem::take(&mut self.data), decoding))
            }
            None => Err(failure(Reason::TooManyRequests)),
        })
    }
}
