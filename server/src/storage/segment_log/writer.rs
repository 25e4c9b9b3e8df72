//! The end of the log: the place of the next batch, and the position up to which all is durable.
//!
//! Owned by one thread at a time. Invariant: a batch vouches only for what a sync covered; a new
//! segment is begun only after the previous one is sealed and durable.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use super::{
    bounds::Bounds,
    facts::Facts,
    files::LogFile,
    gather::{self, BatchBuilder, Gather},
    head::{DATA_START, SegmentHead},
    index::Point,
    provision::{Provision, Ready},
    record::RecordKind,
    sector::{BatchKind, Place, Position, SECTOR},
};
use crate::storage::log_disk::{Fact, LogWrite};

/// The end of the log.
#[derive(Debug)]
pub(super) struct End {
    pub(super) head: SegmentHead,
    pub(super) file: Arc<dyn LogFile>,
    /// Offset of the next batch, and the chain before it.
    pub(super) offset: u64,
    pub(super) chain: u32,
    /// Whether the last batch is a seal, so that the next segment continues the log.
    pub(super) sealed: bool,
    /// The position up to which a sync covered everything.
    pub(super) durable: Position,
    /// Whether anything was written since the last sync.
    pub(super) dirty: bool,
    /// Whether a vote was written since the last sync; it must never be lost.
    pub(super) voted: bool,
    /// Whether the next sync must reach the disk even if nothing was written.
    pub(super) asked: bool,
    /// Whether a voucher is at the place of the next batch.
    pub(super) vouched: bool,
    pub(super) gather: Gather,
    /// Index points of the gathered entries.
    pub(super) points: Vec<Point>,
}

impl End {
    /// Begins at the start of an empty segment, after the position `durable`.
    pub(super) fn at_start(ready: Ready, durable: Position) -> Self {
        Self {
            offset: DATA_START,
            chain: ready.head.seed(),
            head: ready.head,
            file: ready.file,
            sealed: false,
            durable,
            dirty: false,
            voted: false,
            asked: false,
            vouched: false,
            gather: Gather::default(),
            points: Vec::new(),
        }
    }

    pub(super) const fn position(&self) -> Position {
        Position {
            sequence: self.head.sequence,
            offset: self.offset,
            chain: self.chain,
        }
    }

    /// Whether a batch with records of `body` bytes still fits, and a seal after it.
    pub(super) const fn has_room(&self, body: u64) -> bool {
        let end = self.offset + self.gather.length() + gather::batch_len(body) + SECTOR as u64;
        !self.sealed && end <= self.head.capacity
    }

    /// Gathers one batch of `writes`.
    pub(super) fn batch(&mut self, writes: &[LogWrite]) -> io::Result<()> {
        debug_assert!(!writes.is_empty(), "a batch is not empty");
        let (place, first) = (self.next_place(), self.points.len());
        let mut batch = BatchBuilder::begin(&mut self.gather, place, self.chain);
        for write in writes {
            if let LogWrite::Put(record) = write {
                self.points.push(Point {
                    index: record.index,
                    sequence: place.sequence,
                    offset: batch.offset(),
                    body_end: 0,
                });
            }
            self.voted |= matches!(write, LogWrite::Fact(Fact::Vote, _));
            batch.push(write)?;
        }
        let (chain, body_end) = batch.finish(BatchKind::Records, self.durable)?;
        self.chain = chain;
        for point in &mut self.points[first..] {
            point.body_end = body_end;
        }
        Ok(())
    }

    /// Gathers the first batch of a segment: the bounds of the log, and every fact.
    pub(super) fn opening(&mut self, bounds: Bounds, facts: &Facts) -> io::Result<()> {
        let place = self.next_place();
        let mut batch = BatchBuilder::begin(&mut self.gather, place, self.chain);
        batch.push_pair(RecordKind::Bounds, bounds.first, bounds.next);
        for (fact, value) in facts.iter() {
            batch.push_fact(fact, value)?;
        }
        (self.chain, _) = batch.finish(BatchKind::Opening, self.durable)?;
        Ok(())
    }

