//! openraft's log storage: an in-memory tail over a disk, with one writer.
//!
//! # Invariants
//! Entries are readable when `append` returns, and reported as flushed only when durable. Writes
//! reach the disk in the order of the requests, votes included. A contradiction in the log ends the
//! process, and so does a failed read: a wrong entry is never returned.

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
    log_backlog::LogBacklog,
    log_contradiction::Contradiction,
    log_disk::{Fact, LogDisk, LogWrite},
    log_marks::LogMarks,
    log_tail::LogTail,
    log_watch::{self, StallLimits},
    log_writer::{self, LogRequest, SyncObserver, Writer},
};
use crate::{
    clock::Clock,
    consensus::{Entry, LogId, TypeConfig, Vote},
    fatal, tasks,
};

/// Bytes of entries per read for replication. As in etcd (`MaxSizePerMsg`): large enough to catch
/// up quickly, small enough that one message does not hold up the lane.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log of a node. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    disk: Arc<dyn LogDisk>,
    tail: Arc<Mutex<LogTail>>,
    vote: Arc<Mutex<Option<Vote>>>,
    writer: Arc<Writer>,
    backlog: Arc<LogBacklog>,
    marks: Arc<Mutex<LogMarks>>,
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
    /// Reads the log's bounds from `disk`, and starts the writer on its own thread.
    ///
    /// # Errors
    /// When the disk cannot be read, or its records are damaged or contradict each other.
    pub fn open(
        disk: Arc<dyn LogDisk>,
        clock: Arc<dyn Clock>,
        observe: SyncObserver,
    ) -> io::Result<Self> {
        let vote = disk
            .fact(Fact::Vote)?
            .map(|bytes| entry::decode_vote(&bytes))
            .transpose()?;
        let tail = read_bounds(&*disk)?;
        let marks = LogMarks::new(&tail.held_of(&(0..u64::MAX)), disk.bytes());
        let tail = Arc::new(Mutex::new(tail));
        let (requests, receiver) = mpsc::channel(log_writer::REQUESTS_MAX);
        let backlog = LogBacklog::new(Arc::clone(&clock));
        let parts = log_writer::Parts {
            disk: Arc::clone(&disk),
            tail: Arc::clone(&tail),
            backlog: Arc::clone(&backlog),
            clock,
            observe,
        };
        let thread = tasks::spawn_thread("log-writer", move || log_writer::run(&parts, receiver))?;
        let writer = Arc::new(Writer::new(requests, thread));
        let vote = Arc::new(Mutex::new(vote));
        Ok(Self {
            disk,
            tail,
            vote,
            writer,
            backlog,
            marks: Arc::new(Mutex::new(marks)),
            appended_bytes: Arc::default(),
        })
    }

    /// Compares the log with the state, which has applied the entries up to `applied` and may be
    /// replaced by a snapshot of those up to `snapshot`.
    ///
    /// # Errors
    /// When the log cannot be read, holds another entry at the index of the last applied one, or
    /// lacks entries that follow the state.
    pub fn agree_with_state(
        &self,
        applied: Option<LogId>,
        snapshot: Option<LogId>,
    ) -> io::Result<()> {
        let (purged, last) = {
            let tail = self.tail.lock();
            (tail.purged(), tail.last())
        };
        if let Some(purged) = purged
            && applied
                .max(snapshot)
                .is_none_or(|id| id.index < purged.index)
        {
            return Err(refused(Contradiction::StateBeforeLog { applied, purged }));
        }
        let Some(applied) = applied else {
            return Ok(());
        };
        let found = match (purged, last) {
            (Some(purged), _) if applied.index == purged.index => Some(purged),
            (Some(purged), _) if applied.index < purged.index => None,
            (_, Some(last)) if applied.index <= last.index => {
                let read = read_disk(&*self.disk, &(applied.index..applied.index + 1), 0)?;
                read.first().map(|entry| entry.log_id)
            }
            // A snapshot was installed, but the log was not purged up to it before the process
            // ended.
            _ => None,
        };
        if let Some(found) = found.filter(|found| *found != applied) {
            return Err(refused(Contradiction::AppliedDiffers { applied, found }));
        }
        if last.is_some_and(|last| applied.index <= last.index) {
            let committed = self.tail.lock().commit(Some(applied));
            committed.map_err(refused)?;
        }
        Ok(())
    }

    /// Returns the last purged log id.
    #[must_use]
    pub fn purged(&self) -> Option<LogId> {
        self.tail.lock().purged()
    }

    /// Checks that the log is not shorter than the state. The log of a single-node quorum never is:
    /// nothing is applied there before this log holds it.
    ///
    /// # Errors
    /// When the log ends earlier.
    pub fn reach(&self, applied: Option<LogId>) -> io::Result<()> {
        let last = {
            let tail = self.tail.lock();
            tail.last().max(tail.purged())
        };
        match applied {
            Some(applied) if last.is_none_or(|last| last.index < applied.index) => {
                Err(refused(Contradiction::LogBeforeState { applied, last }))
            }
            _ => Ok(()),
        }
    }

    /// Starts the watchdog for the disk, on its own thread.
    ///
    /// # Errors
    /// When the thread cannot be created.
    pub fn watch(&self, limits: StallLimits) -> io::Result<()> {
        let backlog = Arc::downgrade(&self.backlog);
        let Some(writer) = self.writer.downgrade() else {
            return Ok(());
        };
        let thread = tasks::spawn_thread("disk-watch", move || {
            log_watch::run(&backlog, &writer, limits);
        })?;
        // It ends soon after the writer does.
        drop(thread);
        Ok(())
    }

    /// Returns the backlog of the writer.
    #[must_use]
    pub fn backlog(&self) -> Arc<LogBacklog> {
        Arc::clone(&self.backlog)
    }

    /// Returns the indexes of the entries that the log holds.
    #[must_use]
    pub fn held(&self) -> Range<u64> {
        self.tail.lock().held_of(&(0..u64::MAX))
    }

    /// Bytes that the log takes on the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    /// Returns the last index whose purge leaves at least `bytes` of log, and little more.
    #[must_use]
    pub fn beyond(&self, bytes: u64) -> Option<u64> {
        self.marks.lock().beyond(bytes)
    }

    /// Bytes appended since this process started.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    async fn send(&self, request: LogRequest) -> io::Result<()> {
        self.writer
            .send(request)
            .await
            .map_err(|_| writer_is_gone())
    }

    /// Sends a request and waits until the writer reports that it is durable.
    async fn durably(
        &self,
        request: impl FnOnce(oneshot::Sender<()>) -> LogRequest,
    ) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.send(request(done)).await?;
        wait.await.map_err(|_| writer_is_gone())
    }

    /// Reads the entries of `range` that the log holds: at most `bytes_max` bytes, but at least one
    /// entry.
    fn read(&self, range: &Range<u64>, bytes_max: usize) -> Vec<Entry> {
        let mut asked = self.tail.lock().held_of(range);
        loop {
            if asked.is_empty() {
                return Vec::new();
            }
            let found = self
                .read_held(&asked, bytes_max)
                .unwrap_or_else(|error| fatal::stop(&ReadFailed(error)));
            if is_answer(&found, &asked, bytes_max) {
                return found;
            }
            // The log may have been purged or truncated meanwhile. If it was not, the disk is
            // wrong.
            let held = self.tail.lock().held_of(range);
            if held == asked {
                let found = found.iter().map(|entry| entry.log_id.index).collect();
                fatal::stop(&Contradiction::UnreadableRange { asked, found });
            }
            asked = held;
        }
    }

    fn read_held(&self, range: &Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let cached_from = {
            let tail = self.tail.lock();
            let first = tail.first_index();
            if first.is_some_and(|first| first <= range.start) {
                let mut found = Vec::new();
                tail.read(range, bytes_max, &mut found);
                return Ok(found);
            }
            first
        };
        // Older than the tail: all entries before the tail are on disk.
        let on_disk = range.start..cached_from.map_or(range.end, |first| first.min(range.end));
        let mut found = read_disk(&*self.disk, &on_disk, bytes_max)?;
        if on_disk.end < range.end && bytes_max == usize::MAX {
            found.extend(self.read_rest(on_disk.end..range.end)?);
        }
        Ok(found)
    }

    /// Reads the rest of a range after the part read from disk; by now it may have left the tail.
    fn read_rest(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        let tail = self.tail.lock();
        if tail.first_index().is_some_and(|first| first <= range.start) {
            tail.read(&range, usize::MAX, &mut found);
            return Ok(found);
        }
        drop(tail);
        read_disk(&*self.disk, &range, usize::MAX)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        Ok(self.read(&plain(&range), usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        // Replication must not skip entries that were purged before or during the read: the
        // follower then needs the snapshot.
        if self.tail.lock().held_of(&(start..end)).start > start {
            return Ok(Vec::new());
        }
        let mut found = self.read(&(start..end), READ_BYTES_MAX);
        if found
            .first()
            .is_some_and(|first| first.log_id.index > start)
        {
            found.clear();
        }
        Ok(found)
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
            last_purged_log_id: tail.purged(),
            last_log_id: tail.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        debug_assert!(
            self.vote.lock().is_none_or(|saved| saved <= *vote),
            "a vote never goes back"
        );
        let writes = vec![LogWrite::Fact(Fact::Vote, entry::encode_vote(vote))];
        self.durably(|done| LogRequest::Durable { writes, done })
            .await?;
        *self.vote.lock() = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let noted = self.tail.lock().commit(committed);
        noted.unwrap_or_else(|contradiction| fatal::stop(&contradiction));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.tail.lock().committed())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut writes = Vec::new();
        let mut bytes = 0;
        let (last, mark) = {
            let mut tail = self.tail.lock();
            let mut marks = self.marks.lock();
            for entry in entries {
                let record = entry::encode(&entry);
                bytes += record.len();
                marks.add(entry.log_id.index, record.len() as u64);
                writes.push(LogWrite::Put(record));
                let pushed = tail.push(entry);
                pushed.unwrap_or_else(|contradiction| fatal::stop(&contradiction));
            }
            (tail.last(), tail.watermark())
        };
        self.appended_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        self.backlog.add(bytes);
        self.send(LogRequest::Append {
            writes,
            last,
            mark,
            bytes,
            flushed,
        })
        .await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let cut = self.tail.lock().truncate(last);
        cut.unwrap_or_else(|contradiction| fatal::stop(&contradiction));
        self.marks
            .lock()
            .truncate(last.map_or(0, |id| id.index + 1));
        self.durably(|done| LogRequest::Truncate { last, done })
            .await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let from = {
            let mut tail = self.tail.lock();
            let from = tail.purged().map_or(0, |id| id.index);
            tail.purge(upto);
            from
        };
        self.marks.lock().purge(upto.index + 1);
        self.send(LogRequest::Purge { from, upto }).await
    }
}

