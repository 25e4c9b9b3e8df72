//! Records: a head of fixed length, then a payload, chained by checksum to the previous record.

use super::fields::{be32, be64, put};

/// Bytes of a record before its payload.
pub(super) const RECORD_HEAD: usize = 32;

const LENGTH_AT: usize = 0;
const KIND_AT: usize = 4;
const INDEX_AT: usize = 8;
const TERM_AT: usize = 16;
const BEFORE_AT: usize = 24;
const AFTER_AT: usize = 28;
/// The part of the head that the checksum covers; the chain before the record is its seed.
const CHECKED_LEN: usize = 24;

/// The kind of a record. Stored, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// An entry: its index and term; the payload is the encoded entry.
    Entry = 1,
    /// Removal of the entries from `index`, before `term`.
    Remove = 2,
    /// The vote, in the payload.
    Vote = 3,
    /// The last log id known to be committed, in the payload.
    Committed = 4,
    /// The last log id purged, in the payload.
    Purged = 5,
    /// The entries held when the segment was begun: from `index`, before `term`.
    Bounds = 6,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Entry,
            Self::Remove,
            Self::Vote,
            Self::Committed,
            Self::Purged,
            Self::Bounds,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub(super) kind: RecordKind,
    pub(super) index: u64,
    pub(super) term: u64,
    /// Bytes of the payload.
    pub(super) length: u32,
}

impl RecordHead {
    /// Encodes the head for this payload; returns it and the chain after the record.
    pub(super) fn encode(&self, before: u32, payload: [&[u8]; 2]) -> ([u8; RECORD_HEAD], u32) {
        debug_assert_eq!(
            self.length as usize,
            payload[0].len() + payload[1].len(),
            "the length in the head is that of the payload"
        );
        let mut head = [0; RECORD_HEAD];
        put(&mut head, LENGTH_AT, &self.length.to_be_bytes());
        head[KIND_AT] = self.kind as u8;
        put(&mut head, INDEX_AT, &self.index.to_be_bytes());
        put(&mut head, TERM_AT, &self.term.to_be_bytes());
        let mut after = crc32c::crc32c_append(before, &head[..CHECKED_LEN]);
        for part in payload {
            after = crc32c::crc32c_append(after, part);
        }
        put(&mut head, BEFORE_AT, &before.to_be_bytes());
        put(&mut head, AFTER_AT, &after.to_be_bytes());
        (head, after)
    }
}

/// A verified record at the start of a byte slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) head: RecordHead,
    pub(super) payload: &'a [u8],
    /// The chain before the record, and after it.
    pub(super) before: u32,
    pub(super) after: u32,
}

/// Returns the length of the record at the start of `bytes` according to its unverified head.
pub(super) fn extent(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..RECORD_HEAD)?;
    RECORD_HEAD.checked_add(be32(head, LENGTH_AT) as usize)
}

/// Decodes and verifies the record at the start of `bytes`; `None` if it is not valid.
pub(super) fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    let payload = bytes.get(RECORD_HEAD..extent(bytes)?)?;
    let (before, after) = (be32(bytes, BEFORE_AT), be32(bytes, AFTER_AT));
    let sum = crc32c::crc32c_append(before, &bytes[..CHECKED_LEN]);
    if crc32c::crc32c_append(sum, payload) != after {
        return None;
    }
    Some(Record {
        head: RecordHead {
            kind: RecordKind::from_byte(bytes[KIND_AT])?,
            index: be64(bytes, INDEX_AT),
            term: be64(bytes, TERM_AT),
            length: be32(bytes, LENGTH_AT),
        },
        payload,
        before,
        after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Vec<u8> {
        let head = RecordHead {
            kind: RecordKind::Entry,
            index: 9,
            term: 4,
            length: 3,
        };
        let (bytes, _) = head.encode(0x77, [b"a", b"bc"]);
        [&bytes[..], b"abc"].concat()
    }

    #[test]
    fn the_bytes_of_a_record_are_the_documented_ones() {
        let bytes = entry();
        let fixed = [0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(bytes[..16], fixed);
        assert_eq!((be64(&bytes, 16), be32(&bytes, 24)), (4, 0x77));
        let record = decode(&bytes).unwrap();
        assert_eq!((record.head.index, record.payload), (9, &b"abc"[..]));
    }

    #[test]
    fn no_byte_of_a_record_changes_unnoticed() {
        for at in 0..entry().len() {
            let mut bytes = entry();
            bytes[at] ^= 0x80;
            assert!(decode(&bytes).is_none(), "byte {at}");
        }
        assert!(decode(&entry()[..34]).is_none());
    }
}
