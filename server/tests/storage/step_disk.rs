//! A disk of the log in memory that works when it is told to, and what a crash leaves of it.
//!
//! # Invariants
//! As [`LogDisk`] demands: what was synced survives a crash; here nothing else does.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tenured::storage::{Fact, LogDisk, LogWrite};

/// How long a test waits for the writer before it fails.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What is on the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) records: BTreeMap<u64, Bytes>,
    pub(crate) vote: Option<Vec<u8>>,
    pub(crate) committed: Option<Vec<u8>>,
    pub(crate) purged: Option<Vec<u8>>,
}

impl Image {
    pub(crate) fn apply(&mut self, write: &LogWrite) {
        match write {
            LogWrite::Put(record) => {
                self.records.insert(record.index, record.to_bytes());
            }
            LogWrite::Remove(start, end) => {
                self.records
                    .retain(|index, _| index < start || index >= end);
            }
            LogWrite::Fact(Fact::Vote, value) => self.vote = Some(value.clone()),
            LogWrite::Fact(Fact::Committed, value) => self.committed = Some(value.clone()),
            LogWrite::Fact(Fact::Purged, value) => self.purged = Some(value.clone()),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    written: Image,
    durable: Image,
    /// Syncs that may still happen; `None` when the disk does not wait to be told.
    permits: Option<u64>,
    syncs: u64,
    unreadable: bool,
}

/// See [`StepDisk::freed_in_the_end`].
pub(crate) struct Freed(Arc<StepDisk>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.lock().permits = None;
        self.0.changed.notify_all();
    }
}

/// The disk.
#[derive(Debug, Default)]
pub(crate) struct StepDisk {
    state: Mutex<State>,
    changed: Condvar,
}

impl StepDisk {
    /// A disk that starts from `image`, and syncs at once.
    pub(crate) fn holding(image: Image) -> Self {
        let state = State {
            written: image.clone(),
            durable: image,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// An empty disk whose syncs wait for [`StepDisk::sync_once`].
    pub(crate) fn stepping() -> Self {
        let disk = Self::default();
        disk.lock().permits = Some(0);
        disk
    }

    /// Lets one sync happen and waits until it has.
    pub(crate) fn sync_once(&self) {
        let mut state = self.lock();
        let goal = state.syncs + 1;
        state.permits = state.permits.map(|permits| permits + 1);
        self.changed.notify_all();
        while state.syncs < goal {
            let (guard, waited) = self
                .changed
                .wait_timeout(state, WAIT_MAX)
                .unwrap_or_else(PoisonError::into_inner);
            assert!(!waited.timed_out(), "the writer did not sync");
            state = guard;
        }
    }

    /// Lets syncs happen at once as soon as what it returns is dropped.
    pub(crate) fn freed_in_the_end(self: &Arc<Self>) -> Freed {
        Freed(Arc::clone(self))
    }

    /// From now on reads fail.
    pub(crate) fn fail_reads(&self) {
        self.lock().unreadable = true;
    }

    /// Loses a record.
    pub(crate) fn lose(&self, index: u64) {
        self.lock().written.records.remove(&index);
    }

    /// What a power cut at this moment leaves.
    pub(crate) fn after_crash(&self) -> Image {
        self.lock().durable.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogDisk for StepDisk {
    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        let mut state = self.lock();
        for write in writes {
            state.written.apply(write);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock();
        while state.permits == Some(0) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.permits = state.permits.map(|permits| permits - 1);
        state.durable = state.written.clone();
        state.syncs += 1;
        self.changed.notify_all();
        Ok(())
    }

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let state = self.lock();
        if state.unreadable {
            return Err(io::Error::other("no such sector"));
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for (index, record) in state.written.records.range(start..end.max(start)) {
            if !found.is_empty() && bytes + record.len() > bytes_max {
                break;
            }
            bytes += record.len();
            found.push((*index, record.clone()));
        }
        Ok(found)
    }

    fn last_index(&self) -> io::Result<Option<u64>> {
        Ok(self.lock().written.records.keys().next_back().copied())
    }

    fn bytes(&self) -> u64 {
        let state = self.lock();
        let lengths = state.written.records.values().map(Bytes::len);
        lengths.sum::<usize>() as u64
    }

    fn fact(&self, fact: Fact) -> io::Result<Option<Vec<u8>>> {
        let state = self.lock();
        Ok(match fact {
            Fact::Vote => state.written.vote.clone(),
            Fact::Committed => state.written.committed.clone(),
            Fact::Purged => state.written.purged.clone(),
        })
    }
}
