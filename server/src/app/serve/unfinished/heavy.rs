//! Turns of the messages that take long to decode.
//!
//! A message is decoded at once, on the thread that serves everything else: 1.5 MiB of empty fields
//! take tens of milliseconds, and compressed a few kilobytes. A connection may have thousands of
//! them ready. So the end of a heavy message is handed on only when the message before it was
//! decoded and all tasks that were ready ran; and one that took long is followed by a pause of
//! several times as long, in which everything else goes on. Connections take turns, and so do
//! addresses, however many messages each has.
//!
//! Most heavy messages hold a large value, and take little time. They would wait behind every
//! connection that sends the others, so there are two lanes: a connection changes to the other when
//! one of its messages took long, and begins there when one of its address did.

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

/// Decoding of this duration takes long, and is followed by a pause. Meant for messages of hundreds
/// of thousands of fields, which were seen to take tens of milliseconds to a tenth of a second.
const LONG: Duration = Duration::from_millis(4);
/// The pause after a message that took long, as a multiple of what it took: such messages get at
/// most a fifth of the thread. Without it each step of another call waited for one of them, seconds
/// in all.
const PAUSES: u32 = 4;

/// The turns of a node. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    /// Of messages that are not known to take long.
    pub(super) quick: Arc<Semaphore>,
    /// Of the others.
    long: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self {
            quick: one(),
            long: one(),
        }
    }
}

/// The permits of a connection, of an address, and of the node.
type Turn = [Option<OwnedSemaphorePermit>; 3];

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
    share: Option<Share>,
    /// Yields nothing when the turn did not come in time.
    turn: Pin<Box<dyn Future<Output = Option<Turn>> + Send>>,
}

impl fmt::Debug for Heavy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heavy").finish_non_exhaustive()
    }
}

async fn wait(turn: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(turn).acquire_owned().await.ok()
}

impl Heavy {
    /// Begins to wait for the turn of a message that ends with `data`.
    pub(super) fn new(data: Bytes, turns: &Turns, share: Option<&Share>) -> Self {
        let (turns, share) = (turns.clone(), share.cloned());
        let of = share.clone();
        let turn = async move {
            let Some(share) = of else {
                return [None, None, wait(&turns.quick).await];
            };
            let own = wait(share.decodes()).await;
            let (address, lane) = loop {
                let is_long = share.takes_long();
                let lane = if is_long { &turns.long } else { &turns.quick };
                let Some(address) = share.address() else {
                    break (None, lane);
                };
                let permit = wait(address.decodes(is_long)).await;
                // Another of the address may have shown meanwhile how long they take.
                if share.takes_long() == is_long {
                    break (permit, lane);
                }
            };
            [own, address, wait(lane).await]
        };
        Self {
            data,
            share,
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
                let share = self.share.take();
                tasks::spawn("turn", async move {
                    let took = measured.get().copied().unwrap_or_default();
                    if let Some(share) = share {
                        share.set_took_long(took >= LONG);
                    }
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
