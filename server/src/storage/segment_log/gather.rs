//! Builds batches for one write: heads and small payloads in one reused buffer, large payloads by
//! reference.
//!
//! The result is a list of slices; the file is written elsewhere. Invariant: batches begin at
//! sectors, and their records are chained.

use std::{
    io::{self, ErrorKind, IoSlice},
    ops::Range,
};

use bytes::Bytes;

use super::{
    record::{RECORD_HEAD, RecordHead, RecordKind},
    sector::{self, BATCH_HEAD, BatchHead, BatchKind, Place, Position, SECTOR},
};
use crate::storage::log_disk::{Fact, LogWrite};

/// Payloads up to this size are copied, which is cheaper than a separate slice.
const COPIED_BYTES_MAX: usize = 2048;

/// Capacity of the buffer kept between writes, so that one unusual batch does not hold memory.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Batches to write consecutively in one call.
#[derive(Debug, Default)]
pub(super) struct Gather {
    buffer: Vec<u8>,
    parts: Vec<Part>,
    length: u64,
}

#[derive(Debug)]
enum Part {
    Copied(Range<usize>),
    Payload(Bytes),
}

impl Gather {
    /// Returns the number of bytes gathered.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES_MAX);
        self.parts.clear();
        self.length = 0;
    }

    /// Returns the gathered bytes, in order.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            slices.push(match part {
                Part::Copied(range) => IoSlice::new(&self.buffer[range.clone()]),
                Part::Payload(payload) => IoSlice::new(payload),
            });
        }
        debug_assert_eq!(
            slices.iter().map(|slice| slice.len() as u64).sum::<u64>(),
            self.length,
            "the slices hold the bytes that were counted"
        );
        slices
    }

    fn copy(&mut self, bytes: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        match self.parts.last_mut() {
            Some(Part::Copied(range)) if range.end == start => range.end = self.buffer.len(),
            _ => self.parts.push(Part::Copied(start..self.buffer.len())),
        }
    }

    fn refer(&mut self, payload: &Bytes) {
        if payload.len() <= COPIED_BYTES_MAX {
            self.copy(payload);
        } else {
            self.length += payload.len() as u64;
            self.parts.push(Part::Payload(payload.clone()));
        }
    }
}

/// A batch under construction at the end of a [`Gather`].
#[derive(Debug)]
pub(super) struct BatchBuilder<'a> {
    gather: &'a mut Gather,
    place: Place,
    /// Start of the batch in the gathered bytes, in the buffer, and in the parts.
    start: u64,
    head_at: usize,
    part_at: usize,
    records: u32,
    before: u32,
    chain: u32,
}

impl<'a> BatchBuilder<'a> {
    /// Begins a batch at `place`; `chain` is the chain before it.
    pub(super) fn begin(gather: &'a mut Gather, place: Place, chain: u32) -> Self {
        debug_assert!(
            place.offset.is_multiple_of(SECTOR as u64),
            "a batch begins at a sector"
        );
        let (start, head_at) = (gather.length, gather.buffer.len());
        let part_at = gather.parts.len();
        // A separate part, so that the head's place in the parts is known.
        gather.buffer.extend_from_slice(&[0; BATCH_HEAD]);
        gather.length += BATCH_HEAD as u64;
        gather
            .parts
            .push(Part::Copied(head_at..head_at + BATCH_HEAD));
        Self {
            gather,
            place,
            start,
            head_at,
            part_at,
            records: 0,
            before: chain,
            chain,
        }
    }

    /// Returns the offset of the next record in the segment.
    pub(super) const fn offset(&self) -> u64 {
        self.place.offset + (self.gather.length - self.start)
    }

    /// Adds the record of one write.
    ///
    /// # Errors
    /// When it is larger than the head of a record can express.
    pub(super) fn push(&mut self, write: &LogWrite) -> io::Result<()> {
        let start = self.gather.length;
        match write {
            LogWrite::Put(record) => {
                let head = RecordHead {
                    kind: RecordKind::Entry,
                    index: record.index,
                    term: record.term,
                    length: length(record.len() as u64)?,
                };
                self.push_head(head, [&record.head, &record.payload]);
                self.gather.copy(&record.head);
                self.gather.refer(&record.payload);
            }
            LogWrite::Remove(from, to) => self.push_pair(RecordKind::Remove, *from, *to),
            LogWrite::Fact(fact, value) => self.push_fact(*fact, value)?,
        }
        debug_assert_eq!(
            self.gather.length - start,
            stored_len(write),
            "room is made for as many bytes as a record takes"
        );
        Ok(())
    }

