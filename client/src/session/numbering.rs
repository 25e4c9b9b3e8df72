//! The numbers of a session's writes, and which of them are over.
//!
//! Invariants: a number is given once; everything up to the watermark is over and will not be sent
//! again; never more than [`WINDOW`] numbers lie above the watermark, so that the server, which
//! remembers somewhat more, never forgets one that may still be asked for.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::Core;
use crate::conditions::RequestId;

/// Writes of one session that may be under way. The server remembers 1,024 outcomes that were not
/// acknowledged, and forgets the oldest beyond that.
const WINDOW: u64 = 1_000;

/// Gives out numbers. Shared by every handle of a session.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    state: Mutex<State>,
    /// Told when the watermark rises.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last number given.
    last: u64,
    /// Everything up to here is over.
    answered: u64,
    /// What is over above the watermark; at most `WINDOW` numbers.
    over: BTreeSet<u64>,
}

impl State {
    fn next(&mut self) -> Option<u64> {
        if self.last - self.answered >= WINDOW {
            return None;
        }
        self.last += 1;
        Some(self.last)
    }

    /// Marks a number as over; whether the watermark rose.
    fn finish(&mut self, sequence: u64) -> bool {
        if sequence > self.answered {
            self.over.insert(sequence);
        }
        let before = self.answered;
        while self.over.remove(&(self.answered + 1)) {
            self.answered += 1;
        }
        self.answered > before
    }
}

impl Numbering {
    /// The next number, as soon as there is room for it; nothing when there is none in time.
    pub(super) async fn draw(&self, deadline: Instant) -> Option<u64> {
        loop {
            // Listens before it looks, so that no rise of the watermark is missed.
            let room = self.room.notified();
            let next = self.state.lock().next();
            if next.is_some() {
                return next;
            }
            timeout_at(deadline, room).await.ok()?;
        }
    }

    pub(super) fn answered(&self) -> u64 {
        self.state.lock().answered
    }

    fn finish(&self, sequence: u64) {
        if self.state.lock().finish(sequence) {
            self.room.notify_waiters();
        }
    }
}

/// The number of one write. The write is over when the last copy is dropped, or with
/// [`finish`](Self::finish): then it must not be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Ticket(Arc<Drawn>);

#[derive(Debug)]
struct Drawn {
    core: Arc<Core>,
    sequence: u64,
}

impl Ticket {
    pub(super) fn new(core: Arc<Core>, sequence: u64) -> Self {
        Self(Arc::new(Drawn { core, sequence }))
    }

    /// The session that the number belongs to.
    pub(crate) fn session(&self) -> &Core {
        &self.0.core
    }

    /// The id as of this moment: repeats carry the newest watermark.
    pub(crate) fn id(&self) -> RequestId {
        RequestId {
            session: self.0.core.lease(),
            sequence: self.0.sequence,
            answered: self.0.core.numbering.answered().min(self.0.sequence - 1),
        }
    }

    /// The outcome need not be remembered any more. For a request whose repetition may be refused
    /// as forgotten, such as a long wait for a lock, which would hold up the numbers after it.
    pub(crate) fn finish(&self) {
        self.0.core.numbering.finish(self.0.sequence);
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.core.numbering.finish(self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watermark_rises_only_over_numbers_without_a_gap() {
        let numbering = Numbering::default();
        let soon = Instant::now() + Duration::from_secs(1);
        for expected in 1..=4 {
            assert_eq!(numbering.draw(soon).await, Some(expected));
        }
        for (over, watermark) in [(3, 0), (1, 1), (1, 1), (4, 1), (2, 4)] {
            numbering.finish(over);
            assert_eq!(numbering.answered(), watermark, "after {over}");
        }
        assert!(numbering.state.lock().over.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_beyond_the_window_waits_for_the_oldest_write() {
        let numbering = Arc::new(Numbering::default());
        let soon = Instant::now() + Duration::from_secs(1);
        for _ in 0..WINDOW {
            numbering.draw(soon).await.unwrap();
        }
        numbering.finish(2);
        assert_eq!(numbering.draw(soon).await, None, "the first is under way");
        let waiting = tokio::spawn({
            let numbering = Arc::clone(&numbering);
            async move { numbering.draw(soon + Duration::from_secs(1)).await }
        });
        tokio::task::yield_now().await;
        numbering.finish(1);
        assert_eq!(waiting.await.unwrap(), Some(WINDOW + 1));
    }

    #[test]
    fn numbers_drawn_at_once_are_all_different() {
        let numbering = Numbering::default();
        let draw = || numbering.state.lock().next().unwrap();
        let mut drawn: Vec<u64> = std::thread::scope(|scope| {
            let writer = || (0..100).map(|_| draw()).collect::<Vec<_>>();
            let writers: Vec<_> = (0..8).map(|_| scope.spawn(writer)).collect();
            let joined = writers.into_iter().map(|writer| writer.join().unwrap());
            joined.flatten().collect()
        });
        drawn.sort_unstable();
        assert_eq!(drawn, (1..=800).collect::<Vec<_>>());
    }
}
