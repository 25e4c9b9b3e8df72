//! One segment: a header, then frames. Each frame holds one revision.
//!
//! The head of a frame has a checksum of its own: a damaged length would otherwise look like an
//! append that was interrupted, and what follows would be cut off as if it had never been there.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tenure_statemachine::Revision;

use super::{
    change::ArchivedRevision,
    fault::{SegmentError, SegmentFault},
};
use crate::bbolt::ReadAt;

/// The first bytes of a segment; the last of them is the version of the format.
const MAGIC: [u8; 8] = *b"tenarch\x01";
/// Bytes of the header of a segment.
pub const SEGMENT_HEADER_BYTES: usize = 36;
/// Bytes of the head of a frame: length, checksum of the content, checksum of both.
const HEAD_BYTES: usize = 12;
/// Bytes of the content of a frame at most: far more than a server puts into one message, which is
/// two gigabytes on paper and a few megabytes in practice.
pub const FRAME_BYTES_MAX: u64 = 1 << 30;
/// Bytes compared with zero at a time.
const ZEROS_BYTES: u64 = 64 * 1024;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The cluster whose revisions these are.
    pub cluster_id: u64,
    /// The revision before the first one in this segment.
    pub after: Revision,
    /// When that revision was the latest, by the archiver's clock: milliseconds since 1970.
    pub time_ms: u64,
}

impl SegmentHeader {
    /// Encodes the header.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.put_slice(&MAGIC);
        bytes.put_u64(self.cluster_id);
        bytes.put_i64(self.after.0);
        bytes.put_u64(self.time_ms);
        let checksum = crc32c::crc32c(&bytes);
        bytes.put_u32(checksum);
        bytes.freeze()
    }

    fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let (cluster_id, rest) = rest.split_first_chunk()?;
        let (after, rest) = rest.split_first_chunk()?;
        let (time_ms, checksum) = rest.split_first_chunk()?;
        let (before, _) = bytes.split_last_chunk::<4>()?;
        let stored = u32::from_be_bytes(checksum.try_into().ok()?);
        let valid = *magic == MAGIC && crc32c::crc32c(before) == stored;
        valid.then_some(Self {
            cluster_id: u64::from_be_bytes(*cluster_id),
            after: Revision(i64::from_be_bytes(*after)),
            time_ms: u64::from_be_bytes(*time_ms),
        })
    }
}

/// Encodes a frame with one revision; `None` when it exceeds [`FRAME_BYTES_MAX`].
#[must_use]
pub fn encode(revision: &ArchivedRevision) -> Option<Bytes> {
    let content = revision.encode_to_vec();
    let length = u32::try_from(content.len()).ok()?;
    if u64::from(length) > FRAME_BYTES_MAX {
        return None;
    }
    let mut frame = BytesMut::with_capacity(HEAD_BYTES.saturating_add(content.len()));
    frame.put_u32(length);
    frame.put_u32(crc32c::crc32c(&content));
    let checksum = crc32c::crc32c(&frame);
    frame.put_u32(checksum);
    frame.put_slice(&content);
    Some(frame.freeze())
}

/// A segment that is read.
#[derive(Debug)]
pub struct Segment<S> {
    source: S,
    file: String,
    header: SegmentHeader,
}

impl<S: ReadAt> Segment<S> {
    /// Opens a segment: reads its header. `file` names it in errors.
    ///
    /// # Errors
    /// When it is not the header of a segment, or cannot be read.
    pub fn open(source: S, file: impl Into<String>) -> Result<Self, SegmentError> {
        let file = file.into();
        match header_of(&source) {
            Ok(header) => Ok(Self {
                source,
                file,
                header,
            }),
            Err(fault) => Err(SegmentError {
                file,
                offset: 0,
                fault,
            }),
        }
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> SegmentHeader {
        self.header
    }

    /// The name given to [`Segment::open`].
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Reads the revisions from the first one on.
    #[must_use]
    pub const fn frames(&self) -> Frames<'_, S> {
        self.frames_from(Place {
            offset: SEGMENT_HEADER_BYTES as u64,
            last: self.header.after,
        })
    }

    /// Reads on from where [`Frames::place`] was.
    #[must_use]
    pub const fn frames_from(&self, place: Place) -> Frames<'_, S> {
        Frames {
            segment: self,
            offset: place.offset,
            last: place.last,
        }
    }
}

/// A place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    last: Revision,
}