    /// Adds a record of two numbers without a payload.
    pub(super) fn push_pair(&mut self, kind: RecordKind, index: u64, term: u64) {
        let head = RecordHead {
            kind,
            index,
            term,
            length: 0,
        };
        self.push_head(head, [&[], &[]]);
    }

    /// Adds a fact.
    ///
    /// # Errors
    /// When it is larger than the head of a record can express.
    pub(super) fn push_fact(&mut self, fact: Fact, value: &[u8]) -> io::Result<()> {
        let head = RecordHead {
            kind: kind_of(fact),
            index: 0,
            term: 0,
            length: length(value.len() as u64)?,
        };
        self.push_head(head, [value, &[]]);
        self.gather.copy(value);
        Ok(())
    }

    fn push_head(&mut self, head: RecordHead, payload: [&[u8]; 2]) {
        let (bytes, chain) = head.encode(self.chain, payload);
        self.chain = chain;
        self.records += 1;
        self.gather.copy(&bytes);
    }

    /// Pads the batch to a sector and writes its head; returns the chain and the end of the
    /// records.
    ///
    /// # Errors
    /// When the records are larger than the head of a batch can express.
    pub(super) fn finish(self, kind: BatchKind, vouched: Position) -> io::Result<(u32, u64)> {
        let body_end = self.offset();
        let bytes = self.gather.length - self.start;
        let body = length(bytes - BATCH_HEAD as u64)?;
        let padding = bytes.next_multiple_of(SECTOR as u64) - bytes;
        self.gather
            .copy(&[0; SECTOR][..usize::try_from(padding).unwrap_or(0)]);
        debug_assert_eq!(
            self.gather.length - self.start,
            batch_len(u64::from(body)),
            "room is made for as many bytes as a batch takes"
        );
        debug_assert!(
            self.records > 0 || self.chain == self.before,
            "only records continue the chain"
        );
        let head = BatchHead {
            kind,
            body,
            records: self.records,
            before: self.before,
            after: self.chain,
            vouched,
        };
        let mut sector = [0; SECTOR];
        let mut filled = 0;
        for part in &self.gather.parts[self.part_at..] {
            let bytes = match part {
                Part::Copied(range) => &self.gather.buffer[range.clone()],
                Part::Payload(payload) => payload,
            };
            let taken = bytes.len().min(SECTOR - filled);
            sector[filled..filled + taken].copy_from_slice(&bytes[..taken]);
            filled += taken;
            if filled == SECTOR {
                break;
            }
        }
        sector::encode(&mut sector, &head, self.place);
        self.gather.buffer[self.head_at..self.head_at + BATCH_HEAD]
            .copy_from_slice(&sector[..BATCH_HEAD]);
        Ok((self.chain, body_end))
    }
}

/// Returns the bytes of a write's record in a batch.
pub(super) fn stored_len(write: &LogWrite) -> u64 {
    let payload = match write {
        LogWrite::Put(record) => record.len(),
        LogWrite::Remove(..) => 0,
        LogWrite::Fact(_, value) => value.len(),
    };
    (RECORD_HEAD + payload) as u64
}

/// Returns the bytes of a batch whose records take `body` bytes.
pub(super) const fn batch_len(body: u64) -> u64 {
    (BATCH_HEAD as u64 + body).next_multiple_of(SECTOR as u64)
}

const fn kind_of(fact: Fact) -> RecordKind {
    match fact {
        Fact::Vote => RecordKind::Vote,
        Fact::Committed => RecordKind::Committed,
        Fact::Purged => RecordKind::Purged,
    }
}

/// Converts a length to its stored form.
fn length(bytes: u64) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| {
        let message = format!("{bytes} bytes are more than one record of the log can hold");
        io::Error::new(ErrorKind::InvalidInput, message)
    })
}
