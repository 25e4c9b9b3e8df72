//! A snapshot as a stream of pieces, in the form of etcd's `Maintenance.Snapshot`.
//!
//! A thread reads one consistent view of the state twice: once to plan the file, once to write it.
//! Writes go on meanwhile. The stream ends with a checksum, or with the failure.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use tenure_backup::{
    bbolt::{Plan, Planner, RowFault, WriteError, Writer},
    file::{CHECKSUM_BYTES, Hasher},
    schema::RowError,
};
use tenure_statemachine::{Engine, Fault, View};
use thiserror::Error;

use super::{
    export::{FeedError, feed},
    pipe::{Receiver, Sender, Unsent, pipe},
    rows::ClusterFacts,
};
use crate::tasks;

/// Snapshots that are made at a time. Each has a thread, a plan of a hundredth of the data, and a
/// view that keeps files of the state.
pub const SNAPSHOTS_MAX: usize = 2;

/// Longest time in which a client takes nothing. Until then its view keeps files that compaction
/// would remove.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Why a snapshot was not made, or not to its end.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// [`SNAPSHOTS_MAX`] are being made.
    #[error("{SNAPSHOTS_MAX} snapshots are being made")]
    TooMany,
    /// The client took nothing for too long.
    #[error("nothing of the snapshot was taken for {} seconds", STALL_MAX.as_secs())]
    Stalled,
    /// The client went away.
    #[error("nobody takes the snapshot")]
    Gone,
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] Fault),
    /// The state has a row that a file cannot hold.
    #[error("the state cannot be written as a snapshot: {0}")]
    Row(#[from] RowFault),
    /// A row could not be encoded.
    #[error("the state cannot be written as a snapshot: {0}")]
    Record(#[from] RowError),
    /// The view changed while it was read.
    #[error("the state changed while it was read, in bucket {0:?}")]
    Changed(Bytes),
    /// The operating system refused a thread.
    #[error("no thread could be started")]
    Thread(#[source] std::io::Error),
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes.
    pub bytes: Bytes,
    /// Bytes of the snapshot after it.
    pub remaining: u64,
}

/// The pieces of one snapshot; the last one is its checksum.
#[derive(Debug)]
pub struct Pieces {
    receiver: Receiver<Result<Piece, SnapshotError>>,
    _place: Place,
}

impl Stream for Pieces {
    type Item = Result<Piece, SnapshotError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(context)
    }
}

/// Makes snapshots, not too many at a time.
#[derive(Clone, Debug, Default)]
pub struct SnapshotStreams {
    running: Arc<AtomicUsize>,
}

/// One of the snapshots that may be made.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl SnapshotStreams {
    /// Begins a snapshot of the present state of `engine`.
    ///
    /// # Errors
    /// [`SnapshotError::TooMany`], or when no thread can be started.
    pub fn begin(
        &self,
        engine: Arc<dyn Engine>,
        facts: ClusterFacts,
    ) -> Result<Pieces, SnapshotError> {
        let place = self.place()?;
        let (sender, receiver) = pipe(STALL_MAX);
        let work = move || write(&*engine, &facts, sender);
        tasks::spawn_thread("snapshot", work).map_err(SnapshotError::Thread)?;
        Ok(Pieces {
            receiver,
            _place: place,
        })
    }

    fn place(&self) -> Result<Place, SnapshotError> {
        let place = Place(Arc::clone(&self.running));
        let before = self.running.fetch_add(1, Ordering::AcqRel);
        if before >= SNAPSHOTS_MAX {
            return Err(SnapshotError::TooMany);
        }
        Ok(place)
    }
}

type Pipe = Sender<Result<Piece, SnapshotError>>;

/// The work of the thread.
fn write(engine: &dyn Engine, facts: &ClusterFacts, sender: Pipe) {
    let written = engine
        .snapshot()
        .map_err(|error| SnapshotError::State(error.into()))
        .and_then(|view| write_view(&*view, facts, &sender));
    match written {
        Ok(()) | Err(SnapshotError::Gone) => {}
        // What waits was written of a state that is in doubt.
        Err(error) => sender.fail(Err(error)),
    }
}

fn write_view(view: &dyn View, facts: &ClusterFacts, sender: &Pipe) -> Result<(), SnapshotError> {
    let plan = plan(view, facts)?;
    let mut output = Output {
        remaining: plan.bytes() + CHECKSUM_BYTES as u64,
        hasher: Hasher::default(),
        sender,
    };
    let mut writer = Writer::begin(plan, |chunk| output.chunk(chunk))?;
    feed(view, facts, &mut writer)?;
    writer.finish()?;
    output.checksum()
}

/// What is sent, and counted and hashed as it is.
struct Output<'a> {
    remaining: u64,
    hasher: Hasher,
    sender: &'a Pipe,
}

impl Output<'_> {
    fn chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotError> {
        self.hasher.add(&chunk);
        self.send(chunk)
    }

    fn checksum(mut self) -> Result<(), SnapshotError> {
        let checksum = std::mem::take(&mut self.hasher).finish();
        self.send(Bytes::copy_from_slice(&checksum.0))
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), SnapshotError> {
        // The plan says how many bytes come.
        self.remaining = self.remaining.saturating_sub(bytes.len() as u64);
        let remaining = self.remaining;
        Ok(self.sender.send(Ok(Piece { bytes, remaining }))?)
    }
}

/// The first pass.
fn plan(view: &dyn View, facts: &ClusterFacts) -> Result<Plan, SnapshotError> {
    let mut planner = Planner::new();
    feed(view, facts, &mut planner)?;
    Ok(planner.finish())
}

impl From<Unsent> for SnapshotError {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Gone => Self::Gone,
            Unsent::Stalled => Self::Stalled,
        }
    }
}

impl From<FeedError<RowFault>> for SnapshotError {
    fn from(error: FeedError<RowFault>) -> Self {
        match error {
            FeedError::State(fault) => Self::State(fault),
            FeedError::Row(error) => Self::Record(error),
            FeedError::Sink(fault) => Self::Row(fault),
        }
    }
}

impl From<WriteError<SnapshotError>> for SnapshotError {
    fn from(error: WriteError<SnapshotError>) -> Self {
        match error {
            WriteError::Row(fault) => Self::Row(fault),
            WriteError::Changed { bucket } => Self::Changed(bucket),
            WriteError::Sink(error) => error,
        }
    }
}

impl From<FeedError<WriteError<SnapshotError>>> for SnapshotError {
    fn from(error: FeedError<WriteError<SnapshotError>>) -> Self {
        match error {
            FeedError::State(fault) => Self::State(fault),
            FeedError::Row(error) => Self::Record(error),
            FeedError::Sink(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::MemEngine;

    use super::*;

    #[tokio::test]
    async fn more_than_so_many_at_once_are_refused_until_one_is_dropped() {
        let streams = SnapshotStreams::default();
        let engine: Arc<dyn Engine> = Arc::new(MemEngine::new());
        let begin = || streams.begin(Arc::clone(&engine), ClusterFacts::default());
        let mut open: Vec<_> = (0..SNAPSHOTS_MAX).map(|_| begin().unwrap()).collect();
        assert!(matches!(begin(), Err(SnapshotError::TooMany)));
        open.pop();
        begin().unwrap();
    }
}
