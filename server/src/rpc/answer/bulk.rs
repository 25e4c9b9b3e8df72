//! Reads of unknown size: their threads, their turns, and the memory they may hold.
//!
//! A read starts at once, on one of a few threads. A read that proves large leaves its place to
//! others and continues in turns with the other large reads, so that neither short reads nor the
//! threads that serve heartbeats wait for it. The rows that it keeps are charged to one account per
//! node; a read that finds the account empty is ended and refused.
//!
//! Invariant: the result of a read that was ended early is never used.

mod memory;
mod paced;
mod turn;
mod turns;

use std::{fmt, num::NonZero, sync::Arc, thread};

use tenure_statemachine::{ReadError, Reader};
use tokio::sync::Semaphore;

pub(in crate::rpc) use self::{
    memory::{CALLER, Held, Memory},
    turn::{Start, Turn},
};
use self::{
    paced::Paced,
    turn::{End, Places},
    turns::Turns,
};
use super::{failure::Failure, status::Reason};
use crate::{fatal, node::Replica, share::ANSWERS_BYTES_MAX, tasks};

/// Short reads that run at once, each on a blocking thread: enough to use the disk, few enough to
/// leave memory and processors to other work during a flood. Further reads wait within their
/// deadlines.
const SHORT_READS_MAX: usize = 32;
/// Large reads that have a thread; the next one is refused. They take turns, so more of them would
/// only make each slower.
const LARGE_READS_MAX: usize = 16;
/// Most memory for which a read waits before it is repeated; a read that needs more is refused. A
/// part of the account, so that one that waits for much does not delay all others.
const WAITED_FOR_BYTES_MAX: usize = ANSWERS_BYTES_MAX / 4;

/// How many times what it was found to need a read waits for. It may need more, and reads
/// everything again then: with twice as much, six reads of one connection were eighteen.
const WAITED_FOR_TIMES: usize = 8;

/// Runs reads of unknown size.
#[derive(Clone)]
pub(in crate::rpc) struct BulkReads {
    replica: Arc<dyn Replica>,
    places: Places,
    memory: Memory,
}

impl BulkReads {
    pub(in crate::rpc) fn new(replica: Arc<dyn Replica>) -> Self {
        // Half of the processors, so that the others serve everything else.
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let large_at_once = (processors / 2).max(1);
        Self {
            replica,
            places: Places {
                short: Arc::new(Semaphore::new(SHORT_READS_MAX)),
                large: Arc::new(Semaphore::new(LARGE_READS_MAX)),
                turns: Arc::new(Turns::new(large_at_once)),
            },
            memory: Memory::new(),
        }
    }

    /// The share to which the response of the call that this task serves is charged.
    pub(in crate::rpc) fn memory(&self) -> Memory {
        self.memory.of_caller()
    }

    /// The same reads, for a task that continues to serve the call of this one.
    pub(in crate::rpc) fn of_caller(&self) -> Self {
        Self {
            memory: self.memory.of_caller(),
            ..self.clone()
        }
    }

    /// Reads the present state; all rows read count as held until the read ends.
    ///
    /// # Cancel safety
    /// A read whose future was dropped ends within its present turn.
    pub(in crate::rpc) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Failure> {
        let done = self
            .run(Start::Charged, Held::none(), |reader, _| read(reader))
            .await;
        done.map_err(Failure::from)
    }

    /// As [`BulkReads::read`], for a reader that charges what it keeps to its [`Turn`] itself,
    /// starting with the `held` memory.
    pub(in crate::rpc) async fn read_charged<T: Send + 'static>(
        &self,
        start: Start,
        held: Held,
        read: impl FnOnce(&Reader<'_>, &Turn) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Ended> {
        self.run(start, held, read).await
    }

    /// As [`BulkReads::read`], for a reader that keeps none of the rows it reads.
    ///
    /// # Cancel safety
    /// As [`BulkReads::read`].
    pub(in crate::rpc) async fn look_through<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Failure> {
        let read = |reader: &Reader<'_>, _: &Turn| read(reader);
        let done = self.run(Start::Short, Held::none(), read).await;
        done.map_err(Failure::from)
    }

    /// As [`BulkReads::read_charged`]; a read without enough memory is repeated when there is
    /// enough, unless it needs very much.
    pub(in crate::rpc) async fn read_when_free<T: Send + 'static>(
        &self,
        start: Start,
        read: impl Fn(&Reader<'_>, &Turn) -> Result<T, ReadError> + Clone + Send + 'static,
    ) -> Result<T, Failure> {
        let mut held = Held::none();
        loop {
            let needed = match self.run(start, held, read.clone()).await {
                Err(Ended::NoMemory(needed)) if needed < WAITED_FOR_BYTES_MAX => needed,
                result => return result.map_err(Failure::from),
            };
            let wanted = needed.saturating_mul(WAITED_FOR_TIMES);
            let memory = self.memory();
            held = memory.take(wanted.min(WAITED_FOR_BYTES_MAX)).await?;
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        start: Start,
        held: Held,
        read: impl FnOnce(&Reader<'_>, &Turn) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Ended> {
        let turn = Turn::begin(self.places.clone(), self.memory(), held, start).await;
        // Dropped with the caller's future.
        let wanted = turn.wanted();
        let replica = Arc::clone(&self.replica);
        let reading = tasks::spawn_blocking(move || {
            turn.start();
            let engine = replica.engine();
            let view = match engine.snapshot() {
                Ok(view) => view,
                Err(error) => fatal::stop(&error),
            };
            let paced = Paced::new(view.as_ref(), &turn);
            let reader = match Reader::new(&paced) {
                Ok(reader) => reader,
                Err(fault) => fatal::stop(&fault),
            };
            let result = read(&reader, &turn);
            match turn.end() {
                None => result.map_err(|error| Ended::Refused(error.into())),
                Some(End::NoMemory(needed)) => Err(Ended::NoMemory(needed)),
                Some(End::NoPlace | End::Unwanted) => {
                    Err(Ended::Refused(Reason::TooManyRequests.into()))
                }
            }
        });
        let result = reading.await.expect("a read neither panics nor is aborted");
        drop(wanted);
        result
    }
}

impl fmt::Debug for BulkReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkReads").finish_non_exhaustive()
    }
}

/// Why a read has no result.
#[derive(Debug)]
pub(in crate::rpc) enum Ended {
    /// There was not enough memory; the bytes that were needed when this was found.
    NoMemory(usize),
    /// It was refused for another reason.
    Refused(Failure),
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::NoMemory(needed) if needed > ANSWERS_BYTES_MAX => Reason::RangeTooLarge.into(),
            Ended::NoMemory(_) => Reason::TooManyRequests.into(),
            Ended::Refused(failure) => failure,
        }
    }
}

#[cfg(test)]
mod tests;
