//! The structural check of a whole file.
//!
//! It verifies what the format promises and a reader of single rows does not see: that every page
//! is used once, and that none is lost. Beside the cursor it keeps two bits for each page.

use super::{
    cursor::{Cursor, Visit, next_row},
    error::{PageFault, ReadError},
    format::{FIRST_PAGE, FREELIST, HEADER_BYTES, META, u64_at},
    meta::NO_FREELIST,
    reader::{Database, Root, next_bucket},
    source::ReadAt,
};

/// Count of a freelist's header when the true count is in front of its entries.
const COUNT_ELSEWHERE: u16 = u16::MAX;
/// Pages in one word of a set.
const WORD_BITS: u64 = 64;
/// Bytes of an entry of a freelist.
const ENTRY_BYTES: usize = 8;

/// What a check has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Number of pages that the meta counts.
    pub pages: u64,
    /// Number of pages in use, metas and freelist included.
    pub used: u64,
    /// Number of buckets.
    pub buckets: u64,
    /// Number of rows in all buckets.
    pub rows: u64,
}

impl<S: ReadAt> Database<S> {
    /// Checks the structure of the whole file: both metas' pages, every page below the high water
    /// mark used once or free, every element within its page, and every key in order.
    ///
    /// A file without a list of free pages, as etcd writes it, says nothing about the pages that
    /// are not used; then those count as free.
    ///
    /// # Errors
    /// The first damage found, or the system's error.
    pub fn check(&self) -> Result<Checked, ReadError> {
        for number in 0..FIRST_PAGE {
            let header = self.meta_header(number)?;
            if header.number != number {
                return Err(PageFault::Misplaced(header.number).of(number).into());
            }
            if header.flags != META {
                return Err(PageFault::Kind(header.flags).of(number).into());
            }
        }
        let mut pages = Pages {
            used: Set::new(self.meta.high_water),
            free: Set::new(self.meta.high_water),
        };
        self.mark_free(&mut pages)?;
        let mut checked = Checked {
            pages: self.meta.high_water,
            ..Checked::default()
        };
        let root = Root::Page(self.meta.root);
        let mut buckets = Cursor::begin(self, root, &mut pages);
        while let Some(bucket) = next_bucket(&mut buckets) {
            let bucket = bucket?;
            checked.buckets = checked.buckets.saturating_add(1);
            let mut rows = Cursor::begin(self, bucket.root, &mut *buckets.visit);
            while let Some(row) = next_row(&mut rows) {
                row?;
                checked.rows = checked.rows.saturating_add(1);
            }
        }
        for number in FIRST_PAGE..self.meta.high_water {
            let used = pages.used.contains(number);
            if used {
                checked.used = checked.used.saturating_add(1);
            } else if self.meta.freelist != NO_FREELIST && !pages.free.contains(number) {
                return Err(PageFault::Lost.of(number).into());
            }
        }
        checked.used = checked.used.saturating_add(FIRST_PAGE);
        Ok(checked)
    }

    /// Marks what the list of free pages names, and the list itself as used.
    fn mark_free(&self, pages: &mut Pages) -> Result<(), ReadError> {
        let list = self.meta.freelist;
        if list == NO_FREELIST {
            return Ok(());
        }
        let (header, bytes) = self.run(list)?;
        if header.flags != FREELIST {
            return Err(PageFault::Kind(header.flags).of(list).into());
        }
        let entries = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let (count, entries) = match header.count {
            COUNT_ELSEWHERE => (
                u64_at(entries, 0).unwrap_or_default(),
                entries.get(ENTRY_BYTES..).unwrap_or_default(),
            ),
            count => (u64::from(count), entries),
        };
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        if count > entries.len() as u64 {
            return Err(PageFault::Count(header.count).of(list).into());
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        for entry in entries.iter().take(count) {
            let number = u64::from_le_bytes(*entry);
            if number < FIRST_PAGE || number >= self.meta.high_water {
                return Err(PageFault::Free(number).of(list).into());
            }
            if !pages.free.insert(number) {
                return Err(PageFault::FreeTwice.of(number).into());
            }
        }
        (&mut *pages).page(list, header.overflow)
    }
}

/// The pages that were seen.
#[derive(Debug)]
struct Pages {
    used: Set,
    free: Set,
}

impl Visit for &mut Pages {
    fn page(&mut self, number: u64, overflow: u32) -> Result<(), ReadError> {
        let end = number.saturating_add(u64::from(overflow));
        for page in number..=end {
            if !self.used.insert(page) {
                return Err(PageFault::ReachedTwice.of(page).into());
            }
            if self.free.contains(page) {
                return Err(PageFault::ReachedFree.of(page).into());
            }
        }
        Ok(())
    }
}

/// A set of page numbers: one bit for each page of the file.
#[derive(Debug)]
struct Set {
    words: Vec<u64>,
}

impl Set {
    /// `pages` is not more than the file has.
    fn new(pages: u64) -> Self {
        let words = usize::try_from(pages.div_ceil(WORD_BITS)).unwrap_or_default();
        Self {
            words: vec![0; words],
        }
    }

    /// Returns whether the page was not in the set.
    fn insert(&mut self, page: u64) -> bool {
        let (word, bit) = Self::place(page);
        let Some(word) = self.words.get_mut(word) else {
            return false;
        };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn contains(&self, page: u64) -> bool {
        let (word, bit) = Self::place(page);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    fn place(page: u64) -> (usize, u64) {
        let word = usize::try_from(page / WORD_BITS).unwrap_or(usize::MAX);
        (word, 1 << (page % WORD_BITS))
    }
}
