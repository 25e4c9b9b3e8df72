//! The log's writer: writes all waiting requests as one batch, makes it durable, and completes
//! them.
//!
//! Self-clocking: requests that arrive during one sync form the next batch. There is no timer.
//!
//! # Invariants
//! The committed log id stored with a batch is covered by that batch and earlier ones: the quorum
//! may have committed more than this disk holds, and a log that holds another entry at its
//! committed index cannot be opened.

use std::{fmt, io, sync::Arc, thread::JoinHandle};

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::{
    mpsc::{self, error::SendError},
    oneshot,
};

use super::{
    entry,
    log_backlog::LogBacklog,
    log_disk::{Fact, LogDisk, LogWrite},
    log_tail::{LogTail, Watermark, at_most},
};
use crate::{
    consensus::{LogId, TypeConfig},
    fatal,
};

/// Capacity of the writer's queue. Appenders wait for room first (see `log_backlog.rs`); this bound
/// only stops a runaway.
pub(super) const REQUESTS_MAX: usize = 1024;

/// Bytes per batch. Keeps one sync within the time that heartbeats allow on a slow disk.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A request to the writer.
pub(super) enum LogRequest {
    /// Stores these records, the last of which is `last`; completes when durable.
    Append {
        writes: Vec<LogWrite>,
        last: Option<LogId>,
        mark: Watermark,
        bytes: usize,
        flushed: IOFlushed<TypeConfig>,
    },
    /// Removes the records after `last`; responds when durable.
    Truncate {
        last: Option<LogId>,
        done: oneshot::Sender<()>,
    },
    /// Performs these writes; responds when durable.
    Durable {
        writes: Vec<LogWrite>,
        done: oneshot::Sender<()>,
    },
    /// Removes the records from `from` up to `upto`, without a sync of its own; a crash may undo
    /// it.
    Purge { from: u64, upto: LogId },
    /// Syncs the disk, with the known committed log id, to check that it still responds.
    Probe,
}

impl fmt::Debug for LogRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append { .. } => "Append",
            Self::Truncate { .. } => "Truncate",
            Self::Durable { .. } => "Durable",
            Self::Purge { .. } => "Purge",
            Self::Probe => "Probe",
        })
    }
}

/// Handle of the writer thread. Dropping it waits until pending requests are written and the thread
/// has ended and released the disk: a database that is still open at process exit may crash it.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once dropped.
    requests: Option<mpsc::Sender<LogRequest>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) const fn new(requests: mpsc::Sender<LogRequest>, thread: JoinHandle<()>) -> Self {
        Self {
            requests: Some(requests),
            thread: Some(thread),
        }
    }

    /// Waits for room in the queue; returns the request when the writer is gone.
    pub(super) async fn send(&self, request: LogRequest) -> Result<(), SendError<LogRequest>> {
        match &self.requests {
            Some(requests) => requests.send(request).await,
            None => Err(SendError(request)),
        }
    }

    /// Returns a sender that does not keep the writer running.
    pub(super) fn downgrade(&self) -> Option<mpsc::WeakSender<LogRequest>> {
        self.requests.as_ref().map(mpsc::Sender::downgrade)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // Fails only after a panic, which has ended the process.
            _ = thread.join();
        }
    }
}

/// Observes the duration of each durable write.
pub type SyncObserver = Arc<dyn Fn(std::time::Duration) + Send + Sync>;

/// The state that the writer shares with the log store.
pub(super) struct Parts {
    pub(super) disk: Arc<dyn LogDisk>,
    pub(super) tail: Arc<Mutex<LogTail>>,
    pub(super) backlog: Arc<LogBacklog>,
    pub(super) clock: Arc<dyn crate::clock::Clock>,
    pub(super) observe: SyncObserver,
}

/// Runs until every sender is gone. Blocks, and so needs its own thread.
pub(super) fn run(parts: &Parts, mut requests: mpsc::Receiver<LogRequest>) {
    let mut batch = Batch {
        written: parts.tail.lock().last(),
        ..Batch::default()
    };
    while let Some(request) = requests.blocking_recv() {
        debug_assert!(
            batch.writes.is_empty() && !batch.must_sync(),
            "a batch begins when the one before is answered"
        );
        parts.backlog.begin();
        batch.take(request);
        while batch.bytes < BATCH_BYTES_MAX {
            match requests.try_recv() {
                Ok(request) => batch.take(request),
                Err(_) => break,
            }
        }
        let started = parts.clock.now();
        let durable = batch.must_sync();
        let (bytes, appends) = (batch.bytes, batch.appends);
        batch.finish(&*parts.disk, &parts.tail);
        parts.backlog.end(bytes, appends);
        batch.answer();
        if durable {
            (parts.observe)(parts.clock.now().saturating_sub(started));
        }
        if requests.is_empty() {
            // A disk that hangs here delays the next request, so this is watched too.
            parts.backlog.begin();
            if let Err(error) = parts.disk.rest() {
                fatal::stop(&LogFailed(error));
            }
            parts.backlog.end(0, 0);
        }
    }
}

