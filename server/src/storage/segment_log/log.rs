//! The segmented log of a node: writes, syncs and reads.
//!
//! Writes become visible to readers once they are in the file. Invariant: after a failed write or
//! sync nothing more is written.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    bounds::Bounds,
    facts::Facts,
    files::LogFiles,
    gather,
    head::{DATA_START, LogOwner},
    index::LogIndex,
    provision::Provision,
    read,
    recovery::{self, Held, Recovered},
    sector::Position,
    writer::End,
};
use crate::storage::log_disk::{Fact, LogDisk, LogWrite};

/// Length of a segment. A new node allocates one, and soon a second. At 6 MB of log per second
/// (20,000 small writes) a segment is filled in two to three seconds, so that the cost of changing
/// segments, about one sync, is negligible.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Options of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Length of a segment, in bytes.
    pub segment_bytes: u64,
    /// Whether segments are prepared and retired on a separate thread.
    pub background: bool,
}

impl LogOptions {
    /// The options of a node.
    pub const STANDARD: Self = Self {
        segment_bytes: SEGMENT_BYTES,
        background: true,
    };
}

/// The log of a node.
#[derive(Debug)]
pub struct SegmentLog {
    options: LogOptions,
    provision: Provision,
    /// Locked by the log's writer for the whole of a write or sync.
    end: Mutex<End>,
    /// Locked briefly.
    shared: Mutex<Shared>,
}

/// State shared with readers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) index: LogIndex,
    facts: Facts,
    pub(super) held: VecDeque<Held>,
    failed: bool,
}

impl Shared {
    /// Checks that the segments held have no gap, and that the entries lie in them.
    #[cfg(debug_assertions)]
    fn check_held(&self) {
        let later = self.held.iter().skip(1).map(|held| held.sequence);
        debug_assert!(
            self.held
                .iter()
                .zip(later)
                .all(|(held, later)| held.sequence + 1 == later),
            "segments are contiguous and ascending"
        );
        let bounds = self.index.bounds();
        let first = self.index.find(bounds.first).map(|(point, _)| point);
        debug_assert!(
            bounds.is_empty()
                || first.is_some_and(|point| {
                    self.held.iter().any(|held| held.sequence == point.sequence)
                }),
            "the first entry is found, in a segment that is held"
        );
    }
}

impl SegmentLog {
    /// Creates the first segment of a new log in `files`, which must be empty.
    ///
    /// # Errors
    /// When the disk fails.
    ///
    /// # Panics
    /// When `files` is not empty.
    pub fn create(
        files: &Arc<dyn LogFiles>,
        owner: LogOwner,
        options: LogOptions,
    ) -> io::Result<()> {
        // The first segment would take the name of another log's. Once in the life of a log.
        assert!(
            files.names()?.is_empty(),
            "a new log begins in an empty directory"
        );
        let provision = Provision::new(
            Arc::clone(files),
            owner,
            options.segment_bytes,
            (Vec::new(), None),
            false,
        )?;
        let ready = provision.take(1, options.segment_bytes)?;
        let nothing = Position {
            sequence: 0,
            offset: 0,
            chain: 0,
        };
        let mut end = End::at_start(ready, nothing);
        end.opening(Bounds::default(), &Facts::default())?;
        end.flush()?;
        end.sync()
    }

    /// Opens the log in `files`.
    ///
    /// # Errors
    /// A `LogError` when it is damaged, incomplete or belongs to another owner; otherwise an error
    /// of the disk.
    pub fn open(
        files: &Arc<dyn LogFiles>,
        owner: LogOwner,
        options: LogOptions,
    ) -> io::Result<Self> {
        let Recovered {
            index,
            facts,
            held,
            last,
            end,
            sealed,
            ready,
            spares,
        } = recovery::recover(&**files, owner)?;
        let writer = End {
            offset: end.offset,
            chain: end.chain,
            sealed,
            ..End::at_start(last, end)
        };
        let provision = Provision::new(
            Arc::clone(files),
            owner,
            options.segment_bytes,
            (spares, ready),
            options.background,
        )?;
        Ok(Self {
            options,
            provision,
            end: Mutex::new(writer),
            shared: Mutex::new(Shared {
                index,
                facts,
                held: held.into(),
                failed: false,
            }),
        })
    }

    /// Gathers and writes `writes` in batches that each lie in one segment.
    fn append(&self, end: &mut End, writes: &[LogWrite]) -> io::Result<()> {
        debug_assert_eq!(
            end.gather.length(),
            0,
            "nothing stays gathered from one write to the next"
        );
        let body_max = self.options.segment_bytes.saturating_sub(2 * DATA_START);
        let mut bounds = {
            let shared = self.shared.lock();
            // A probe of an idle log must reach the disk, but must not make the log grow.
            if writes.iter().all(|write| shared.facts.holds(write)) {
                end.asked = true;
                return Ok(());
            }
            shared.index.bounds()
        };
        for write in writes {
            bounds.apply(write)?;
        }
        let (mut rest, mut pending) = (writes, writes);
        while !rest.is_empty() {
            let (count, body) = next_batch(rest, body_max);
            if !end.has_room(body) {
                let gathered = pending.len() - rest.len();
                self.flush(end, &pending[..gathered])?;
                pending = rest;
                self.roll(end, body)?;
                debug_assert!(
                    end.has_room(body),
                    "a new segment has room for the batch that it is begun for"
                );
            }
            end.batch(&rest[..count])?;
            rest = &rest[count..];
        }
        self.flush(end, pending)
    }

