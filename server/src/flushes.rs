//! Tells what was written on a connection that it has left this process.
//!
//! An answer that waits in a buffer when its caller goes away is one that nobody was given. HTTP/2
//! does not tell the two apart for an answer that was handed to it, so the connection itself does:
//! it calls `Flushes::happened` when everything written on it was taken by the system.
//! Invariant: what is asked for before a write is told by the first flush after it, or never when
//! the connection ends before. What the flow control of the other end holds back is not known here.

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
    /// Whether anything waits: nearly every flush finds nothing, and takes no lock.
    any: AtomicBool,
    /// One per answer under way, so no more than there are streams.
    answers: Mutex<Vec<oneshot::Sender<()>>>,
}

/// Something that is about to be written.
#[derive(Debug)]
pub(crate) struct Flushed(oneshot::Receiver<()>);

impl Flushes {
    /// Tells of the next flush. To be called before what it is about is written, by the task that
    /// writes it.
    pub(crate) fn next(&self) -> Flushed {
        let (sender, receiver) = oneshot::channel();
        self.0.answers.lock().push(sender);
        self.0.any.store(true, Ordering::Release);
        Flushed(receiver)
    }

    /// Everything written so far was taken.
    pub(crate) fn happened(&self) {
        if !self.0.any.swap(false, Ordering::AcqRel) {
            return;
        }
        for answer in mem::take(&mut *self.0.answers.lock()) {
            // Who waited may have gone.
            answer.send(()).ok();
        }
    }
}

impl Flushed {
    /// Whether it has happened.
    pub(crate) fn already(&mut self) -> bool {
        self.0.try_recv().is_ok()
    }

    /// Resolves when it has happened, with true, or cannot happen any more.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing that [`Flushed::already`] would not tell.
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