#[derive(Default)]
struct Batch {
    writes: Vec<LogWrite>,
    bytes: usize,
    appends: usize,
    /// The end of the log on disk once this batch is written; kept across batches.
    written: Option<LogId>,
    mark: Option<Watermark>,
    /// The newest completion only: completions are cumulative, and each one wakes the consensus
    /// core.
    flushed: Option<IOFlushed<TypeConfig>>,
    done: Vec<oneshot::Sender<()>>,
    probe: bool,
}

impl Batch {
    fn take(&mut self, request: LogRequest) {
        match request {
            LogRequest::Append {
                writes,
                last,
                mark,
                bytes,
                flushed,
            } => {
                debug_assert!(
                    last.is_some_and(|last| {
                        let put = writes.last();
                        matches!(put, Some(LogWrite::Put(record)) if record.index == last.index)
                    }),
                    "an append has entries, and names the last of them"
                );
                self.writes.extend(writes);
                self.bytes += bytes;
                self.appends += 1;
                self.written = last.or(self.written);
                self.mark = Some(mark);
                self.flushed = Some(flushed);
            }
            LogRequest::Truncate { last, done } => {
                let from = last.map_or(0, |id| id.index + 1);
                self.writes.push(LogWrite::Remove(from, u64::MAX));
                self.written = at_most(last, self.written);
                self.done.push(done);
            }
            LogRequest::Durable { writes, done } => {
                self.writes.extend(writes);
                self.done.push(done);
            }
            LogRequest::Purge { from, upto } => {
                debug_assert!(
                    from <= upto.index,
                    "what is removed lies below the purge point"
                );
                let fact = entry::encode_log_id(&upto);
                self.writes.push(LogWrite::Remove(from, upto.index + 1));
                self.writes.push(LogWrite::Fact(Fact::Purged, fact));
                if self.written.is_none_or(|last| last.index < upto.index) {
                    self.written = Some(upto);
                }
            }
            LogRequest::Probe => self.probe = true,
        }
    }

    const fn must_sync(&self) -> bool {
        self.flushed.is_some() || !self.done.is_empty() || self.probe
    }

    fn finish(&mut self, disk: &dyn LogDisk, tail: &Mutex<LogTail>) {
        let sync = self.must_sync();
        // Added to a write that syncs anyway: it spares a restarted node some work, and never costs
        // a sync. A truncation is durable before entries that replace the truncated ones are
        // committed, so entries written up to the committed index are committed.
        if sync && let Some(committed) = at_most(tail.lock().committed(), self.written) {
            debug_assert!(
                self.written
                    .is_some_and(|last| committed.index < last.index || committed == last),
                "the entry that is noted as committed is the one on disk"
            );
            self.writes.push(LogWrite::Fact(
                Fact::Committed,
                entry::encode_log_id(&committed),
            ));
        }
        #[cfg(debug_assertions)]
        self.check_order();
        if let Err(error) = self.write(disk, sync) {
            fatal::stop(&LogFailed(error));
        }
        if let Some(mark) = self.mark.take() {
            tail.lock().durable(mark);
        }
        self.writes.clear();
        (self.bytes, self.appends, self.probe) = (0, 0, false);
    }

    /// Checks that each entry follows the one before, unless entries are removed in between.
    #[cfg(debug_assertions)]
    fn check_order(&self) {
        let mut due: Option<u64> = None;
        for write in &self.writes {
            match write {
                LogWrite::Put(record) => {
                    debug_assert!(
                        due.is_none_or(|due| due == record.index),
                        "entries are written in the order of their indexes"
                    );
                    due = record.index.checked_add(1);
                }
                LogWrite::Remove(..) => due = None,
                LogWrite::Fact(..) => {}
            }
        }
    }

    /// Reports to the waiters that the batch is durable.
    fn answer(&mut self) {
        if let Some(flushed) = self.flushed.take() {
            flushed.io_completed(Ok(()));
        }
        for done in self.done.drain(..) {
            // The requester may be gone; the write stands.
            _ = done.send(());
        }
    }

    fn write(&self, disk: &dyn LogDisk, sync: bool) -> io::Result<()> {
        disk.write(&self.writes)?;
        if sync { disk.sync() } else { Ok(()) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the log could not be written or synced; nothing after this can be acknowledged")]
struct LogFailed(#[source] io::Error);
