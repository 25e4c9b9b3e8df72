//! Turns of connections that take much time to read.
//!
//! What a connection reads is processed at once, on the thread that serves everybody: header blocks
//! of 64 KiB take milliseconds, and each step of another call would wait for those of every
//! connection that sends some. So the time of reading is measured. While it is short on a port,
//! its connections read as they like, up to [`TURN_BYTES`] at once. Otherwise each reads in its
//! turn, in the order of `fair`, so that most calls wait for one turn of another, however many
//! connections send without pause. The next begins when all tasks that were ready ran, and
//! after a turn that took long, when a pause is over.
//!
//! Invariant: while connections wait, a task ends the turn of another, or offers the next one to
//! them, one after the other. It relies on none of them: the first may not read at all, as its
//! client does not take what was written.

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use super::fair::{Fair, Lane, Of, Ticket};
use crate::{share::network, tasks};

/// Bytes that a connection reads in one turn: the calls of some two hundred clients, which should
/// enter one batch.
pub(super) const TURN_BYTES: usize = 64 << 10;
/// Time after which a turn is over, though there are bytes left. What is read at once is processed
/// all the same: two or three header blocks of 6,000 fields, in 2 ms. While turns are needed, a
/// turn that took so long is followed by a pause, and the next of its connection waits in the lane
/// of those.
const TURN_MAX: Duration = Duration::from_millis(1);
/// Part of all time that the connections of a port may take without turns, as a divisor. That of
/// honest clients at their fastest is less.
const FREE_PART: u32 = 2;
/// Time that they may have taken beyond that: others wait for so long when all connections send at
/// once.
const FREE_MAX: Duration = Duration::from_millis(20);
/// The pause as a multiple of what the turn took: everything else has half of the thread. A call
/// takes many steps, and each would wait for a turn otherwise.
const PAUSES: u32 = 1;
/// Longest pause. More is not the connection's doing: the thread did not run.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The turns of one port. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Mutex<Port>>);

#[derive(Debug)]
struct Port {
    queue: Fair,
    turn: Who,
    /// What the turn took so far.
    took: Duration,
    /// Time taken by all connections, less the free part of all time; as of `at`.
    taken: Duration,
    at: Instant,
    /// Turns are needed, since that was too much, and until nobody waits for one: what begins to
    /// read must not go before those that wait.
    is_crowded: bool,
}

/// Who has the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Nobody, and nobody waits.
    Nobody,
    /// It is offered to what waited with this ticket.
    Offered(Ticket),
    Taken(Ticket),
    /// It is over, and the next is about to begin.
    Pause,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Port {
            queue: Fair::default(),
            turn: Who::Nobody,
            took: Duration::ZERO,
            taken: Duration::ZERO,
            at: Instant::now(),
            is_crowded: false,
        })))
    }
}

impl Port {
    /// Counts what a connection took, and returns whether turns are needed.
    fn count(&mut self, now: Instant, took: Duration) -> bool {
        let free = now.saturating_duration_since(self.at) / FREE_PART;
        self.taken = self.taken.saturating_sub(free) + took;
        self.at = now;
        let was_crowded = self.is_crowded && self.turn != Who::Nobody;
        self.is_crowded = was_crowded || self.taken > FREE_MAX;
        self.is_crowded
    }

    /// Ends the turn. Returns the pause after it.
    fn end(&mut self) -> Option<Duration> {
        self.turn = Who::Pause;
        let is_long = self.took >= TURN_MAX && self.is_crowded;
        is_long.then_some((self.took * PAUSES).min(PAUSE_MAX))
    }

    /// Offers the turn to the next that waits, and wakes it.
    fn offer(&mut self) -> Option<Who> {
        let Some((ticket, waker)) = self.queue.serve() else {
            self.turn = Who::Nobody;
            return None;
        };
        self.turn = Who::Offered(ticket);
        waker.wake();
        Some(self.turn)
    }
}

impl Turns {
    /// The reading of one more connection.
    pub(super) fn reading(&self, peer: Option<IpAddr>) -> Reading {
        Reading {
            turns: self.clone(),
            of: peer.map(network),
            bytes: 0,
            took: Duration::ZERO,
            lane: Lane::default(),
            since: None,
            turn: None,
            waits: None,
        }
    }

