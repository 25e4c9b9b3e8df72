//! Turns of connections with much to read.
//!
//! A connection that sends without pause could keep the thread that serves everybody: the scheduler
//! lets it read a megabyte at once, in which header blocks alone can take a second. So a connection
//! reads [`TURN_BYTES`], and more only in its turn. There is one turn on a port at a time, however
//! many connections want one, and it ends when all tasks that were ready ran. What is read in small
//! pieces, such as heartbeats, renewals, and the calls of most clients, needs none.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

use crate::tasks;

/// Bytes that a connection reads in one turn: the calls of some two hundred clients, which should
/// enter one batch. Beside eight connections that send the most expensive content known, header
/// blocks of 6,000 fields in 6 KiB, the longest read of another client took 0.33 s.
pub(super) const TURN_BYTES: usize = 64 << 10;

/// The turns of one port. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// The reading of one connection.
pub(super) struct Reading {
    turns: PollSemaphore,
    /// Bytes read in this turn.
    bytes: usize,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Default for Reading {
    /// The reading of a connection that shares its turns with no other.
    fn default() -> Self {
        Self::new(Turns::default())
    }
}

impl Reading {
    pub(super) fn new(turns: Turns) -> Self {
        Self {
            turns: PollSemaphore::new(turns.0),
            bytes: 0,
        }
    }

    /// Waits for the next turn where one is needed.
    pub(super) fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.bytes >= TURN_BYTES {
            let turn = ready!(self.turns.poll_acquire(context));
            // This task runs when all that are ready now have.
            tasks::spawn("turn", async move { drop(turn) });
            self.bytes = 0;
        }
        Poll::Ready(())
    }

    /// Counts what was read.
    pub(super) const fn read(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// There is nothing more to read: what comes next is a burst of its own.
    pub(super) const fn pause(&mut self) {
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{future::join, poll};
    use parking_lot::Mutex;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::yield_now,
    };

    use super::*;
    use crate::transport::{Connection, Place};

    /// Turns that each connection has to read.
    const TURNS: usize = 6;

    /// A connection with so many bytes to read, and its other end.
    async fn connection(turns: &Turns, bytes: usize) -> (Connection, DuplexStream) {
        let (mut client, server) = duplex(bytes);
        client.write_all(&vec![7; bytes]).await.unwrap();
        let reading = Reading::new(turns.clone());
        let server = Connection::new(server).opening(Place::default(), reading);
        (server, client)
    }

    /// Reads `turns` times as much as a turn has, and calls `read` after each.
    async fn read(connection: &mut Connection, turns: usize, mut read: impl FnMut()) {
        for _ in 0..turns {
            for _ in 0..TURN_BYTES / 4096 {
                connection.read_exact(&mut [0; 4096]).await.unwrap();
            }
            read();
        }
    }

    #[tokio::test]
    async fn other_tasks_run_while_a_connection_reads_without_pause() {
        let (mut busy, _client) = connection(&Turns::default(), TURNS * TURN_BYTES).await;
        let ran = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&ran);
        let other = tasks::spawn("other", async move {
            loop {
                *counted.lock() += 1;
                yield_now().await;
            }
        });
        let mut seen = Vec::new();
        read(&mut busy, TURNS, || seen.push(*ran.lock())).await;
        other.abort();
        // The first turns are free: the one at the beginning, and one that nobody else has.
        let later = &seen[1..];
        assert!(later.is_sorted_by(|one, next| one < next), "{seen:?}");
    }

    #[tokio::test]
    async fn connections_of_a_port_take_turns_and_small_reads_need_none() {
        let turns = Turns::default();
        let (mut one, _one) = connection(&turns, TURNS * TURN_BYTES).await;
        let (mut two, _two) = connection(&turns, TURNS * TURN_BYTES).await;
        let (mut small, _small) = connection(&turns, 100).await;
        let order = Mutex::new(Vec::new());
        let reads = join(
            read(&mut one, TURNS, || order.lock().push(1)),
            read(&mut two, TURNS, || order.lock().push(2)),
        );
        let mut reads = pin!(reads);
        assert!(poll!(&mut reads).is_pending());
        assert!(poll!(pin!(small.read_exact(&mut [0; 100]))).is_ready());
        reads.await;
        let order = order.lock();
        let alternates = |pair: &&[i32]| pair[0] != pair[1];
        let changes = order.windows(2).filter(alternates).count();
        assert!(changes >= TURNS, "{order:?}");
    }
}