fn header_of<S: ReadAt>(source: &S) -> Result<SegmentHeader, SegmentFault> {
    let present = source.length().map_err(SegmentFault::Io)?;
    if present < SEGMENT_HEADER_BYTES as u64 {
        return Err(SegmentFault::Cut {
            needed: SEGMENT_HEADER_BYTES as u64,
            present,
        });
    }
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    source
        .read_exact_at(&mut bytes, 0)
        .map_err(SegmentFault::Io)?;
    SegmentHeader::decode(&bytes).ok_or(SegmentFault::Header)
}

/// Reads the revisions of a segment in order. At the end of the file it can be asked again: it then
/// returns what was appended meanwhile.
#[derive(Debug)]
pub struct Frames<'a, S> {
    segment: &'a Segment<S>,
    offset: u64,
    last: Revision,
}

impl<S: ReadAt> Frames<'_, S> {
    /// The next revision; `None` at the end of the file.
    ///
    /// # Errors
    /// When the frame is damaged or not that of the next revision, or the file cannot be read. The
    /// position stays before the frame.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator that ends is not asked again; this one may be"
    )]
    pub fn next(&mut self) -> Result<Option<ArchivedRevision>, SegmentError> {
        let read = self.read().map_err(|fault| SegmentError {
            file: self.segment.file.clone(),
            offset: self.offset,
            fault,
        })?;
        Ok(read.map(|(revision, end)| {
            self.offset = end;
            self.last = Revision(revision.revision);
            revision
        }))
    }

    /// The place, to read on from.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place {
            offset: self.offset,
            last: self.last,
        }
    }

    /// Where the next frame begins.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The last revision that was read, or the one before the segment.
    #[must_use]
    pub const fn last(&self) -> Revision {
        self.last
    }

    /// Reads the frame at the position. Returns it with the place of the next one.
    fn read(&self) -> Result<Option<(ArchivedRevision, u64)>, SegmentFault> {
        let source = &self.segment.source;
        let length = source.length().map_err(SegmentFault::Io)?;
        let present = length.saturating_sub(self.offset);
        if present == 0 {
            return Ok(None);
        }
        let needed = HEAD_BYTES as u64;
        if present < needed {
            return Err(SegmentFault::Cut { needed, present });
        }
        let mut head = [0; HEAD_BYTES];
        let place = self.offset;
        source
            .read_exact_at(&mut head, place)
            .map_err(SegmentFault::Io)?;
        let Head { bytes, checksum } = match Head::decode(&head) {
            Ok(head) => head,
            // A file that grew before its data was written reads as zeros.
            Err(_) if self.is_zero_to(length)? => {
                let needed = present.saturating_add(1);
                return Err(SegmentFault::Cut { needed, present });
            }
            Err(fault) => return Err(fault),
        };
        if bytes > FRAME_BYTES_MAX {
            return Err(SegmentFault::TooLong(bytes));
        }
        let needed = needed.saturating_add(bytes);
        if needed > present {
            return Err(SegmentFault::Cut { needed, present });
        }
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        source
            .read_exact_at(&mut content, place.saturating_add(HEAD_BYTES as u64))
            .map_err(SegmentFault::Io)?;
        let computed = crc32c::crc32c(&content);
        if computed != checksum {
            return Err(SegmentFault::Content {
                stored: checksum,
                computed,
                is_last: needed == present,
            });
        }
        let revision = ArchivedRevision::decode(Bytes::from(content))?;
        let found = Revision(revision.revision);
        if self.last.0.checked_add(1) != Some(found.0) {
            let before = self.last;
            return Err(SegmentFault::Order { before, found });
        }
        Ok(Some((revision, place.saturating_add(needed))))
    }

    fn is_zero_to(&self, end: u64) -> Result<bool, SegmentFault> {
        let mut buffer = vec![0; usize::try_from(ZEROS_BYTES).unwrap_or(usize::MAX)];
        let mut place = self.offset;
        while place < end {
            let now = end.saturating_sub(place).min(ZEROS_BYTES);
            let part = buffer.get_mut(..usize::try_from(now).unwrap_or(usize::MAX));
            let part = part.unwrap_or_default();
            let read = self.segment.source.read_exact_at(part, place);
            read.map_err(SegmentFault::Io)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            place = place.saturating_add(now);
        }
        Ok(true)
    }
}

struct Head {
    bytes: u64,
    checksum: u32,
}

impl Head {
    fn decode(head: &[u8; HEAD_BYTES]) -> Result<Self, SegmentFault> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *head;
        let stored = u32::from_be_bytes([i, j, k, l]);
        let computed = crc32c::crc32c(&[a, b, c, d, e, f, g, h]);
        if stored != computed {
            return Err(SegmentFault::Head { stored, computed });
        }
        Ok(Self {
            bytes: u64::from(u32::from_be_bytes([a, b, c, d])),
            checksum: u32::from_be_bytes([e, f, g, h]),
        })
    }
}