    /// Ends a turn when the tasks that are ready now have run, that of its connection among them,
    /// and passes the turn on.
    fn end_soon(&self) {
        let turns = self.clone();
        tasks::spawn("turn", async move {
            let pause = turns.0.lock().end();
            if let Some(pause) = pause {
                sleep(pause).await;
            }
            turns.pass_on().await;
        });
    }

    /// Offers the turn to those that wait, until one takes it or none is left.
    async fn pass_on(&self) {
        loop {
            let Some(offered) = self.0.lock().offer() else {
                return;
            };
            // The task that was woken runs meanwhile.
            yield_now().await;
            yield_now().await;
            // If it does not read now, it waits again when it does.
            if self.0.lock().turn != offered {
                return;
            }
        }
    }
}

/// The reading of one connection.
pub(super) struct Reading {
    turns: Turns,
    of: Of,
    /// Bytes read in this turn, or at once without one.
    bytes: usize,
    /// What it took to process them.
    took: Duration,
    /// By what it took the last time.
    lane: Lane,
    /// When the last read returned, until what it read was processed.
    since: Option<Instant>,
    /// Its turn, which may be over.
    turn: Option<Ticket>,
    /// Its place, where it waits or has waited.
    waits: Option<Ticket>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("of", &self.of)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Default for Reading {
    /// The reading of a connection that shares its turns with no other.
    fn default() -> Self {
        Turns::default().reading(None)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(ticket) = self.waits {
            self.turns.0.lock().queue.leave(ticket);
        }
    }
}

impl Reading {
    /// Waits for the next turn where one is needed. What was read before has been processed.
    pub(super) fn poll_turn(&mut self, context: &Context<'_>) -> Poll<()> {
        let is_crowded = self.processed();
        let mut port = self.turns.0.lock();
        if let Some(ticket) = self.waits {
            if port.queue.wake_with(ticket, context.waker()) {
                return Poll::Pending;
            }
            self.waits = None;
            if port.turn == Who::Offered(ticket) {
                drop(port);
                return self.begin_turn(ticket);
            }
        }
        if let Some(ticket) = self.turn.take() {
            let lasts = port.turn == Who::Taken(ticket) && self.took < TURN_MAX;
            if lasts && self.bytes < TURN_BYTES {
                self.turn = Some(ticket);
                return Poll::Ready(());
            }
        }
        if self.bytes < TURN_BYTES && !is_crowded {
            return Poll::Ready(());
        }
        drop(port);
        self.burst_ends();
        let mut port = self.turns.0.lock();
        let ticket = port.queue.wait(self.of, self.lane, context.waker());
        if port.turn == Who::Nobody {
            // It is the only one that waits.
            let _itself = port.queue.serve();
            drop(port);
            return self.begin_turn(ticket);
        }
        self.waits = Some(ticket);
        Poll::Pending
    }

    fn begin_turn(&mut self, ticket: Ticket) -> Poll<()> {
        let mut port = self.turns.0.lock();
        port.turn = Who::Taken(ticket);
        port.took = Duration::ZERO;
        self.turns.end_soon();
        self.turn = Some(ticket);
        Poll::Ready(())
    }

    /// Counts what it took to process the last read. Returns whether turns are needed.
    fn processed(&mut self) -> bool {
        let now = Instant::now();
        let since = self.since.take();
        let took = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.took += took;
        let mut port = self.turns.0.lock();
        if self
            .turn
            .is_some_and(|ticket| port.turn == Who::Taken(ticket))
        {
            port.took += took;
        }
        port.count(now, took)
    }

    /// Begins to count anew.
    fn burst_ends(&mut self) {
        if self.bytes > 0 {
            let is_long = self.took >= TURN_MAX;
            self.lane = if is_long { Lane::Long } else { Lane::Quick };
        }
        self.bytes = 0;
        self.took = Duration::ZERO;
    }

    /// Counts what was read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.since = Some(Instant::now());
    }

    /// Nothing more is read now: what comes next is a burst of its own.
    pub(super) fn pause(&mut self) {
        if self.since.is_some() {
            self.processed();
        }
        self.burst_ends();
        self.turn = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin};

