//! openraft's log storage: a tail in memory over a disk, one writer.
//!
//! # Invariants
//! What `append` took is readable when it returns, and reported flushed only when it is durable.
//! Writes reach the disk in the order in which they were asked for, votes included.

use std::{
    fmt, io,
    ops::{Bound, Range, RangeBounds},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    entry,
    log_disk::{Fact, LogDisk, LogWrite},
    log_tail::LogTail,
    log_writer::{self, LogRequest, SyncObserver, Writer},
};
use crate::{
    clock::Clock,
    raft::{Entry, LogId, TypeConfig, Vote},
    tasks,
};

/// Bytes of entries read at once for replication. As in etcd (`MaxSizePerMsg`): large enough to
/// catch up quickly, small enough that one message does not hold up the lane.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log of a node. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    disk: Arc<dyn LogDisk>,
    tail: Arc<Mutex<LogTail>>,
    vote: Arc<Mutex<Option<Vote>>>,
    writer: Arc<Writer>,
    appended_bytes: Arc<AtomicU64>,
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

impl LogStore {
    /// Reads the log's bounds from `disk` and starts the writer on a thread of its own.
    ///
    /// # Errors
    /// When the disk cannot be read, or its records are damaged.
    pub fn open(
        disk: Arc<dyn LogDisk>,
        clock: Arc<dyn Clock>,
        observe: SyncObserver,
    ) -> io::Result<Self> {
        let decode =
            |bytes: Option<Vec<u8>>| bytes.map(|bytes| entry::decode_log_id(&bytes)).transpose();
        let purged = decode(disk.fact(Fact::Purged)?)?;
        let vote = disk
            .fact(Fact::Vote)?
            .map(|bytes| entry::decode_vote(&bytes))
            .transpose()?;
        let committed = decode(disk.fact(Fact::Committed)?)?;
        let last = match disk.last_index()? {
            Some(index) => read_disk(&*disk, &(index..index + 1), usize::MAX)?
                .first()
                .map(|entry| entry.log_id),
            None => None,
        };
        let mut tail = LogTail::new(purged, last.max(purged));
        tail.committed = committed;
        let tail = Arc::new(Mutex::new(tail));
        let (requests, receiver) = mpsc::channel(log_writer::REQUESTS_MAX);
        let (writer_disk, writer_tail) = (Arc::clone(&disk), Arc::clone(&tail));
        let thread = tasks::spawn_thread("log-writer", move || {
            log_writer::run(&*writer_disk, &writer_tail, receiver, &*clock, &observe);
        })?;
        let writer = Arc::new(Writer::new(requests, thread));
        let vote = Arc::new(Mutex::new(vote));
        Ok(Self {
            disk,
            tail,
            vote,
            writer,
            appended_bytes: Arc::default(),
        })
    }

    /// Bytes appended in the life of this process.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    async fn send(&self, request: LogRequest) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the log writer is gone");
        self.writer.send(request).await.map_err(gone)
    }

    async fn durably(&self, writes: Vec<LogWrite>) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.send(LogRequest::Durable { writes, done }).await?;
        wait.await
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the log writer is gone"))
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        if range.is_empty() {
            return Ok(found);
        }
        let cached_from = {
            let tail = self.tail.lock();
            let first = tail.first_index();
            if first.is_some_and(|first| first <= range.start) {
                tail.read(&range, bytes_max, &mut found);
                return Ok(found);
            }
            first
        };
        // Older than the tail: everything before it is on disk, or was purged.
        let on_disk = range.start..cached_from.map_or(range.end, |first| first.min(range.end));
        let mut found = read_disk(&*self.disk, &on_disk, bytes_max)?;
        if on_disk.end < range.end && (found.is_empty() || bytes_max == usize::MAX) {
            found.extend(self.read_rest(on_disk.end..range.end, bytes_max)?);
        }
        Ok(found)
    }

    /// The part of a read after what came from disk; by now it may have left the tail, too.
    fn read_rest(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        let tail = self.tail.lock();
        if tail.first_index().is_some_and(|first| first <= range.start) {
            tail.read(&range, bytes_max, &mut found);
            return Ok(found);
        }
        drop(tail);
        read_disk(&*self.disk, &range, bytes_max)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(plain(&range), usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(*self.vote.lock())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let tail = self.tail.lock();
        Ok(LogState {
            last_purged_log_id: tail.purged,
            last_log_id: tail.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.durably(vec![LogWrite::Fact(Fact::Vote, entry::encode_vote(vote))])
            .await?;
        *self.vote.lock() = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.tail.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut writes = Vec::new();
        let (mut bytes, mut end) = (0, 0);
        {
            let mut tail = self.tail.lock();
            for entry in entries {
                let record = entry::encode(&entry);
                bytes += record.len();
                end = entry.log_id.index + 1;
                writes.push(LogWrite::Put(entry.log_id.index, record));
                tail.push(entry);
            }
        }
        self.appended_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        self.send(LogRequest::Append {
            writes,
            end,
            bytes,
            flushed,
        })
        .await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.tail.lock().truncate(last);
        let from = last.map_or(0, |id| id.index + 1);
        self.durably(vec![LogWrite::Remove(from, u64::MAX)]).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let from = {
            let mut tail = self.tail.lock();
            let from = tail.purged.map_or(0, |id| id.index);
            tail.purge(upto);
            from
        };
        let writes = vec![
            LogWrite::Remove(from, upto.index + 1),
            LogWrite::Fact(Fact::Purged, entry::encode_log_id(&upto)),
        ];
        self.send(LogRequest::Lazy { writes }).await
    }
}

fn read_disk(disk: &dyn LogDisk, range: &Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
    disk.read(range.start, range.end, bytes_max)?
        .into_iter()
        .map(|(index, record): (u64, Bytes)| entry::decode(index, record))
        .collect()
}

fn plain(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}