/// Reads the bounds of the log and its committed log id.
fn read_bounds(disk: &dyn LogDisk) -> io::Result<LogTail> {
    let decode =
        |bytes: Option<Vec<u8>>| bytes.map(|bytes| entry::decode_log_id(&bytes)).transpose();
    let purged = decode(disk.fact(Fact::Purged)?)?;
    let committed = decode(disk.fact(Fact::Committed)?)?;
    let at = |index: u64| {
        let found = read_disk(disk, &(index..index + 1), 0)?;
        Ok::<_, io::Error>(found.first().map(|entry| entry.log_id))
    };
    let begin = purged.map_or(0, |id| id.index + 1);
    let first = disk
        .read(begin, u64::MAX, 0)?
        .first()
        .map(|record| record.0);
    if let Some(first) = first.filter(|first| *first != begin) {
        return Err(refused(Contradiction::MissingFront { purged, first }));
    }
    let last = match disk.last_index()? {
        Some(index) if index >= begin => at(index)?,
        _ => None,
    };
    if let (Some(last), Some(purged)) = (last, purged)
        && last < purged
    {
        return Err(refused(Contradiction::EndBeforePurged { purged, last }));
    }
    let tail = LogTail::new(purged, last.max(purged), committed);
    if let Some(committed) = committed.filter(|id| tail.committed() == Some(*id))
        && committed.index >= begin
        && let Some(found) = at(committed.index)?.filter(|found| *found != committed)
    {
        return Err(refused(Contradiction::CommittedDiffers {
            committed,
            found,
        }));
    }
    Ok(tail)
}

/// Whether `found` is a valid result of reading `asked` with the bound `bytes_max`.
fn is_answer(found: &[Entry], asked: &Range<u64>, bytes_max: usize) -> bool {
    let contiguous = found
        .iter()
        .zip(asked.start..)
        .all(|(entry, index)| entry.log_id.index == index);
    let whole = bytes_max == usize::MAX;
    let length = found.len() as u64;
    contiguous && length > 0 && (!whole || length == asked.end - asked.start)
}

fn refused(contradiction: Contradiction) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, contradiction)
}

fn writer_is_gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log writer is gone")
}

#[derive(Debug, thiserror::Error)]
#[error("the log could not be read; what it holds cannot be told")]
struct ReadFailed(#[source] io::Error);

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
