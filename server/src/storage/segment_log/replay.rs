//! Replay of segments in order: rebuilds the log, and checks that each segment continues the last.
//!
//! The disk is not changed until everything is accepted, so a refused log stays as it is.
//! Invariant: an entry that was written durably is found, or was removed by a record that is found.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use tracing::warn;

use super::{
    bounds::Bounds,
    error::LogError,
    facts::{self, Facts},
    files::LogFile,
    head::{DATA_START, SegmentHead},
    index::{LogIndex, Point},
    names,
    provision::Ready,
    record::RecordKind,
    recovery::{Held, Recovered},
    scan::{self, Batch, End, Scan},
    sector::{self, BATCH_HEAD, BODY_AT, BatchKind, Position, SECTOR},
};

/// The log according to the segments read so far.
#[derive(Debug, Default)]
pub(super) struct Replay {
    index: LogIndex,
    facts: Facts,
    held: Vec<Held>,
    /// The last segment, its end, and whether it is sealed.
    last: Option<(Ready, Position, bool)>,
    /// Entries before this index lie in missing segments.
    absent_before: u64,
    unvouched: Unvouched,
    /// Carried out only when the log is accepted: a refused log stays as it is.
    cuts: Vec<Cut>,
}

/// The part of the last segment that nothing proves to be durable.
#[derive(Debug, Default)]
struct Unvouched {
    offset: u64,
    bytes: Vec<u8>,
}

/// The remains of a crash after the end of a segment.
#[derive(Debug)]
struct Cut {
    file: Arc<dyn LogFile>,
    head: SegmentHead,
    offset: u64,
    /// Number of bytes written there.
    bytes: u64,
    what: &'static str,
}

impl Replay {
    /// Replays one segment; returns `false` if nothing was written to it.
    pub(super) fn segment(
        &mut self,
        head: &SegmentHead,
        bytes: &[u8],
        file: &Arc<dyn LogFile>,
    ) -> io::Result<bool> {
        let sequence = head.sequence;
        debug_assert!(
            self.held.last().is_none_or(|held| held.sequence < sequence),
            "segments are replayed in their order"
        );
        let mut scan = Scan::new(bytes, head);
        let mut before = self.index.bounds().next;
        let (mut opened, mut sealed) = (false, false);
        let mut durable = DATA_START;
        let end = loop {
            if sealed {
                break End::Whole;
            }
            match scan.step() {
                Ok(batch) => {
                    let is_opening = batch.head.kind == BatchKind::Opening;
                    if is_opening == opened {
                        return Err(self.damaged(
                            sequence,
                            batch.offset,
                            "a segment has one opening, at its begin",
                        ));
                    }
                    if is_opening {
                        self.follows(sequence, batch.head.vouched)?;
                        opened = true;
                    }
                    if batch.head.vouched.sequence == sequence {
                        durable = durable.max(batch.head.vouched.offset);
                    }
                    sealed = batch.head.kind == BatchKind::Seal;
                    before = before.max(self.batch(sequence, &batch)?);
                }
                Err(end) => break end,
            }
        };
        match end {
            End::Damaged(what) => return Err(self.damaged(sequence, scan.offset, &what)),
            End::Torn(what) => self.cuts.push(Cut {
                file: Arc::clone(file),
                head: *head,
                offset: scan.offset,
                bytes: written(bytes, head, scan.offset),
                what,
            }),
            End::Whole => {}
        }
        if opened {
            self.unvouched = Unvouched::between(bytes, durable, scan.offset)?;
            let last = Ready {
                head: *head,
                file: Arc::clone(file),
            };
            self.last = Some((last, scan.position(), sealed));
            self.held.push(Held {
                sequence,
                file: Arc::clone(file),
                end: scan.offset,
                before,
            });
        } else if self.last.is_none() {
            return Err(self.damaged(sequence, DATA_START, "its first batch is not there"));
        }
        Ok(opened)
    }

