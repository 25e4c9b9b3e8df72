//! Reads of entries: from the nearest point of the index, as many as one read of the file returns.
//!
//! Every record is verified again, and must have the expected index. Invariant: the returned
//! entries are contiguous, and equal to those written.

use std::{io, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    error::LogError,
    fields::be32,
    files::LogFile,
    index::Point,
    log::Shared,
    names,
    record::{self, RecordKind},
    sector::{BATCH_HEAD, BODY_AT, SECTOR},
};

/// Maximum bytes per read of a file. Covers the entries of one replication message, and the heads
/// around them.
const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// Bytes read beyond the requested ones: a point lies at most about this far before an entry.
const SLACK_BYTES: u64 = 32 << 10;

/// Reads the entries from `start` up to and without `end`: at most `bytes_max` bytes, but at least
/// one entry.
pub(super) fn read(
    shared: &Mutex<Shared>,
    start: u64,
    end: u64,
    bytes_max: usize,
) -> io::Result<Vec<(u64, Bytes)>> {
    let mut found: Vec<(u64, Bytes)> = Vec::new();
    let mut cursor: Option<Cursor> = None;
    let (mut next, mut bytes) = (start, 0);
    while let Some(span) = Span::find(shared, next, end, bytes_max) {
        next = next.max(span.from);
        let mut walk = match cursor.take() {
            Some(cursor) if cursor.sequence == span.point.sequence => cursor.at(&span),
            _ => Cursor::new(&span),
        };
        let mut due = span.point.index;
        while due < span.until {
            let entry = walk.entry(due)?;
            if due >= next {
                if !found.is_empty() && bytes + entry.len() > bytes_max {
                    return Ok(found);
                }
                bytes += entry.len();
                found.push((due, entry));
            }
            due += 1;
        }
        next = span.until;
        cursor = Some(walk);
    }
    Ok(found)
}

/// Consecutive entries from one point of the index.
#[derive(Debug)]
struct Span {
    point: Point,
    /// The first requested entry, and the end of the span.
    from: u64,
    until: u64,
    file: Arc<dyn LogFile>,
    /// End of the written part of the segment.
    written: u64,
    /// Bytes per read.
    window: u64,
}

impl Span {
    fn find(shared: &Mutex<Shared>, next: u64, end: u64, bytes_max: usize) -> Option<Self> {
        let shared = shared.lock();
        let bounds = shared.index.bounds();
        let from = next.max(bounds.first);
        let end = end.min(bounds.next);
        if from >= end {
            return None;
        }
        let (point, until) = shared.index.find(from)?;
        debug_assert!(
            point.index <= from && from < until,
            "a span holds the entry that it is found for"
        );
        let held = shared
            .held
            .iter()
            .find(|held| held.sequence == point.sequence)?;
        let wanted = (bytes_max as u64).saturating_add(SLACK_BYTES);
        let ends = shared
            .index
            .find_end(point.sequence, end)
            .unwrap_or(held.end);
        Some(Self {
            point,
            from,
            until: until.min(end),
            file: Arc::clone(&held.file),
            written: held.end,
            window: wanted
                .min(WINDOW_BYTES_MAX)
                .min(ends.saturating_sub(point.offset))
                .max(SECTOR as u64),
        })
    }
}

/// A position in a segment, and the bytes read around it.
#[derive(Debug)]
struct Cursor {
    sequence: u64,
    file: Arc<dyn LogFile>,
    written: u64,
    window: u64,
    /// Offset of the next record, and the end of the records of its batch.
    offset: u64,
    body_end: u64,
    bytes: Bytes,
    /// Offset of `bytes` in the segment.
    start: u64,
}

impl Cursor {
    fn new(span: &Span) -> Self {
        Self {
            sequence: span.point.sequence,
            file: Arc::clone(&span.file),
            written: span.written,
            window: span.window,
            offset: span.point.offset,
            body_end: span.point.body_end,
            bytes: Bytes::new(),
            start: span.point.offset,
        }
    }

    /// Moves to the start of `span`, in the same segment.
    fn at(mut self, span: &Span) -> Self {
        self.written = span.written;
        self.window = span.window;
        self.offset = span.point.offset;
        self.body_end = span.point.body_end;
        self
    }

    /// Reads the entry `due`, which must be the next one from here.
    fn entry(&mut self, due: u64) -> io::Result<Bytes> {
        loop {
            if self.offset >= self.body_end {
                let head_at = self.body_end.next_multiple_of(SECTOR as u64);
                let head = self.bytes(head_at, BATCH_HEAD as u64, due)?;
                self.offset = head_at + BATCH_HEAD as u64;
                self.body_end = self.offset + u64::from(be32(&head, BODY_AT));
                continue;
            }
            let head = self.bytes(self.offset, record::RECORD_HEAD as u64, due)?;
            let extent = record::extent(&head).unwrap_or(usize::MAX) as u64;
            let bytes = self.bytes(self.offset, extent, due)?;
            let Some(record) = record::decode(&bytes) else {
                return Err(self.damaged(due, "its record does not verify"));
            };
            self.offset += extent;
            if record.head.kind == RecordKind::Entry {
                if record.head.index != due {
                    let index = record.head.index;
                    return Err(self.damaged(due, &format!("entry {index} is in its place")));
                }
                return Ok(bytes.slice(record::RECORD_HEAD..));
            }
        }
    }

    /// Returns `length` bytes at `offset`, from the buffer or from the file.
    fn bytes(&mut self, offset: u64, length: u64, due: u64) -> io::Result<Bytes> {
        let end = offset.saturating_add(length);
        if end > self.written {
            return Err(self.damaged(due, "its record ends after the segment"));
        }
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let window = self.window.max(length).min(self.written - offset);
            let mut bytes = vec![0; usize::try_from(window).map_err(io::Error::other)?];
            self.file.read_at(&mut bytes, offset)?;
            self.bytes = bytes.into();
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).map_err(io::Error::other)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        Ok(self.bytes.slice(from..from + length))
    }

    fn damaged(&self, index: u64, what: &str) -> io::Error {
        LogError::Damaged {
            file: names::segment(self.sequence),
            offset: self.offset,
            index,
            what: what.to_owned(),
        }
        .into()
    }
}
