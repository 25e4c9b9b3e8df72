//! The first sector of a batch: its head, and whether the sector belongs to this place.
//!
//! A disk writes a sector atomically. So a sector that was written in this life of the segment and
//! does not verify was damaged later, while one that still has its earlier content may belong to a
//! write that a crash cut short.

use super::fields::{be32, be64, put};

/// The unit of atomic disk writes. Batches begin at its multiples.
pub(super) const SECTOR: usize = 512;
/// The bytes of one sector.
pub(super) type Sector = [u8; SECTOR];

/// Bytes of a batch before its records.
pub(super) const BATCH_HEAD: usize = 64;

const MAGIC: [u8; 4] = *b"tnrB";
const CHECKSUM_AT: usize = 4;
const NONCE_AT: usize = 8;
const CHECKED_FROM: usize = 16;
/// Offset of the length of the records in the head.
pub(super) const BODY_AT: usize = 16;
const RECORDS_AT: usize = 20;
const BEFORE_AT: usize = 24;
const AFTER_AT: usize = 28;
const VOUCHED_SEQUENCE_AT: usize = 32;
const VOUCHED_OFFSET_AT: usize = 40;
const VOUCHED_CHAIN_AT: usize = 48;
const KIND_AT: usize = 52;

/// The kind of a batch. Stored, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum BatchKind {
    /// Contains records.
    Records = 0,
    /// The first batch of a segment: bounds and facts.
    Opening = 1,
    /// The last batch of a segment: the next segment exists.
    Seal = 2,
    /// Empty; states that everything before it is durable. The next batch overwrites it.
    Voucher = 3,
}

/// A position in the log, and the checksum chain up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) sequence: u64,
    pub(super) offset: u64,
    pub(super) chain: u32,
}

/// The head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) kind: BatchKind,
    /// Bytes of the records.
    pub(super) body: u32,
    pub(super) records: u32,
    /// The chain before the first record.
    pub(super) before: u32,
    /// The chain after the last record.
    pub(super) after: u32,
    /// Everything before this was durable when the batch was written.
    pub(super) vouched: Position,
}

/// Position of a sector, and the life of its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) nonce: u64,
    pub(super) sequence: u64,
    pub(super) offset: u64,
}

/// Classification of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The first sector of a batch of this life of the segment.
    Head(BatchHead),
    /// Such a sector, but damaged.
    Damaged,
    /// Anything else: not written in this life, or the middle of a batch.
    Other,
}

/// Writes `head` to the first bytes of `sector`, which already holds the start of the batch.
pub(super) fn encode(sector: &mut Sector, head: &BatchHead, place: Place) {
    debug_assert!(
        (head.vouched.sequence, head.vouched.offset) <= (place.sequence, place.offset),
        "a batch vouches only for what is before it"
    );
    sector[..BATCH_HEAD].fill(0);
    put(sector, 0, &MAGIC);
    put(sector, NONCE_AT, &place.nonce.to_be_bytes());
    put(sector, BODY_AT, &head.body.to_be_bytes());
    put(sector, RECORDS_AT, &head.records.to_be_bytes());
    put(sector, BEFORE_AT, &head.before.to_be_bytes());
    put(sector, AFTER_AT, &head.after.to_be_bytes());
    let vouched = head.vouched;
    put(sector, VOUCHED_SEQUENCE_AT, &vouched.sequence.to_be_bytes());
    put(sector, VOUCHED_OFFSET_AT, &vouched.offset.to_be_bytes());
    put(sector, VOUCHED_CHAIN_AT, &vouched.chain.to_be_bytes());
    sector[KIND_AT] = head.kind as u8;
    let checksum = checksum(sector, place);
    put(sector, CHECKSUM_AT, &checksum.to_be_bytes());
}

/// Decodes the sector at `place`.
pub(super) fn decode(sector: &Sector, place: Place) -> Found {
    let named = may_be_head(sector, place.nonce);
    // Seeded with the expected nonce, not the stored one: this distinguishes damage to the stored
    // nonce or magic from a sector of another life.
    let verifies = be32(sector, CHECKSUM_AT) == checksum(sector, place);
    let kind = match sector[KIND_AT] {
        0 => BatchKind::Records,
        1 => BatchKind::Opening,
        2 => BatchKind::Seal,
        3 => BatchKind::Voucher,
        _ if named || verifies => return Found::Damaged,
        _ => return Found::Other,
    };
    match (named, verifies) {
        (true, true) => Found::Head(BatchHead {
            kind,
            body: be32(sector, BODY_AT),
            records: be32(sector, RECORDS_AT),
            before: be32(sector, BEFORE_AT),
            after: be32(sector, AFTER_AT),
            vouched: Position {
                sequence: be64(sector, VOUCHED_SEQUENCE_AT),
                offset: be64(sector, VOUCHED_OFFSET_AT),
                chain: be32(sector, VOUCHED_CHAIN_AT),
            },
        }),
        (false, false) => Found::Other,
        (true, false) | (false, true) => Found::Damaged,
    }
}

/// Whether a sector claims to be the first of a batch of the life `nonce`. Cheap; proves nothing.
pub(super) fn may_be_head(sector: &[u8], nonce: u64) -> bool {
    sector[..MAGIC.len()] == MAGIC && be64(sector, NONCE_AT) == nonce
}

fn checksum(sector: &Sector, place: Place) -> u32 {
    let mut checksum = crc32c::crc32c(&MAGIC);
    for field in [place.nonce, place.sequence, place.offset] {
        checksum = crc32c::crc32c_append(checksum, &field.to_be_bytes());
    }
    crc32c::crc32c_append(checksum, &sector[CHECKED_FROM..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        nonce: 0xABCD,
        sequence: 3,
        offset: 8192,
    };

    fn head() -> BatchHead {
        BatchHead {
            kind: BatchKind::Seal,
            body: 300,
            records: 2,
            before: 0xB,
            after: 0xA,
            vouched: Position {
                sequence: 2,
                offset: 512,
                chain: 0xC,
            },
        }
    }

    fn sector() -> Sector {
        let mut sector = [0x5A; SECTOR];
        encode(&mut sector, &head(), PLACE);
        sector
    }

    #[test]
    fn the_bytes_of_a_batchs_head_are_the_documented_ones() {
        let sector = sector();
        assert_eq!(sector[..4], *b"tnrB");
        assert_eq!(be64(&sector, 8), 0xABCD);
        let numbers = [16, 20, 24, 28, 48].map(|at| be32(&sector, at));
        assert_eq!(numbers, [300, 2, 0xB, 0xA, 0xC]);
        assert_eq!((be64(&sector, 32), be64(&sector, 40)), (2, 512));
        assert_eq!(sector[52..64], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode(&sector, PLACE), Found::Head(head()));
    }

    #[test]
    fn damage_to_any_byte_of_a_sector_is_told_from_another_sector() {
        for at in 0..SECTOR {
            let mut sector = sector();
            sector[at] ^= 1;
            assert_eq!(decode(&sector, PLACE), Found::Damaged, "byte {at}");
        }
    }

    #[test]
    fn a_sector_of_another_life_or_place_is_not_taken_for_one_of_this() {
        let other_life = Place { nonce: 1, ..PLACE };
        assert_eq!(decode(&sector(), other_life), Found::Other);
        let other_place = Place {
            offset: 512,
            ..PLACE
        };
        assert_eq!(decode(&sector(), other_place), Found::Damaged);
        assert_eq!(decode(&[0; SECTOR], PLACE), Found::Other);
    }
}
