//! The fixed numbers of the format, and reading integers out of bytes. Everything is little-endian.

/// Bytes of a page of a file that is written: the page size of most machines. A reader takes the
/// size from the meta.
pub const PAGE_BYTES: usize = 4096;

/// Bytes of a chunk of a written file: the size of a message of etcd's snapshot stream.
pub const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// Length of the longest key, in bytes; bbolt's own limit.
pub const KEY_BYTES_MAX: usize = 32_768;

/// Length of the longest value, in bytes; bbolt's own limit.
pub const VALUE_BYTES_MAX: usize = (1 << 31) - 2;

/// Bytes of the longest page, with its overflow, that is read: it is held in memory whole. A page
/// of etcd's holds at most a few rows that are larger than a page, and a row has the size of a
/// request, which is 1.5 MiB by default.
pub const PAGE_RUN_BYTES_MAX: u64 = 1 << 30;

/// Bytes of the header of a page: number, flags, count of elements, count of overflow pages.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of an element of a branch or leaf; an array of them follows the header.
pub(super) const ELEMENT_BYTES: usize = 16;
/// Bytes of a bucket in the root, before an inline leaf: number of its root page, sequence number.
pub(super) const BUCKET_BYTES: usize = 16;

/// Flags of a page: exactly one is set.
pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;
pub(super) const FREELIST: u16 = 0x10;
/// The flag of a leaf's element that is a bucket.
pub(super) const BUCKET: u32 = 0x01;

/// The number of the first page after the metas.
pub(super) const FIRST_PAGE: u64 = 2;

/// The header of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) flags: u16,
    /// Number of elements.
    pub(super) count: u16,
    /// Number of overflow pages that follow.
    pub(super) overflow: u32,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, &self.number.to_le_bytes());
        put(&mut bytes, 8, &self.flags.to_le_bytes());
        put(&mut bytes, 10, &self.count.to_le_bytes());
        put(&mut bytes, 12, &self.overflow.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            number: u64_at(bytes, 0)?,
            flags: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    /// Number of pages, overflow included.
    pub(super) fn pages(self) -> u64 {
        u64::from(self.overflow).saturating_add(1)
    }
}

/// Copies `part` to offset `at`; a caller's array is long enough.
pub(super) fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(part.len())) {
        place.copy_from_slice(part);
    } else {
        debug_assert!(false, "an array has room for its fields");
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