    use futures::{
        FutureExt as _,
        future::{join, join_all},
        poll,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::advance,
    };

    use super::*;
    use crate::transport::{Connection, Place};

    /// Turns that each connection has to read.
    const TURNS: usize = 6;

    /// A connection with so many bytes to read, and its other end.
    async fn connection(turns: &Turns, bytes: usize) -> (Connection, DuplexStream) {
        let (mut client, server) = duplex(bytes);
        client.write_all(&vec![7; bytes]).await.unwrap();
        let reading = turns.reading(None);
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
        // Neither waits until the other has read all.
        let (first, last) = order.split_at(TURNS);
        for connection in [1, 2] {
            assert!(first.contains(&connection), "{order:?}");
            assert!(last.contains(&connection), "{order:?}");
        }
    }

    fn reading(turns: &Turns, address: u8) -> Reading {
        turns.reading(Some(IpAddr::from([10, 0, 0, address])))
    }

    /// Reads once, when it may, as a connection that is busy for `took` afterwards.
    async fn read_for(reading: &mut Reading, took: Duration) {
        poll_fn(|context| reading.poll_turn(context)).await;
        reading.read(1);
        advance(took).now_or_never();
        // The client sends the next burst when this was answered.
        reading.pause();
    }

    #[tokio::test(start_paused = true)]
    async fn small_bursts_that_take_long_are_read_in_turns_with_pauses() {
        let turns = Turns::default();
        let took = Duration::from_millis(5);
        let begin = Instant::now();
        let mut hostile: Vec<_> = (0..64).map(|_| reading(&turns, 0)).collect();
        let reads = hostile.iter_mut().map(|reading| async {
            for _ in 0..3 {
                read_for(reading, took).await;
            }
        });
        join_all(reads).await;
        let busy = took * 3 * 64;
        let least = (busy - FREE_MAX - took) * (1 + PAUSES) / 2;
        let elapsed = begin.elapsed();
        assert!(elapsed >= least, "{elapsed:?} for {busy:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_one_turn_of_others_however_many_there_are() {
        let turns = Turns::default();
        let took = Duration::from_millis(5);
        let hostile = (0..64).map(|_| {
            let mut reading = reading(&turns, 0);
            tasks::spawn("hostile", async move {
                loop {
                    read_for(&mut reading, took).await;
                }
            })
        });
        let hostile: Vec<_> = hostile.collect();
        for address in [0, 1] {
            let mut honest = reading(&turns, address);
            let mut waits = Vec::new();
            for _ in 0..100 {
                sleep(Duration::from_millis(50)).await;
                let begin = Instant::now();
                read_for(&mut honest, Duration::from_micros(100)).await;
                waits.push(begin.elapsed());
            }
            // All that sent at once at first came before.
            let later = waits[30..].iter().max().expect("some");
            assert!(*later < took * (2 + PAUSES), "{address}: {waits:?}");
        }
        hostile.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_read_in_its_turn_is_passed_over() {
        let turns = Turns::default();
        turns.0.lock().taken = Duration::from_secs(9);
        let [mut first, mut stuck, mut last] = [0, 1, 2].map(|_| reading(&turns, 0));
        poll_fn(|context| first.poll_turn(context)).await;
        // As a connection whose client does not take what was written: it is not polled again.
        let wanted = poll!(pin!(poll_fn(|context| stuck.poll_turn(context))));
        assert!(wanted.is_pending());
        poll_fn(|context| last.poll_turn(context)).await;
        drop(last);
        poll_fn(|context| stuck.poll_turn(context)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_while_it_waits_or_has_its_turn_keeps_nobody_waiting() {
        let turns = Turns::default();
        turns.0.lock().taken = Duration::from_secs(9);
        let [mut first, mut waits, mut last] = [0, 1, 2].map(|address| reading(&turns, address));
        poll_fn(|context| first.poll_turn(context)).await;
        let wanted = poll!(pin!(poll_fn(|context| waits.poll_turn(context))));
        assert!(wanted.is_pending());
        drop((first, waits));
        poll_fn(|context| last.poll_turn(context)).await;
    }
}
