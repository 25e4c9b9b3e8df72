//! Reports when the bytes written on a connection were flushed to the system.
//!
//! A response still buffered when its caller disconnects was never delivered. HTTP/2 does not
//! distinguish this from a sent response, so the connection does: it calls `Flushes::happened` when
//! the system has taken everything written on it. Invariant: a `Flushed` created before a write
//! resolves with the first flush after it, or fails when the connection ends first. Data held back
//! by the flow control of the other end is not covered.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The flushes of one connection. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Flushes(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Whether anything waits: nearly every flush finds nothing, and then takes no lock.
    any: AtomicBool,
    /// One per response in progress, so no more than there are streams.
    answers: Mutex<Vec<oneshot::Sender<()>>>,
}

/// A pending notification of a flush.
#[derive(Debug)]
pub(crate) struct Flushed(oneshot::Receiver<()>);

impl Flushes {
    /// Subscribes to the next flush. Must be called before the write of interest, by the task that
    /// writes.
    pub(crate) fn next(&self) -> Flushed {
        let (sender, receiver) = oneshot::channel();
        self.0.answers.lock().push(sender);
        self.0.any.store(true, Ordering::Release);
        Flushed(receiver)
    }

    /// Notifies subscribers that everything written so far was flushed.
    pub(crate) fn happened(&self) {
        if !self.0.any.swap(false, Ordering::AcqRel) {
            return;
        }
        for answer in mem::take(&mut *self.0.answers.lock()) {
            // The receiver may have been dropped.
            _ = answer.send(());
        }
    }
}

impl Flushed {
    /// Whether the flush has happened.
    pub(crate) fn already(&mut self) -> bool {
        self.0.try_recv().is_ok()
    }

    /// Resolves with true after the flush, or with false once it can no longer happen.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: [`Flushed::already`] still reports the flush.
    pub(crate) async fn wait(&mut self) -> bool {
        (&mut self.0).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flush_tells_what_was_asked_for_before_it_and_nothing_later() {
        let flushes = Flushes::default();
        flushes.happened();
        let (mut first, mut second) = (flushes.next(), flushes.next());
        assert!(!first.already());
        flushes.happened();
        let mut third = flushes.next();
        assert!(first.already());
        assert!(second.wait().await);
        assert!(!third.already());
        drop(flushes);
        assert!(!third.wait().await, "the connection has ended");
    }
}
