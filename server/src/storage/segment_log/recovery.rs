//! Opens the segments of a log: everything that was synced is found, or the log is refused.
//!
//! Not the end of one segment (that is `scan`) but how segments hang together. Invariant: what a
//! crash may have left is accepted and nothing else; a torn end is cut durably before a write
//! follows it.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use tracing::warn;

use super::{
    bounds::Bounds,
    error::LogError,
    facts::{self, Facts},
    files::{LogFile, LogFiles},
    head::{DATA_START, LogOwner, SegmentHead},
    index::{LogIndex, Point},
    names::{self, Name},
    provision::Ready,
    record::RecordKind,
    scan::{self, Batch, End, Scan},
    sector::{BATCH_HEAD, BatchKind, Position, SECTOR},
};

/// A segment with entries.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) sequence: u64,
    pub(super) file: Arc<dyn LogFile>,
    /// Bytes of it that were written.
    pub(super) end: u64,
    /// The entries in it, removed ones included, are before this.
    pub(super) before: u64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) index: LogIndex,
    pub(super) facts: Facts,
    pub(super) held: Vec<Held>,
    /// The head of the last of them, its end, and whether it is sealed.
    pub(super) last: SegmentHead,
    pub(super) end: Position,
    pub(super) sealed: bool,
    /// The segment after the last, when it is there.
    pub(super) ready: Option<Ready>,
    pub(super) spares: Vec<u64>,
}

/// Reads every segment in `files`.
///
/// # Errors
/// A [`LogError`] when something is not there, or not what was written; or the disk failed.
pub(super) fn recover(files: &dyn LogFiles, owner: LogOwner) -> io::Result<Recovered> {
    let (sequences, spares) = list(files)?;
    let Some(first) = sequences.first().copied() else {
        return Err(LogError::Missing {
            file: names::segment(1),
            what: "the directory has no segment".to_owned(),
        }
        .into());
    };
    let mut replay = Replay::default();
    let mut ready: Option<Ready> = None;
    let mut extra = Vec::new();
    for (sequence, expected) in sequences.into_iter().zip(first..) {
        if sequence != expected {
            return Err(LogError::Missing {
                file: names::segment(expected),
                what: format!("the segments go on with {}", names::segment(sequence)),
            }
            .into());
        }
        let file = files.open(&names::segment(sequence))?;
        let (head, bytes) = load(&*file, owner, sequence)?;
        if replay.segment(&head, &bytes, &file)? {
            if ready.is_some() {
                return Err(replay.damaged(
                    sequence,
                    DATA_START,
                    "it has entries, and the segment before it has none",
                ));
            }
        } else if ready.is_none() {
            ready = Some(Ready { head, file });
        } else {
            extra.push(sequence);
        }
    }
    let recovered = replay.finish(ready, spares)?;
    for sequence in extra.into_iter().rev() {
        // More than one was made ready; one is enough.
        files.remove(&names::segment(sequence))?;
        files.sync_names()?;
    }
    Ok(recovered)
}

/// The sequences of the segments and the numbers of the spares, in order.
fn list(files: &dyn LogFiles) -> io::Result<(Vec<u64>, Vec<u64>)> {
    let (mut sequences, mut spares) = (Vec::new(), Vec::new());
    for name in files.names()? {
        match names::parse(&name) {
            Some(Name::Segment(sequence)) => sequences.push(sequence),
            Some(Name::Spare(number)) => spares.push(number),
            None => {
                return Err(LogError::Foreign {
                    file: name,
                    what: "it is no file of a log; move it away".to_owned(),
                }
                .into());
            }
        }
    }
    sequences.sort_unstable();
    spares.sort_unstable();
    Ok((sequences, spares))
}

