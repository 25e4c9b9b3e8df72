//! The log's writer: takes everything that waits, writes it, makes it durable, and says so.
//!
//! Self-clocking: what arrives during one sync is the next batch. There is no timer.
//!
//! # Invariants
//! What a batch says is committed was written with it or before it: others may have committed more
//! than this disk has, and a log that names what it does not hold cannot be opened.

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

/// Requests that may wait for the writer. Whoever adds to the log waits for room first (see
/// `log_backlog.rs`); the bound only stops a runaway.
pub(super) const REQUESTS_MAX: usize = 1024;

/// Bytes written at once. Keeps one sync within the time that heartbeats allow on a slow disk.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Something for the writer to do.
pub(super) enum LogRequest {
    /// Store these records, the last of which is `last`; complete when durable.
    Append {
        writes: Vec<LogWrite>,
        last: Option<LogId>,
        mark: Watermark,
        bytes: usize,
        flushed: IOFlushed<TypeConfig>,
    },
    /// Remove the records after `last`; answer when durable.
    Truncate {
        last: Option<LogId>,
        done: oneshot::Sender<()>,
    },
    /// Make these writes; answer when durable.
    Durable {
        writes: Vec<LogWrite>,
        done: oneshot::Sender<()>,
    },
    /// Remove the records from `from` up to `upto` some time; a crash may undo it.
    Purge { from: u64, upto: LogId },
    /// Sync what is known to be committed, to see whether the disk still answers.
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

/// The way to the writer. When it is dropped, what waits is written, and the thread has ended and
/// given back the disk: a database that is still open while the process exits may crash it.
#[derive(Debug)]
pub(super) struct Writer {
    /// Taken when it is dropped.
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

    /// Waits for room, and gives the request back when the writer is gone.
    pub(super) async fn send(&self, request: LogRequest) -> Result<(), SendError<LogRequest>> {
        match &self.requests {
            Some(requests) => requests.send(request).await,
            None => Err(SendError(request)),
        }
    }

    /// A way to the writer that does not keep it running.
    pub(super) fn downgrade(&self) -> Option<mpsc::WeakSender<LogRequest>> {
        self.requests.as_ref().map(mpsc::Sender::downgrade)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It fails after a panic only, which has ended the process.
            drop(thread.join());
        }
    }
}

/// Told how long each durable write took.
pub type SyncObserver = Arc<dyn Fn(std::time::Duration) + Send + Sync>;

/// What the writer works with.
pub(super) struct Parts {
    pub(super) disk: Arc<dyn LogDisk>,
    pub(super) tail: Arc<Mutex<LogTail>>,
    pub(super) backlog: Arc<LogBacklog>,
    pub(super) clock: Arc<dyn crate::clock::Clock>,
    pub(super) observe: SyncObserver,
}

/// Runs until every sender is gone. Blocks; belongs on a thread of its own.
pub(super) fn run(parts: &Parts, mut requests: mpsc::Receiver<LogRequest>) {
    let mut batch = Batch {
        written: parts.tail.lock().last(),
        ..Batch::default()
    };
    while let Some(request) = requests.blocking_recv() {
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
            // A disk that hangs here hangs what comes next: it is watched over, too.
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
    /// Where the log on disk ends once this batch is written; kept from batch to batch.
    written: Option<LogId>,
    mark: Option<Watermark>,
    /// The newest only: completions are a watermark, and each one wakes the consensus core.
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
        // Rides along: spares the restarted node a little work, and never costs a sync. A
        // truncation is durable before anything that took its entries' places is committed, so
        // what is written and not beyond what is committed is committed, too.
        if sync && let Some(committed) = at_most(tail.lock().committed(), self.written) {
            self.writes.push(LogWrite::Fact(
                Fact::Committed,
                entry::encode_log_id(&committed),
            ));
        }
        if let Err(error) = self.write(disk, sync) {
            fatal::stop(&LogFailed(error));
        }
        if let Some(mark) = self.mark.take() {
            tail.lock().durable(mark);
        }
        self.writes.clear();
        (self.bytes, self.appends, self.probe) = (0, 0, false);
    }

    /// Tells whoever waits that the batch is durable.
    fn answer(&mut self) {
        if let Some(flushed) = self.flushed.take() {
            flushed.io_completed(Ok(()));
        }
        for done in self.done.drain(..) {
            // Whoever asked may be gone; the write stands.
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
