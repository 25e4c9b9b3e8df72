//! Turns of connections that take much time to read.
//!
//! What a connection reads is processed at once, on the thread that serves everybody: header blocks
//! of 64 KiB take milliseconds, and each step of another call would wait for those of every
//! connection that sends some. So the time of reading is measured. While it is short on a port,
//! its connections read as they like, up to [`TURN_BYTES`] at once. Otherwise they read one after
//! the other, in the order of `fair`, until [`TURN_MAX`] is used up; the next reads when all tasks
//! that were ready ran. So most calls wait for one turn of another, however many connections send
//! without pause, and the thread is never idle while one waits: turns are passed on by tasks that
//! run, and by no clock. What the clock measures too long, where the thread did not run, changes
//! their order and how many fit between two looks at everything else, and nothing more.
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
use tokio::{task::yield_now, time::Instant};

use super::fair::{Fair, Lane, Of, Ticket};
use crate::{share::network, tasks};

/// Bytes that a connection reads in one turn: the calls of some two hundred clients, which should
/// enter one batch.
pub(super) const TURN_BYTES: usize = 64 << 10;
/// Time after which a turn is over, though there are bytes left, and after which everything else
/// runs once before the next turn begins. What is read at once is processed all the same: two or
/// three header blocks of 6,000 fields, in 2 ms. The next turn of a connection that took so long
/// waits in the lane of those. Small calls of a hundred connections fit.
const TURN_MAX: Duration = Duration::from_millis(1);
/// Part of all time that the connections of a port may take without turns, as a divisor. That of
/// honest clients at their fastest is less.
const FREE_PART: u32 = 2;
/// Time that they may have taken beyond that: others wait for so long when all connections send at
/// once.
const FREE_MAX: Duration = Duration::from_millis(20);

/// The turns of one port. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Mutex<Port>>);

#[derive(Debug)]
struct Port {
    queue: Fair,
    turn: Turn,
    /// What turns took since everything else ran.
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
enum Turn {
    /// Nobody, and nobody waits. No task ends turns.
    Idle,
    /// Nobody, until everything else ran.
    Over,
    /// It is offered to what waited with this ticket, which was woken.
    Offered(Ticket),
    Taken(Ticket),
}

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Port {
            queue: Fair::default(),
            turn: Turn::Idle,
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
        let was_crowded = self.is_crowded && self.turn != Turn::Idle;
        self.is_crowded = was_crowded || self.taken > FREE_MAX;
        self.is_crowded
    }

    /// Offers the turn to the next that waits, and wakes it.
    fn offer(&mut self) {
        self.turn = match self.queue.serve() {
            Some((ticket, waker)) => {
                waker.wake();
                Turn::Offered(ticket)
            }
            None => Turn::Over,
        };
    }

    /// Ends this turn, and passes it on if there is time left. Without effect if it is over.
    fn end(&mut self, ticket: Ticket) {
        if [Turn::Offered(ticket), Turn::Taken(ticket)].contains(&self.turn) {
            self.turn = Turn::Over;
            if self.took < TURN_MAX {
                self.offer();
            }
        }
    }