    /// Writes the gathered batches of `writes`, and makes them visible to readers.
    fn flush(&self, end: &mut End, writes: &[LogWrite]) -> io::Result<()> {
        debug_assert!(
            end.points
                .iter()
                .map(|point| point.index)
                .eq(indexes(writes)),
            "each entry that is written has a point, in the same order"
        );
        end.flush()?;
        let mut shared = self.shared.lock();
        let mut points = end.points.drain(..);
        for write in writes {
            match write {
                LogWrite::Put(_) => {
                    if let Some(point) = points.next() {
                        shared.index.put(point)?;
                    }
                }
                LogWrite::Remove(from, to) => shared.index.remove(*from, *to)?,
                LogWrite::Fact(fact, value) => shared.facts.set(*fact, value),
            }
        }
        drop(points);
        let next = shared.index.bounds().next;
        if let Some(held) = shared.held.back_mut() {
            debug_assert_eq!(
                held.sequence, end.head.sequence,
                "the last segment held is the one that is written to"
            );
            held.end = end.offset;
            held.before = held.before.max(next);
        }
        #[cfg(debug_assertions)]
        shared.check_held();
        Ok(())
    }

    fn roll(&self, end: &mut End, body: u64) -> io::Result<()> {
        let (bounds, facts) = {
            let shared = self.shared.lock();
            (shared.index.bounds(), shared.facts.clone())
        };
        end.roll(&self.provision, (bounds, &facts), body)?;
        self.shared.lock().held.push_back(Held {
            sequence: end.head.sequence,
            file: Arc::clone(&end.file),
            end: end.offset,
            before: 0,
        });
        Ok(())
    }

    /// Retires segments whose entries were durably purged, and prepares the next one.
    fn tidy(&self, end: &End) -> io::Result<()> {
        debug_assert!(
            !end.dirty,
            "a segment is retired only once the purge is durable"
        );
        if end.offset > end.head.capacity / 2 {
            self.provision.ahead(end.head.sequence + 1);
        }
        let mut shared = self.shared.lock();
        let purged_before = shared.index.bounds().first;
        while shared.held.len() > 1
            && shared
                .held
                .front()
                .is_some_and(|held| held.before <= purged_before)
        {
            let Some(held) = shared.held.pop_front() else {
                break;
            };
            if let Err(file) = self.provision.retire(held.sequence, held.file)? {
                shared.held.push_front(Held { file, ..held });
                break;
            }
        }
        #[cfg(debug_assertions)]
        shared.check_held();
        Ok(())
    }

    /// Runs `work` on the end of the log, which becomes unusable if that fails.
    fn at_end(&self, work: impl FnOnce(&mut End) -> io::Result<()>) -> io::Result<()> {
        let mut end = self.end.lock();
        if self.shared.lock().failed {
            return Err(io::Error::other("an earlier write to the log failed"));
        }
        let done = work(&mut end);
        if done.is_err() {
            self.shared.lock().failed = true;
        }
        done
    }
}

/// Returns how many of `writes` fit in one batch, and the bytes of their records: at least one,
/// even if it is larger than a segment.
fn next_batch(writes: &[LogWrite], body_max: u64) -> (usize, u64) {
    let mut body = 0;
    for (count, write) in writes.iter().enumerate() {
        let length = gather::stored_len(write);
        if count > 0 && body + length > body_max {
            return (count, body);
        }
        body += length;
    }
    (writes.len(), body)
}

/// Returns the indexes of the entries in `writes`.
fn indexes(writes: &[LogWrite]) -> impl Iterator<Item = u64> {
    writes.iter().filter_map(|write| match write {
        LogWrite::Put(record) => Some(record.index),
        LogWrite::Remove(..) | LogWrite::Fact(..) => None,
    })
}

impl LogDisk for SegmentLog {
    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        self.at_end(|end| self.append(end, writes))
    }

    fn sync(&self) -> io::Result<()> {
        self.at_end(|end| {
            end.sync()?;
            self.tidy(end)
        })
    }

    fn rest(&self) -> io::Result<()> {
        self.at_end(End::vouch)
    }

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        read::read(&self.shared, start, end, bytes_max)
    }

    fn last_index(&self) -> io::Result<Option<u64>> {
        Ok(self.shared.lock().index.bounds().last())
    }

    fn fact(&self, fact: Fact) -> io::Result<Option<Vec<u8>>> {
        Ok(self.shared.lock().facts.get(fact).cloned())
    }

    fn bytes(&self) -> u64 {
        let shared = self.shared.lock();
        shared.held.iter().map(|held| held.end).sum()
    }
}