    /// Checks that a segment begins where the previous one ends.
    fn follows(&self, sequence: u64, vouched: Position) -> io::Result<()> {
        match &self.last {
            Some((_, end, sealed)) if !sealed || *end != vouched => Err(self.damaged(
                end.sequence,
                end.offset,
                &format!(
                    "no batch verifies, but {} says that everything before offset {} of {} was \
                     durable",
                    names::segment(sequence),
                    vouched.offset,
                    names::segment(vouched.sequence)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Replays a batch; returns the exclusive upper bound of its entries.
    fn batch(&mut self, sequence: u64, batch: &Batch<'_>) -> io::Result<u64> {
        let mut before = 0;
        let body_end = batch.offset + batch.body.len() as u64;
        for (at, record) in scan::records(batch.body) {
            let (index, other) = (record.head.index, record.head.term);
            let replayed = match record.head.kind {
                RecordKind::Entry => {
                    before = index.saturating_add(1);
                    self.index.put(Point {
                        index,
                        sequence,
                        offset: batch.offset + at,
                        body_end,
                    })
                }
                RecordKind::Remove => {
                    let removed = self.index.remove(index, other);
                    self.absent_before = self.absent_before.min(self.index.bounds().next);
                    removed
                }
                RecordKind::Bounds => self.bounds(Bounds {
                    first: index,
                    next: other,
                }),
                RecordKind::Vote | RecordKind::Committed | RecordKind::Purged => {
                    if let Some(fact) = facts::of_kind(record.head.kind) {
                        self.facts.set(fact, record.payload);
                    }
                    Ok(())
                }
            };
            replayed.map_err(|e| self.damaged(sequence, batch.offset + at, &e.to_string()))?;
        }
        Ok(before)
    }

    /// Applies the bounds of the log that a segment records at its start.
    fn bounds(&mut self, bounds: Bounds) -> Result<(), LogError> {
        if self.last.is_none() {
            self.absent_before = if bounds.is_empty() { 0 } else { bounds.next };
            self.index = LogIndex::starting(bounds);
        } else if self.index.bounds() != bounds {
            let held = self.index.bounds();
            return Err(LogError::Invalid(format!(
                "the segment begins with entries {} to {}, but the segments before hold {} to {}",
                bounds.first, bounds.next, held.first, held.next
            )));
        }
        Ok(())
    }

    pub(super) fn finish(self, ready: Option<Ready>, spares: Vec<u64>) -> io::Result<Recovered> {
        let Some((last, end, sealed)) = self.last else {
            return Err(LogError::Missing {
                file: names::segment(1),
                what: "the directory has no segment".to_owned(),
            }
            .into());
        };
        if sealed && ready.is_none() {
            return Err(LogError::Missing {
                file: names::segment(last.head.sequence + 1),
                what: format!(
                    "{} says that it goes on",
                    names::segment(last.head.sequence)
                ),
            }
            .into());
        }
        let bounds = self.index.bounds();
        if !bounds.is_empty() && bounds.first < self.absent_before.min(bounds.next) {
            let first = self.held.first().map_or(0, |held| held.sequence);
            return Err(LogError::Missing {
                file: names::segment(first.saturating_sub(1)),
                what: format!(
                    "entries {} to {} are before {}",
                    bounds.first,
                    self.absent_before - 1,
                    names::segment(first)
                ),
            }
            .into());
        }
        debug_assert!(
            self.held
                .last()
                .is_some_and(|held| (held.sequence, held.end) == (end.sequence, end.offset)),
            "the log ends in the last segment held"
        );
        debug_assert!(
            ready
                .as_ref()
                .is_none_or(|ready| ready.head.sequence == end.sequence + 1),
            "the segment that is ready follows the last one"
        );
        for cut in &self.cuts {
            cut.carry_out()?;
        }
        self.unvouched.carry_out(&*last.file)?;
        Ok(Recovered {
            index: self.index,
            facts: self.facts,
            held: self.held,
            last,
            end,
            sealed,
            ready,
            spares,
        })
    }

    pub(super) fn damaged(&self, sequence: u64, offset: u64, what: &str) -> io::Error {
        LogError::Damaged {
            file: names::segment(sequence),
            offset,
            index: self.index.bounds().next,
            what: what.to_owned(),
        }
        .into()
    }
}

impl Unvouched {
    fn between(bytes: &[u8], from: u64, to: u64) -> io::Result<Self> {
        let place = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
        let read = bytes.get(place(from)?..place(to)?);
        Ok(Self {
            offset: from,
            bytes: read.unwrap_or_default().to_vec(),
        })
    }

    /// Rewrites and syncs the bytes, because they count as durable from here on. After a kill they
    /// may be in the page cache only. So they may after a failed sync, which leaves the pages
    /// marked as clean: only a rewrite makes the next sync write them to the disk.
    fn carry_out(&self, file: &dyn LogFile) -> io::Result<()> {
        if !self.bytes.is_empty() {
            file.write_at(&mut [IoSlice::new(&self.bytes)], self.offset)?;
        }
        file.sync()
    }
}

impl Cut {
    /// Erases the remains durably, so that no later batch continues them.
    fn carry_out(&self) -> io::Result<()> {
        warn!(
            file = names::segment(self.head.sequence),
            offset = self.offset,
            bytes = self.bytes,
            "{}; it was never acknowledged, and is cut off",
            self.what
        );
        debug_assert!(
            (DATA_START..=self.head.capacity).contains(&self.offset),
            "what is cut off lies behind the head, and in the segment"
        );
        let length = self.head.capacity - self.offset;
        let zeros = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file
            .write_at(&mut [IoSlice::new(&zeros)], self.offset)?;
        self.file.sync()
    }
}

/// Returns the number of bytes after `offset` in batches of the segment's current life.
fn written(bytes: &[u8], head: &SegmentHead, offset: u64) -> u64 {
    let mut end = offset;
    let mut at = offset;
    while let Some(sector) = usize::try_from(at)
        .ok()
        .and_then(|at| bytes.get(at..at + BATCH_HEAD))
    {
        if sector::may_be_head(sector, head.nonce) {
            let body = u64::from(super::fields::be32(sector, BODY_AT));
            end = end.max((at + BATCH_HEAD as u64 + body).min(head.capacity));
        }
        at += SECTOR as u64;
    }
    end - offset
}