    /// Goes on when everything else ran: `offered` is what has been offered since the last time.
    fn go_on(&mut self, offered: Option<Ticket>) {
        self.took = Duration::ZERO;
        match self.turn {
            // It has just been woken. If it does not read, the next one may.
            Turn::Offered(ticket) if offered != Some(ticket) => {}
            _ => self.offer(),
        }
        if self.turn == Turn::Over {
            self.turn = Turn::Idle;
        }
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

    /// Ends turns and offers the next each time that everything else ran, until nobody waits.
    fn keep_on(&self) {
        let turns = self.clone();
        tasks::spawn("turns", async move {
            let mut offered = None;
            loop {
                // All that is ready now runs before.
                yield_now().await;
                let mut port = turns.0.lock();
                port.go_on(offered);
                offered = match port.turn {
                    Turn::Idle => return,
                    Turn::Offered(ticket) => Some(ticket),
                    Turn::Over | Turn::Taken(_) => None,
                };
            }
        });
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
        let mut port = self.turns.0.lock();
        for ticket in self.waits.into_iter().chain(self.turn) {
            port.queue.leave(ticket);
            port.end(ticket);
        }
    }
}

impl Reading {
    /// Waits for the next turn where one is needed. What was read before has been processed.
    pub(super) fn poll_turn(&mut self, context: &Context<'_>) -> Poll<()> {
        let is_crowded = self.processed();
        let turns = self.turns.clone();
        let mut port = turns.0.lock();
        if let Some(ticket) = self.waits {
            if port.queue.wake_with(ticket, context.waker()) {
                return Poll::Pending;
            }
            self.waits = None;
            if port.turn == Turn::Offered(ticket) {
                port.turn = Turn::Taken(ticket);
                self.turn = Some(ticket);
                return Poll::Ready(());
            }
        }
        let goes_on = match self.turn {
            Some(ticket) => port.turn == Turn::Taken(ticket) && self.took < TURN_MAX,
            None => !is_crowded,
        };
        if goes_on && self.bytes < TURN_BYTES {
            return Poll::Ready(());
        }
        self.burst_ends();
        let ticket = port.queue.wait(self.of, self.lane, context.waker());
        if port.turn == Turn::Idle {
            port.took = Duration::ZERO;
            turns.keep_on();
        } else if port.turn != Turn::Over || port.took >= TURN_MAX {
            self.waits = Some(ticket);
            if let Some(before) = self.turn.take() {
                port.end(before);
            }
            return Poll::Pending;
        }
        // Nobody else waits.
        port.queue.serve();
        port.turn = Turn::Taken(ticket);
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
            .is_some_and(|ticket| port.turn == Turn::Taken(ticket))
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
        if let Some(ticket) = self.turn.take() {
            self.turns.0.lock().end(ticket);
        }
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
        time::{advance, sleep},
    };

    use super::*;
    use crate::transport::{Connection, Place};

    /// More than any test has, as a bound.
    const PASSES_MAX: usize = 10_000;
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

    /// Counts how often everything else ran, while `reads` wait for their turns.
    async fn passes_of(reads: impl Future) -> usize {
        let ran = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&ran);
        let other = tasks::spawn("other", async move {
            // Beyond that the clock goes on, for turns that would wait for it.
            for _ in 0..PASSES_MAX {
                *counted.lock() += 1;
                yield_now().await;
            }
        });
        reads.await;
        other.abort();
        *ran.lock()
    }

    /// The reads of so many connections at one address, each of which sends `bursts`.
    async fn reads_of(turns: &Turns, connections: usize, bursts: usize, took: Duration) {
        let mut all: Vec<_> = (0..connections).map(|_| reading(turns, 0)).collect();
        let reads = all.iter_mut().map(|reading| async {
            for _ in 0..bursts {
                read_for(reading, took).await;
            }
        });
        join_all(reads).await;
    }

    #[tokio::test(start_paused = true)]
    async fn everything_else_runs_between_two_small_bursts_that_take_long() {
        let took = Duration::from_millis(5);
        let passes = passes_of(reads_of(&Turns::default(), 64, 3, took)).await;
        let free = usize::try_from(FREE_MAX.as_millis() / took.as_millis()).unwrap() * 2;
        assert!(passes >= 64 * 3 - free, "{passes}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_connections_that_take_little_read_at_once_though_turns_are_needed() {
        let turns = Turns::default();
        turns.0.lock().taken = Duration::from_secs(9);
        let took = Duration::from_micros(10);
        let passes = passes_of(reads_of(&turns, 1000, 1, took)).await;
        assert!(passes < 1000 / 20, "{passes}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_clock_though_a_thread_that_does_not_run_makes_all_slow() {
        let turns = Turns::default();
        turns.0.lock().taken = Duration::from_secs(9);
        let took = Duration::from_millis(11);
        let begin = Instant::now();
        reads_of(&turns, 1000, 2, took).await;
        assert_eq!(begin.elapsed(), took * 2000);
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
                // Time is the subject, and the clock is paused.
                sleep(Duration::from_millis(50)).await;
                let begin = Instant::now();
                read_for(&mut honest, Duration::from_micros(100)).await;
                waits.push(begin.elapsed());
            }
            // All that sent at once at first came before.
            let later = waits[30..].iter().max().expect("some");
            assert!(*later < took * 3, "{address}: {waits:?}");
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
