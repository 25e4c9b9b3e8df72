//! What can be wrong with a file.

use std::io;

use thiserror::Error;

/// Why a database, or a part of it, cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Neither meta is valid: the file is no database of bbolt, or its beginning is damaged. The
    /// text is etcd's.
    #[error("invalid database")]
    NotADatabase,
    /// A page contradicts the format.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The system could not read.
    #[error("cannot read {bytes} bytes at offset {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// How many.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The system could not tell the length of the file.
    #[error("cannot determine the length of the file")]
    Length(#[source] io::Error),
}

/// A page that contradicts the format, or another page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("page {page}: {fault}")]
pub struct Damage {
    /// Number of the page.
    pub page: u64,
    /// What is wrong with it.
    pub fault: PageFault,
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PageFault {
    /// The meta has a page size that is no power of two from 1 KiB to 64 KiB.
    #[error("the meta has an impossible page size of {0} bytes")]
    PageSize(u32),
    /// The file is shorter than the meta says.
    #[error("the meta counts {pages} pages, and the file has {bytes} bytes")]
    Cut {
        /// Pages that the file should have.
        pages: u64,
        /// Bytes that it has.
        bytes: u64,
    },
    /// The number leads to a meta, or beyond the last page.
    #[error("there is no such page; the file has {0}")]
    OutOfBounds(u64),
    /// The page is where another one should be.
    #[error("the page says that its number is {0}")]
    Misplaced(u64),
    /// The page is of another kind than where it stands.
    #[error("flags {0:#x} are not those of a page of this kind")]
    Kind(u16),
    /// The overflow reaches beyond the last page.
    #[error("{0} pages of overflow reach beyond the end")]
    Overflow(u32),
    /// The page with its overflow exceeds [`PAGE_RUN_BYTES_MAX`](super::PAGE_RUN_BYTES_MAX).
    #[error("{0} pages of overflow are more than are read")]
    TooLong(u32),
    /// The page has no elements, and is not the root of an empty bucket.
    #[error("the page is empty")]
    Empty,
    /// The elements do not fit in the page.
    #[error("{0} elements do not fit in the page")]
    Count(u16),
    /// The key or the value of an element does not follow the one before it, or is beyond the page.
    #[error("element {0} has its key or value out of place")]
    Element(u16),
    /// The element has unknown flags, or is a bucket among rows, or a row among buckets.
    #[error("element {0} is not of the kind that belongs here")]
    ElementKind(u16),
    /// The element has an empty key.
    #[error("element {0} has an empty key")]
    KeyEmpty(u16),
    /// The key is not greater than the one before it in the page.
    #[error("element {0} is out of order")]
    Order(u16),
    /// The keys of the page are outside of the range that the pages above and before it leave.
    #[error("the keys are outside of the range of their parent")]
    Range,
    /// The bucket's value in the root is too short, or has bytes that mean nothing.
    #[error("element {0} is a malformed bucket")]
    Bucket(u16),
    /// The tree is deeper than any real one: a cycle, most likely.
    #[error("the tree is too deep")]
    Depth,
    /// Two pages lead to this one.
    #[error("the page is reached twice")]
    ReachedTwice,
    /// The page is in use, and listed as free.
    #[error("the page is in use and free")]
    ReachedFree,
    /// The list of free pages names the page twice.
    #[error("the page is free twice")]
    FreeTwice,
    /// The list of free pages names something that is no page.
    #[error("the list of free pages has an impossible entry {0}")]
    Free(u64),
    /// The page is neither in use nor free.
    #[error("the page is neither in use nor free")]
    Lost,
}

impl PageFault {
    /// Says on which page.
    pub(super) const fn of(self, page: u64) -> Damage {
        Damage { page, fault: self }
    }
}
