//! Scan of one segment: reads its batches and classifies its end as whole, torn or damaged.
//!
//! Works on bytes in memory. Two rules separate damage from a torn end: a sector that was written
//! in this life of the segment but does not verify is damaged; and a later batch that vouches for
//! bytes that do not verify proves that they were durable.

use super::{
    head::{DATA_START, SegmentHead},
    record::{self, Record},
    sector::{self, BATCH_HEAD, BatchHead, BatchKind, Found, Place, Position, SECTOR, Sector},
};

/// A verified batch.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) head: BatchHead,
    /// The bytes of its records.
    pub(super) body: &'a [u8],
    /// Offset of the records in the segment.
    pub(super) offset: u64,
}

/// How a segment ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All written batches verify.
    Whole,
    /// A crash cut a write short, before anything depended on it.
    Torn(&'static str),
    /// Bytes that were durable differ from those written.
    Damaged(String),
}

/// Reads the batches of a segment in order.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    head: &'a SegmentHead,
    /// Offset of the next batch, and the chain before it.
    pub(super) offset: u64,
    pub(super) chain: u32,
}

impl<'a> Scan<'a> {
    /// Begins after the head of a segment whose whole content is `bytes`.
    pub(super) fn new(bytes: &'a [u8], head: &'a SegmentHead) -> Self {
        debug_assert_eq!(
            bytes.len() as u64,
            head.capacity,
            "a segment is scanned to its end"
        );
        Self {
            bytes,
            head,
            offset: DATA_START,
            chain: head.seed(),
        }
    }

    /// Returns the position that the scan has reached.
    pub(super) const fn position(&self) -> Position {
        Position {
            sequence: self.head.sequence,
            offset: self.offset,
            chain: self.chain,
        }
    }

    /// Returns the next batch, or how the segment ends.
    pub(super) fn step(&mut self) -> Result<Batch<'a>, End> {
        let Some(sector) = self.sector(self.offset) else {
            return Err(End::Whole);
        };
        match sector::decode(sector, self.place(self.offset)) {
            Found::Damaged => Err(End::Damaged(
                "the first sector of a batch does not verify".to_owned(),
            )),
            Found::Other => Err(self.end("the write of the next batch did not finish")),
            Found::Head(head) if head.before != self.chain => Err(End::Damaged(format!(
                "a batch follows {:08x}, but what is before it ends with {:08x}",
                head.before, self.chain
            ))),
            Found::Head(head) if head.kind == BatchKind::Voucher => {
                Err(match self.end("") {
                    // The next batch overwrites it; there is nothing after it.
                    End::Torn(_) => End::Torn("the write of the next batch did not finish"),
                    end => end,
                })
            }
            Found::Head(head) => self.body(head),
        }
    }

    fn body(&mut self, head: BatchHead) -> Result<Batch<'a>, End> {
        let start = self.offset + BATCH_HEAD as u64;
        let end = start + u64::from(head.body);
        let body = usize::try_from(start)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(start, end)| self.bytes.get(start..end));
        let Some(body) = body else {
            return Err(End::Damaged("a batch ends after its segment".to_owned()));
        };
        if verify(body, &head) {
            self.offset = end.next_multiple_of(SECTOR as u64);
            self.chain = head.after;
            return Ok(Batch {
                head,
                body,
                offset: start,
            });
        }
        if end <= self.offset + SECTOR as u64 {
            return Err(End::Damaged("a record does not verify".to_owned()));
        }
        match self.end("the write of the last batch did not finish") {
            // Its own head is there: something was written.
            End::Whole => Err(End::Torn("the write of the last batch did not finish")),
            end => Err(end),
        }
    }

    /// Classifies the end of the segment where no batch verifies, by the batches after that place.
    fn end(&self, torn: &'static str) -> End {
        let mut found = false;
        let mut offset = self.offset + SECTOR as u64;
        while let Some(sector) = self.sector(offset) {
            if sector::may_be_head(sector, self.head.nonce)
                && let Found::Head(head) = sector::decode(sector, self.place(offset))
            {
                found = true;
                let vouched = head.vouched;
                if vouched.sequence == self.head.sequence && vouched.offset > self.offset {
                    return End::Damaged(format!(
                        "it does not verify, but the batch at offset {offset} says that \
                         everything before offset {} was durable",
                        vouched.offset
                    ));
                }
            }
            offset += SECTOR as u64;
        }
        if found { End::Torn(torn) } else { End::Whole }
    }

    fn place(&self, offset: u64) -> Place {
        Place {
            nonce: self.head.nonce,
            sequence: self.head.sequence,
            offset,
        }
    }

    fn sector(&self, offset: u64) -> Option<&'a Sector> {
        let start = usize::try_from(offset).ok()?;
        self.bytes.get(start..start + SECTOR)?.try_into().ok()
    }
}

/// Whether the records of a batch match the count in its head, in an unbroken chain.
fn verify(body: &[u8], head: &BatchHead) -> bool {
    let (mut rest, mut chain) = (body, head.before);
    for _ in 0..head.records {
        match record::decode(rest) {
            Some(record) if record.before == chain => {
                chain = record.after;
                rest = &rest[record::RECORD_HEAD + record.payload.len()..];
            }
            _ => return false,
        }
    }
    rest.is_empty() && chain == head.after
}

/// Iterates over the records of a verified batch, with their offsets in the body.
pub(super) fn records(body: &[u8]) -> impl Iterator<Item = (u64, Record<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let record = record::decode(body.get(at..)?)?;
        let start = at;
        at += record::RECORD_HEAD + record.payload.len();
        Some((start as u64, record))
    })
}
