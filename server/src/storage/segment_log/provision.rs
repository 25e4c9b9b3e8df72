//! Provision of segments: prepared ahead of need, and kept for reuse when purged.
//!
//! Allocating a segment writes all of it, so it is done ahead, on a separate thread, and files of
//! purged segments are reused. Invariant: a ready segment is durable, name and head, before it is
//! handed out; a file is overwritten only once its old name is durably gone.

use std::{
    io::{self, IoSlice},
    sync::Arc,
    thread::JoinHandle,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    files::{LogFile, LogFiles},
    head::{LogOwner, SegmentHead},
    names,
    sector::SECTOR,
};
use crate::tasks;

/// Files kept for reuse. One is used while the next is prepared; more would only hold disk space.
const SPARES_MAX: usize = 2;

/// Capacity of the job queue. Purging submits one job per segment; the bound only stops a runaway,
/// and rejected jobs are submitted again.
const JOBS_MAX: usize = 64;

/// A segment that nothing was written to.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) head: SegmentHead,
    pub(super) file: Arc<dyn LogFile>,
}

/// A job in the background.
#[derive(Debug)]
enum Job {
    /// Prepare this segment.
    Prepare(u64),
    /// Retire this segment, whose entries were purged.
    Retire(u64, Arc<dyn LogFile>),
}

/// Prepares and retires segments.
#[derive(Debug)]
pub(super) struct Provision {
    works: Arc<Works>,
    /// `None` without a background thread, and once dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Works {
    files: Arc<dyn LogFiles>,
    owner: LogOwner,
    segment_bytes: u64,
    spares: Mutex<Spares>,
    ahead: Mutex<Ahead>,
    done: Condvar,
}

#[derive(Debug)]
struct Spares {
    names: Vec<String>,
    next: u64,
}

/// The segment prepared ahead of need.
#[derive(Debug, Default)]
struct Ahead {
    pending: bool,
    ready: Option<Ready>,
    failed: Option<io::Error>,
}

impl Provision {
    /// Starts with the `spares` and the ready segment found at startup.
    ///
    /// # Errors
    /// When the thread cannot be created.
    pub(super) fn new(
        files: Arc<dyn LogFiles>,
        owner: LogOwner,
        segment_bytes: u64,
        (spares, ready): (Vec<u64>, Option<Ready>),
        background: bool,
    ) -> io::Result<Self> {
        let works = Arc::new(Works {
            files,
            owner,
            segment_bytes,
            spares: Mutex::new(Spares {
                next: spares.iter().max().map_or(1, |last| last.saturating_add(1)),
                names: spares.into_iter().map(names::spare).collect(),
            }),
            ahead: Mutex::new(Ahead {
                ready,
                ..Ahead::default()
            }),
            done: Condvar::new(),
        });
        let (mut jobs, mut thread) = (None, None);
        if background {
            let (sender, mut receiver) = mpsc::channel(JOBS_MAX);
            let works = Arc::clone(&works);
            jobs = Some(sender);
            thread = Some(tasks::spawn_thread("log-segments", move || {
                while let Some(job) = receiver.blocking_recv() {
                    works.run(job);
                }
            })?);
        }
        Ok(Self {
            works,
            jobs,
            thread,
        })
    }

    /// Requests the preparation of segment `sequence`, unless one is ready or pending.
    pub(super) fn ahead(&self, sequence: u64) {
        let mut ahead = self.works.ahead.lock();
        if ahead.pending || ahead.ready.is_some() || ahead.failed.is_some() {
            return;
        }
        ahead.pending = true;
        drop(ahead);
        if self.submit(Job::Prepare(sequence)).is_err() {
            // It is prepared when it is needed.
            self.works.ahead.lock().pending = false;
        }
    }

    /// Whether a segment is ready that holds `bytes` bytes.
    pub(super) fn is_ready(&self, bytes: u64) -> bool {
        let ready = &self.works.ahead.lock().ready;
        ready
            .as_ref()
            .is_some_and(|ready| ready.head.capacity >= bytes)
    }

