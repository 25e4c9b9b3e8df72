//! The log of a node: writes, syncs and reads, over segments.
//!
//! What is written is shown to readers once it is in the file. Invariant: after a failed write or
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

/// Length of a segment. A new node lays out one, and soon a second; with 6 MB of log in a second
/// (20,000 small writes) one is filled in two to three seconds, so that what a change of segments
/// costs, about one sync, is not felt.
const SEGMENT_BYTES: u64 = 16 << 20;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Length of a segment.
    pub segment_bytes: u64,
    /// Whether segments are prepared and retired on a thread of their own.
    pub background: bool,
}

impl LogOptions {
    /// As a node keeps its log.
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
    /// Locked by the log's writer for as long as it writes or syncs.
    end: Mutex<End>,
    /// Locked for moments.
    shared: Mutex<Shared>,
}

/// What readers need.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) index: LogIndex,
    facts: Facts,
    pub(super) held: VecDeque<Held>,
    failed: bool,
}

impl SegmentLog {
    /// Makes the first segment of a new log in `files`, which are empty, with an entry expected at
    /// `next`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn create(
        files: &Arc<dyn LogFiles>,
        owner: LogOwner,
        options: LogOptions,
    ) -> io::Result<()> {
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
    /// A `LogError` when it is damaged, incomplete or another's; or the disk failed.
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
        let body_max = self.options.segment_bytes.saturating_sub(2 * DATA_START);
        let mut bounds = {
            let shared = self.shared.lock();
            // A log that nothing is added to is still asked whether it answers, and must not grow.
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
            }
            end.batch(&rest[..count])?;
            rest = &rest[count..];
        }
        self.flush(end, pending)
    }

    /// Writes what was gathered of `writes`, and shows it to readers.
    fn flush(&self, end: &mut End, writes: &[LogWrite]) -> io::Result<()> {
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
            held.end = end.offset;
            held.before = held.before.max(next);
        }
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

    /// Takes back segments whose entries were purged durably, and prepares the next.
    fn tidy(&self, end: &End) -> io::Result<()> {
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
        Ok(())
    }

    /// Runs `work` at the end of the log, which is unusable once that failed.
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

/// How many of `writes` go into one batch, and the bytes of their records: one at least, even when
/// it is larger than a segment.
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
