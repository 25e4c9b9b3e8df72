//! The log's writer: takes everything that waits, writes it, makes it durable, and says so.
//!
//! Self-clocking: what arrives during one sync is the next batch. There is no timer.

use std::{fmt, io, sync::Arc, thread::JoinHandle};

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::{
    mpsc::{self, error::SendError},
    oneshot,
};

use super::{
    entry,
    log_disk::{Fact, LogDisk, LogWrite},
    log_tail::LogTail,
};
use crate::{fatal, raft::TypeConfig};

/// Requests that may wait for the writer. Each is one append of the consensus core, which is itself
/// bounded by what the proposer has outstanding; the bound only stops a runaway.
pub(super) const REQUESTS_MAX: usize = 1024;

/// Bytes written at once. Keeps one sync within the time that heartbeats allow on a slow disk.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Something for the writer to do.
pub(super) enum LogRequest {
    /// Store these records; complete when durable.
    Append {
        writes: Vec<LogWrite>,
        end: u64,
        bytes: usize,
        flushed: IOFlushed<TypeConfig>,
    },
    /// Make these writes; answer when durable.
    Durable {
        writes: Vec<LogWrite>,
        done: oneshot::Sender<()>,
    },
    /// Make these writes some time; a crash may undo them.
    Lazy { writes: Vec<LogWrite> },
}

impl fmt::Debug for LogRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append { .. } => "Append",
            Self::Durable { .. } => "Durable",
            Self::Lazy { .. } => "Lazy",
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

/// Runs until every sender is gone. Blocks; belongs on a thread of its own.
pub(super) fn run(
    disk: &dyn LogDisk,
    tail: &Mutex<LogTail>,
    mut requests: mpsc::Receiver<LogRequest>,
    clock: &dyn crate::clock::Clock,
    observe: &SyncObserver,
) {
    let mut batch = Batch::default();
    while let Some(request) = requests.blocking_recv() {
        batch.take(request);
        while batch.bytes < BATCH_BYTES_MAX {
            match requests.try_recv() {
                Ok(request) => batch.take(request),
                Err(_) => break,
            }
        }
        let started = clock.now();
        let durable = batch.must_sync();
        batch.finish(disk, tail);
        if durable {
            observe(clock.now().saturating_sub(started));
        }
    }
}

#[derive(Default)]
struct Batch {
    writes: Vec<LogWrite>,
    bytes: usize,
    end: Option<u64>,
    /// The newest only: completions are a watermark, and each one wakes the consensus core.
    flushed: Option<IOFlushed<TypeConfig>>,
    done: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn take(&mut self, request: LogRequest) {
        match request {
            LogRequest::Append {
                writes,
                end,
                bytes,
                flushed,
            } => {
                self.writes.extend(writes);
                self.bytes += bytes;
                self.end = Some(end);
                self.flushed = Some(flushed);
            }
            LogRequest::Durable { writes, done } => {
                self.writes.extend(writes);
                self.done.push(done);
            }
            LogRequest::Lazy { writes } => self.writes.extend(writes),
        }
    }

    fn must_sync(&self) -> bool {
        self.flushed.is_some() || !self.done.is_empty()
    }

    fn finish(&mut self, disk: &dyn LogDisk, tail: &Mutex<LogTail>) {
        let sync = self.must_sync();
        if sync && let Some(committed) = tail.lock().committed {
            // Rides along: spares the restarted node a little work, and never costs a sync.
            self.writes.push(LogWrite::Fact(
                Fact::Committed,
                entry::encode_log_id(&committed),
            ));
        }
        if let Err(error) = self.write(disk, sync) {
            fatal::stop(&LogFailed(error));
        }
        if let Some(end) = self.end.take() {
            tail.lock().durable(end);
        }
        if let Some(flushed) = self.flushed.take() {
            flushed.io_completed(Ok(()));
        }
        for done in self.done.drain(..) {
            // Whoever asked may be gone; the write stands.
            _ = done.send(());
        }
        self.writes.clear();
        self.bytes = 0;
    }

    fn write(&self, disk: &dyn LogDisk, sync: bool) -> io::Result<()> {
        disk.write(&self.writes)?;
        if sync { disk.sync() } else { Ok(()) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the log could not be written or synced; nothing after this can be acknowledged")]
struct LogFailed(#[source] io::Error);