    /// Returns segment `sequence` with at least `bytes` bytes: the ready one, or a new one.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn take(&self, sequence: u64, bytes: u64) -> io::Result<Ready> {
        let mut ahead = self.works.ahead.lock();
        while ahead.pending {
            self.works.done.wait(&mut ahead);
        }
        if let Some(error) = ahead.failed.take() {
            return Err(error);
        }
        // One that is too small is replaced by renaming: at no time is the segment missing.
        if let Some(ready) = ahead.ready.take()
            && ready.head.capacity >= bytes
        {
            // The next start would find a gap, and refuse the log. Checked once for each segment.
            assert_eq!(
                ready.head.sequence, sequence,
                "the segment that is ready is the next one"
            );
            return Ok(ready);
        }
        drop(ahead);
        self.works
            .prepare(sequence, bytes.max(self.works.segment_bytes))
    }

    /// Retires a segment whose entries were purged. Returns the file when that has to wait:
    /// segments are retired in order, so that a crash leaves no gap. Readers may still hold the
    /// file.
    ///
    /// # Errors
    /// When an earlier job failed.
    pub(super) fn retire(
        &self,
        sequence: u64,
        file: Arc<dyn LogFile>,
    ) -> io::Result<Result<(), Arc<dyn LogFile>>> {
        let submitted = self.submit(Job::Retire(sequence, file));
        if let Some(error) = self.works.ahead.lock().failed.take() {
            return Err(error);
        }
        Ok(match submitted {
            Err(Job::Retire(_, file)) => Err(file),
            Ok(()) | Err(Job::Prepare(_)) => Ok(()),
        })
    }

    /// Returns the job when the queue is full.
    fn submit(&self, job: Job) -> Result<(), Job> {
        match &self.jobs {
            Some(jobs) => jobs.try_send(job).map_err(TrySendError::into_inner),
            None => {
                self.works.run(job);
                Ok(())
            }
        }
    }
}

impl Drop for Provision {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Fails only after a panic, which has ended the process.
            _ = thread.join();
        }
    }
}

impl Works {
    fn run(&self, job: Job) {
        let failed = match job {
            Job::Prepare(sequence) => {
                let made = self.prepare(sequence, self.segment_bytes);
                let mut ahead = self.ahead.lock();
                debug_assert!(
                    ahead.pending && ahead.ready.is_none(),
                    "one segment at a time is prepared ahead"
                );
                ahead.pending = false;
                self.done.notify_all();
                made.map(|ready| ahead.ready = Some(ready)).err()
            }
            Job::Retire(sequence, file) => self.retire(sequence, file).err(),
        };
        if let Some(error) = failed {
            // A later write or sync returns the error, and stops the node.
            self.ahead.lock().failed = Some(error);
        }
    }

    fn prepare(&self, sequence: u64, capacity: u64) -> io::Result<Ready> {
        debug_assert!(
            capacity.is_multiple_of(SECTOR as u64),
            "a segment ends with a whole sector"
        );
        let (name, file) = self.blank(capacity)?;
        let head = SegmentHead {
            owner: self.owner,
            sequence,
            nonce: rand::random(),
            capacity,
        };
        file.write_at(&mut [IoSlice::new(&head.encode())], 0)?;
        file.sync()?;
        self.files.rename(&name, &names::segment(sequence))?;
        self.files.sync_names()?;
        Ok(Ready { head, file })
    }

    /// Returns a file of `capacity` bytes with meaningless content.
    fn blank(&self, capacity: u64) -> io::Result<(String, Arc<dyn LogFile>)> {
        let mut spares = self.spares.lock();
        while capacity == self.segment_bytes
            && let Some(name) = spares.names.pop()
        {
            let file = self.files.open(&name)?;
            if file.length()? == capacity {
                return Ok((name, file));
            }
            // Its creation was interrupted, or it has another size.
            self.files.remove(&name)?;
        }
        let name = names::spare(spares.next);
        spares.next += 1;
        drop(spares);
        let file = self.files.create(&name, capacity)?;
        Ok((name, file))
    }

    fn retire(&self, sequence: u64, file: Arc<dyn LogFile>) -> io::Result<()> {
        let name = names::segment(sequence);
        let is_standard = file.length()? == self.segment_bytes;
        // A reader that still holds the file must not see it overwritten.
        let is_read = Arc::strong_count(&file) > 1;
        drop(file);
        let mut spares = self.spares.lock();
        if is_standard && !is_read && spares.names.len() < SPARES_MAX {
            let spare = names::spare(spares.next);
            debug_assert!(
                !spares.names.contains(&spare),
                "each spare has a name of its own"
            );
            spares.next += 1;
            self.files.rename(&name, &spare)?;
            self.files.sync_names()?;
            spares.names.push(spare);
            return Ok(());
        }
        drop(spares);
        self.files.remove(&name)?;
        self.files.sync_names()
    }
}
