//! The metas: pages 0 and 1, the only fixed places of a file.
//!
//! A transaction of bbolt writes the meta that the one before it did not write, so that a crash
//! leaves one of them intact. Invariant: a meta is used only when magic number, version and
//! checksum are right.

use super::format::{put, u32_at, u64_at};

/// Bytes of a meta, after the header of its page.
pub(super) const META_BYTES: usize = 64;
/// The number of the freelist page of a file that stores none: pages that the root does not reach
/// are free.
pub(super) const NO_FREELIST: u64 = u64::MAX;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Bytes that the checksum covers: all before it.
const CHECKED_BYTES: usize = 56;

/// One meta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Bytes of a page.
    pub(super) page_bytes: u32,
    /// Number of the root page.
    pub(super) root: u64,
    /// Number of the freelist page, or [`NO_FREELIST`].
    pub(super) freelist: u64,
    /// One more than the largest page number in use.
    pub(super) high_water: u64,
    /// The transaction that wrote it; the larger wins.
    pub(super) transaction: u64,
}

impl Meta {
    pub(super) fn encode(self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        put(&mut bytes, 0, &MAGIC.to_le_bytes());
        put(&mut bytes, 4, &VERSION.to_le_bytes());
        put(&mut bytes, 8, &self.page_bytes.to_le_bytes());
        put(&mut bytes, 16, &self.root.to_le_bytes());
        put(&mut bytes, 32, &self.freelist.to_le_bytes());
        put(&mut bytes, 40, &self.high_water.to_le_bytes());
        put(&mut bytes, 48, &self.transaction.to_le_bytes());
        let sum = checksum(bytes.get(..CHECKED_BYTES).unwrap_or_default());
        put(&mut bytes, CHECKED_BYTES, &sum.to_le_bytes());
        bytes
    }

    /// Returns the meta, if it is a valid one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let checked = bytes.get(..CHECKED_BYTES)?;
        let valid = u32_at(bytes, 0)? == MAGIC
            && u32_at(bytes, 4)? == VERSION
            && u64_at(bytes, CHECKED_BYTES)? == checksum(checked);
        if !valid {
            return None;
        }
        Some(Self {
            page_bytes: u32_at(bytes, 8)?,
            root: u64_at(bytes, 16)?,
            freelist: u64_at(bytes, 32)?,
            high_water: u64_at(bytes, 40)?,
            transaction: u64_at(bytes, 48)?,
        })
    }
}

/// FNV-1a of 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_meta_with_a_flipped_bit_is_invalid() {
        let meta = Meta {
            page_bytes: 4096,
            root: 7,
            freelist: NO_FREELIST,
            high_water: 9,
            transaction: 2,
        };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for bit in 0..META_BYTES * 8 {
            let mut bytes = bytes;
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            assert_eq!(Meta::decode(&bytes), None, "bit {bit}");
        }
        assert_eq!(
            Meta::decode(bytes.get(..META_BYTES - 1).expect("shorter")),
            None
        );
    }
}
