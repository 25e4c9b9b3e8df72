//! The sequence numbers of a session's writes, and which of them are acknowledged.
//!
//! Invariants: a number is allocated once; every number up to the watermark is acknowledged and
//! will not be sent again; at most [`WINDOW`] numbers lie above the watermark, so that the server,
//! which remembers somewhat more, never forgets one that may still be repeated.

use std::{collections::BTreeSet, fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{conditions::RequestId, error::Error, id::LeaseId};

/// The most writes of one session under way. The server remembers 1,024 unacknowledged outcomes and
/// forgets the oldest beyond that.
const WINDOW: u64 = 1_000;

/// A session that numbers its writes.
pub(crate) trait SequencedSession: fmt::Debug + Send + Sync {
    /// The lease that identifies the session.
    fn lease(&self) -> LeaseId;

    fn numbers(&self) -> &SequenceNumbers;

    /// Whether anything may be sent in the session.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`](crate::ErrorKind::SessionLost) when it may have ended.
    fn check(&self) -> Result<(), Error>;

    /// Records that the server does not know the session any more.
    fn forgotten(&self);
}

/// Allocates sequence numbers. Shared by all handles of a session.
#[derive(Debug, Default)]
pub(crate) struct SequenceNumbers {
    state: Mutex<State>,
    /// Notified when the watermark rises.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last number allocated.
    last: u64,
    /// The watermark: every number up to it is acknowledged.
    answered: u64,
    /// Acknowledged numbers above the watermark; at most `WINDOW`.
    above: BTreeSet<u64>,
}

impl State {
    fn next(&mut self) -> Option<u64> {
        if self.last - self.answered >= WINDOW {
            return None;
        }
        self.last += 1;
        Some(self.last)
    }

    /// Acknowledges a number. Returns whether the watermark rose.
    fn finish(&mut self, sequence: u64) -> bool {
        if sequence > self.answered {
            self.above.insert(sequence);
        }
        let before = self.answered;
        while self.above.remove(&(self.answered + 1)) {
            self.answered += 1;
        }
        self.answered > before
    }
}

impl SequenceNumbers {
    /// The next number, as soon as the window has room for it; `None` when it has none in time.
    ///
    /// # Cancel safety
    /// Cancel safe: a number is allocated with the last step.
    pub(crate) async fn allocate(&self, deadline: Instant) -> Option<u64> {
        loop {
            // Registers before it looks, so that no rise of the watermark is missed.
            let room = self.room.notified();
            let next = self.state.lock().next();
            if next.is_some() {
                return next;
            }
            timeout_at(deadline, room).await.ok()?;
        }
    }

    fn answered(&self) -> u64 {
        self.state.lock().answered
    }

    fn finish(&self, sequence: u64) {
        if self.state.lock().finish(sequence) {
            self.room.notify_waiters();
        }
    }
}

/// The sequence number of one write. It is acknowledged when the last copy is dropped, or by
/// [`finish`](Self::finish): then the write must not be sent again.
#[derive(Debug, Clone)]
pub(crate) struct SequenceNumber(Arc<Allocated>);

#[derive(Debug)]
struct Allocated {
    session: Arc<dyn SequencedSession>,
    sequence: u64,
}

impl SequenceNumber {
    /// The number for another write of `session`; `None` when as many writes as a session may have
    /// are under way until the deadline.
    pub(crate) async fn allocate(
        session: Arc<dyn SequencedSession>,
        deadline: Instant,
    ) -> Option<Self> {
        let sequence = session.numbers().allocate(deadline).await?;
        Some(Self(Arc::new(Allocated { session, sequence })))
    }

    pub(crate) fn session(&self) -> &dyn SequencedSession {
        &*self.0.session
    }

    /// The request id with the current watermark, which repeats carry along.
    pub(crate) fn id(&self) -> RequestId {
        RequestId {
            session: self.0.session.lease(),
            sequence: self.0.sequence,
            answered: self.0.session.numbers().answered().min(self.0.sequence - 1),
        }
    }

    /// Acknowledges the number, so that the server may forget its outcome. For a request whose
    /// repetition may be refused as forgotten, such as a long wait for a lock, which would hold up
    /// the watermark.
    pub(crate) fn finish(&self) {
        self.0.session.numbers().finish(self.0.sequence);
    }
}

impl Drop for Allocated {
    fn drop(&mut self) {
        self.session.numbers().finish(self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watermark_rises_only_over_numbers_without_a_gap() {
        let numbers = SequenceNumbers::default();
        let soon = Instant::now() + Duration::from_secs(1);
        for expected in 1..=4 {
            assert_eq!(numbers.allocate(soon).await, Some(expected));
        }
        for (finished, watermark) in [(3, 0), (1, 1), (1, 1), (4, 1), (2, 4)] {
            numbers.finish(finished);
            assert_eq!(numbers.answered(), watermark, "after {finished}");
        }
        assert!(numbers.state.lock().above.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_beyond_the_window_waits_for_the_oldest_write() {
        let numbers = Arc::new(SequenceNumbers::default());
        let soon = Instant::now() + Duration::from_secs(1);
        for _ in 0..WINDOW {
            numbers.allocate(soon).await.unwrap();
        }
        numbers.finish(2);
        assert_eq!(numbers.allocate(soon).await, None, "the first is under way");
        let waiting = tokio::spawn({
            let numbers = Arc::clone(&numbers);
            async move { numbers.allocate(soon + Duration::from_secs(1)).await }
        });
        tokio::task::yield_now().await;
        numbers.finish(1);
        assert_eq!(waiting.await.unwrap(), Some(WINDOW + 1));
    }

    #[test]
    fn numbers_allocated_at_once_are_all_different() {
        let numbers = SequenceNumbers::default();
        let allocate = || numbers.state.lock().next().unwrap();
        let mut allocated: Vec<u64> = std::thread::scope(|scope| {
            let writer = || (0..100).map(|_| allocate()).collect::<Vec<_>>();
            let writers: Vec<_> = (0..8).map(|_| scope.spawn(writer)).collect();
            let joined = writers.into_iter().map(|writer| writer.join().unwrap());
            joined.flatten().collect()
        });
        allocated.sort_unstable();
        assert_eq!(allocated, (1..=800).collect::<Vec<_>>());
    }
}