/// Reads a whole segment and its head.
fn load(file: &dyn LogFile, owner: LogOwner, sequence: u64) -> io::Result<(SegmentHead, Vec<u8>)> {
    let name = names::segment(sequence);
    let damaged = |offset: u64, what: String| LogError::Damaged {
        file: name.clone(),
        offset,
        index: 0,
        what,
    };
    let length = file.length()?;
    if length < DATA_START {
        return Err(damaged(length, format!("it ends after {length} bytes")).into());
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    let head = bytes
        .first_chunk::<SECTOR>()
        .ok_or_else(|| "it is too short".to_owned())
        .and_then(SegmentHead::decode)
        .map_err(|what| damaged(0, what))?;
    let foreign = |what: String| LogError::Foreign {
        file: name.clone(),
        what,
    };
    if head.owner != owner {
        return Err(foreign(format!(
            "it belongs to {}, and this is {}",
            shown(head.owner),
            shown(owner)
        ))
        .into());
    }
    if head.sequence != sequence {
        return Err(foreign(format!("it is a copy of {}", names::segment(head.sequence))).into());
    }
    if head.capacity != length {
        let what = format!("it has {length} bytes, but was made with {}", head.capacity);
        return Err(damaged(length.min(head.capacity), what).into());
    }
    Ok((head, bytes))
}

fn shown(owner: LogOwner) -> String {
    format!(
        "member {:016x} of cluster {:016x}, instance {:016x}",
        owner.member_id, owner.cluster_id, owner.instance_id
    )
}

/// The log as the segments read so far have it.
#[derive(Debug, Default)]
struct Replay {
    index: LogIndex,
    facts: Facts,
    held: Vec<Held>,
    last: Option<(SegmentHead, Position, bool)>,
    /// Entries before this lie in segments that are not there.
    absent_before: u64,
    /// Done when nothing stands against the log: a log that is refused is left as it is.
    cuts: Vec<Cut>,
}

/// What a crash left behind the end of a segment.
#[derive(Debug)]
struct Cut {
    file: Arc<dyn LogFile>,
    head: SegmentHead,
    offset: u64,
    /// Bytes that were written there.
    bytes: u64,
    what: &'static str,
}

impl Replay {
    /// Reads one segment; `false` when nothing was written to it.
    fn segment(
        &mut self,
        head: &SegmentHead,
        bytes: &[u8],
        file: &Arc<dyn LogFile>,
    ) -> io::Result<bool> {
        let sequence = head.sequence;
        let mut scan = Scan::new(bytes, head);
        let mut before = self.index.bounds().next;
        let (mut opened, mut sealed) = (false, false);
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
            self.last = Some((*head, scan.position(), sealed));
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

    /// A segment begins where the one before it ends.
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

    /// Replays a batch; returns what its entries are before.
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

    /// What a segment says the log held at its begin.
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

    fn finish(self, ready: Option<Ready>, spares: Vec<u64>) -> io::Result<Recovered> {
        let Some((last, end, sealed)) = self.last else {
            unreachable!("a log without an opened segment was refused")
        };
        if sealed && ready.is_none() {
            return Err(LogError::Missing {
                file: names::segment(last.sequence + 1),
                what: format!("{} says that it goes on", names::segment(last.sequence)),
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
        for cut in &self.cuts {
            cut.carry_out()?;
        }
        if let Some(held) = self.held.last() {
            // A process that was killed leaves writes that only the page cache has: from here on
            // they count as durable.
            held.file.sync()?;
        }
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

    fn damaged(&self, sequence: u64, offset: u64, what: &str) -> io::Error {
        LogError::Damaged {
            file: names::segment(sequence),
            offset,
            index: self.index.bounds().next,
            what: what.to_owned(),
        }
        .into()
    }
}

impl Cut {
    /// Overwrites it durably, so that no later batch joins it.
    fn carry_out(&self) -> io::Result<()> {
        warn!(
            file = names::segment(self.head.sequence),
            offset = self.offset,
            bytes = self.bytes,
            "{}; it was never acknowledged, and is cut off",
            self.what
        );
        let length = self.head.capacity - self.offset;
        let zeros = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file
            .write_at(&mut [IoSlice::new(&zeros)], self.offset)?;
        self.file.sync()
    }
}

/// Bytes behind `offset` that belong to batches of this life of the segment.
fn written(bytes: &[u8], head: &SegmentHead, offset: u64) -> u64 {
    let mut end = offset;
    let mut at = offset;
    while let Some(sector) = usize::try_from(at)
        .ok()
        .and_then(|at| bytes.get(at..at + BATCH_HEAD))
    {
        if super::sector::may_be_head(sector, head.nonce) {
            let body = u64::from(super::fields::be32(sector, 16));
            end = end.max((at + BATCH_HEAD as u64 + body).min(head.capacity));
        }
        at += SECTOR as u64;
    }
    end - offset
}
