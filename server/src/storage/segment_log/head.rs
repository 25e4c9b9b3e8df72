//! The head of a segment: its owner, its sequence number, and the nonce of its current life.
//!
//! Specified in docs/storage-format.md. The nonce is new each time a file becomes a segment, and
//! seeds every checksum in it: data of an earlier life never verifies.

use super::{
    fields::{be32, be64, put},
    sector::{SECTOR, Sector},
};

/// First bytes of every segment.
const MAGIC: [u8; 8] = *b"tenurlog";
/// Format version of the whole segment.
pub(super) const VERSION: u32 = 1;
/// Offset of the first batch: the head has its own page, so that no later write touches it.
pub(super) const DATA_START: u64 = 4096;

const VERSION_AT: usize = 8;
const CHECKSUM_AT: usize = 12;
const CLUSTER_AT: usize = 16;
const MEMBER_AT: usize = 24;
const INSTANCE_AT: usize = 32;
const SEQUENCE_AT: usize = 40;
const NONCE_AT: usize = 48;
const CAPACITY_AT: usize = 56;

/// The owner of a log, stored in every segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOwner {
    /// The quorum's id.
    pub cluster_id: u64,
    /// The member's id.
    pub member_id: u64,
    /// The instance id of the member's data directory.
    pub instance_id: u64,
}

/// Content of a segment's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) owner: LogOwner,
    /// Position among the segments; determines the file name.
    pub(super) sequence: u64,
    /// Random, never reused.
    pub(super) nonce: u64,
    /// Length of the file, in bytes.
    pub(super) capacity: u64,
}

impl SegmentHead {
    /// Encodes the first sector of the file.
    pub(super) fn encode(&self) -> Sector {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, &MAGIC);
        put(&mut sector, VERSION_AT, &VERSION.to_be_bytes());
        for (at, field) in [
            (CLUSTER_AT, self.owner.cluster_id),
            (MEMBER_AT, self.owner.member_id),
            (INSTANCE_AT, self.owner.instance_id),
            (SEQUENCE_AT, self.sequence),
            (NONCE_AT, self.nonce),
            (CAPACITY_AT, self.capacity),
        ] {
            put(&mut sector, at, &field.to_be_bytes());
        }
        let checksum = checksum(&sector);
        put(&mut sector, CHECKSUM_AT, &checksum.to_be_bytes());
        sector
    }

    /// Decodes the first sector of a file.
    ///
    /// # Errors
    /// A description of the fault.
    pub(super) fn decode(sector: &Sector) -> Result<Self, String> {
        if sector[..MAGIC.len()] != MAGIC {
            return Err("it does not begin as a segment of a log does".to_owned());
        }
        let version = be32(sector, VERSION_AT);
        if version != VERSION {
            return Err(format!(
                "it has format {version}; this version reads {VERSION}"
            ));
        }
        if be32(sector, CHECKSUM_AT) != checksum(sector) {
            return Err("the checksum of its head does not match".to_owned());
        }
        Ok(Self {
            owner: LogOwner {
                cluster_id: be64(sector, CLUSTER_AT),
                member_id: be64(sector, MEMBER_AT),
                instance_id: be64(sector, INSTANCE_AT),
            },
            sequence: be64(sector, SEQUENCE_AT),
            nonce: be64(sector, NONCE_AT),
            capacity: be64(sector, CAPACITY_AT),
        })
    }

    /// Returns the initial value of the checksum chain in this segment.
    pub(super) fn seed(&self) -> u32 {
        let seed = crc32c::crc32c(&self.nonce.to_be_bytes());
        crc32c::crc32c_append(seed, &self.sequence.to_be_bytes())
    }
}

/// Computes the checksum of the sector without the checksum field.
fn checksum(sector: &Sector) -> u32 {
    let before = crc32c::crc32c(&sector[..CHECKSUM_AT]);
    crc32c::crc32c_append(before, &sector[CLUSTER_AT..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> SegmentHead {
        SegmentHead {
            owner: LogOwner {
                cluster_id: 0xC1,
                member_id: 0xE2,
                instance_id: 0x13,
            },
            sequence: 7,
            nonce: 0x1234_5678_9ABC_DEF0,
            capacity: 1 << 24,
        }
    }

    /// The bytes in docs/storage-format.md. A released format never changes.
    #[test]
    fn the_bytes_of_a_segments_head_are_the_documented_ones() {
        let sector = head().encode();
        assert_eq!(sector[..12], *b"tenurlog\0\0\0\x01");
        assert_eq!(sector[23], 0xC1);
        assert_eq!(sector[31], 0xE2);
        assert_eq!(sector[39], 0x13);
        assert_eq!(sector[47], 7);
        assert_eq!(be64(&sector, 48), 0x1234_5678_9ABC_DEF0);
        assert_eq!(be64(&sector, 56), 1 << 24);
        assert!(sector[64..].iter().all(|byte| *byte == 0));
        assert_eq!(SegmentHead::decode(&sector), Ok(head()));
    }

    #[test]
    fn no_byte_of_a_segments_head_changes_unnoticed() {
        for at in 0..SECTOR {
            let mut sector = head().encode();
            sector[at] ^= 0x10;
            SegmentHead::decode(&sector).unwrap_err();
        }
    }
}