    /// Writes the gathered batches.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.gather.length() > 0 {
            self.check_place();
            let mut slices: Vec<IoSlice<'_>> = self.gather.slices();
            self.file.write_at(&mut slices, self.offset)?;
            self.offset += self.gather.length();
            self.gather.clear();
            self.dirty = true;
            self.vouched = false;
        }
        Ok(())
    }

    /// Makes all writes durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.sync()?;
            self.dirty = false;
            self.durable = self.position();
        } else if self.asked {
            self.vouched = false;
            self.vouch()?;
            self.file.sync()?;
        }
        self.asked = false;
        if self.voted {
            self.voted = false;
            self.vouch()?;
            self.file.sync()?;
        }
        debug_assert_eq!(
            self.durable,
            self.position(),
            "after a sync everything that was written is durable"
        );
        Ok(())
    }

    /// Writes a voucher at the place of the next batch, if everything before is durable.
    pub(super) fn vouch(&mut self) -> io::Result<()> {
        if !self.dirty && !self.vouched && !self.sealed && self.durable == self.position() {
            self.mark(BatchKind::Voucher)?;
            self.vouched = true;
        }
        Ok(())
    }

    /// Continues in the next segment, which has room for a batch of at least `body` bytes.
    pub(super) fn roll(
        &mut self,
        provision: &Provision,
        (bounds, facts): (Bounds, &Facts),
        body: u64,
    ) -> io::Result<()> {
        debug_assert!(
            self.gather.length() == 0 && self.points.is_empty(),
            "a segment is left only when everything gathered for it is written"
        );
        let opening = facts.iter().map(|(fact, value)| {
            gather::stored_len(&LogWrite::Fact(fact, value.clone())) + SECTOR as u64
        });
        let needed = DATA_START
            + gather::batch_len(opening.sum::<u64>() + SECTOR as u64)
            + gather::batch_len(body)
            + SECTOR as u64;
        if !provision.is_ready(needed) {
            // The next segment is created only when this one needs nothing more from a crash.
            self.sync()?;
        }
        let ready = provision.take(self.head.sequence + 1, needed)?;
        if !self.sealed {
            self.seal()?;
        }
        self.sync()?;
        let durable = self.position();
        let gather = std::mem::take(&mut self.gather);
        *self = Self {
            gather,
            ..Self::at_start(ready, durable)
        };
        self.opening(bounds, facts)
    }

    fn seal(&mut self) -> io::Result<()> {
        self.mark(BatchKind::Seal)?;
        self.offset += SECTOR as u64;
        self.sealed = true;
        self.dirty = true;
        Ok(())
    }

    /// Writes a batch without records.
    fn mark(&mut self, kind: BatchKind) -> io::Result<()> {
        debug_assert_eq!(
            self.gather.length(),
            0,
            "gathered batches are written before a mark, which is not counted"
        );
        let place = self.next_place();
        let batch = BatchBuilder::begin(&mut self.gather, place, self.chain);
        batch.finish(kind, self.durable)?;
        self.check_place();
        let mut slices = self.gather.slices();
        self.file.write_at(&mut slices, self.offset)?;
        self.gather.clear();
        Ok(())
    }

    /// Checks that the gathered bytes may be written at the end of the log.
    fn check_place(&self) {
        debug_assert!(!self.sealed, "nothing follows the seal of a segment");
        // A segment that grew is refused at the next start, with all that is in it. Checked once
        // for each write.
        assert!(
            self.offset + self.gather.length() <= self.head.capacity,
            "a write ends within its segment"
        );
    }

    fn next_place(&self) -> Place {
        Place {
            nonce: self.head.nonce,
            sequence: self.head.sequence,
            offset: self.offset + self.gather.length(),
        }
    }
}
