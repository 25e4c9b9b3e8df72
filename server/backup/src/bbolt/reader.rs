//! A database that is read: its metas, its buckets, and single pages.
//!
//! Invariant: nothing is allocated for a length that the file does not have.

use bytes::Bytes;

use super::{
    cursor::{Cursor, Rows},
    error::{PageFault, ReadError},
    format::{
        BUCKET, BUCKET_BYTES, FIRST_PAGE, HEADER_BYTES, Header, LEAF, PAGE_RUN_BYTES_MAX, u64_at,
    },
    meta::{META_BYTES, Meta},
    page::Page,
    source::ReadAt,
};

/// Page sizes that are possible: those of machines.
const PAGE_BYTES_MIN: u32 = 1 << 10;
const PAGE_BYTES_MAX: u32 = 1 << 16;

/// A database, opened for reading.
#[derive(Debug)]
pub struct Database<S> {
    source: S,
    pub(super) meta: Meta,
}

/// A bucket of a [`Database`].
#[derive(Clone, Debug)]
pub struct Bucket {
    name: Bytes,
    pub(super) root: Root,
}

/// Where the rows of a bucket begin.
#[derive(Clone, Debug)]
pub(super) enum Root {
    /// In a page of its own.
    Page(u64),
    /// In the row of the bucket.
    Inline(Page),
}

impl<S: ReadAt> Database<S> {
    /// Opens a database: reads its metas.
    ///
    /// # Errors
    /// When neither meta is valid, the file is shorter than the meta says, or it cannot be read.
    pub fn open(source: S) -> Result<Self, ReadError> {
        let bytes = source.length().map_err(ReadError::Length)?;
        let (number, meta) = newest_meta(&source, bytes)?.ok_or(ReadError::NotADatabase)?;
        if !is_page_size(meta.page_bytes) {
            return Err(PageFault::PageSize(meta.page_bytes).of(number).into());
        }
        let needed = meta.high_water.checked_mul(u64::from(meta.page_bytes));
        if meta.high_water < FIRST_PAGE || needed.is_none_or(|needed| needed > bytes) {
            let pages = meta.high_water;
            return Err(PageFault::Cut { pages, bytes }.of(number).into());
        }
        Ok(Self { source, meta })
    }

    /// Bytes of the pages that the meta counts: the size of a snapshot of the database.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        let page_bytes = self.meta.page_bytes as u64;
        self.meta.high_water.saturating_mul(page_bytes)
    }

    /// Iterates over the buckets by name.
    #[must_use]
    pub fn buckets(&self) -> Buckets<'_, S> {
        Buckets {
            cursor: Cursor::begin(self, Root::Page(self.meta.root), ()),
        }
    }

    /// Finds a bucket.
    ///
    /// # Errors
    /// When the root is damaged or cannot be read.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, ReadError> {
        for bucket in self.buckets() {
            let bucket = bucket?;
            if bucket.name() == name {
                return Ok(Some(bucket));
            }
        }
        Ok(None)
    }

    /// Iterates over the rows of a bucket by key.
    #[must_use]
    pub fn rows(&self, bucket: &Bucket) -> Rows<'_, S> {
        Rows::begin(self, bucket)
    }

    /// Reads and verifies a branch or leaf, overflow included. Returns the number of overflow pages
    /// with it.
    pub(super) fn page(&self, number: u64) -> Result<(Page, u32), ReadError> {
        let (header, bytes) = self.run(number)?;
        Ok((Page::parse(number, header, bytes)?, header.overflow))
    }

    /// Reads a page with its overflow.
    pub(super) fn run(&self, number: u64) -> Result<(Header, Bytes), ReadError> {
        let high_water = self.meta.high_water;
        if number < FIRST_PAGE || number >= high_water {
            return Err(PageFault::OutOfBounds(high_water).of(number).into());
        }
        let page_bytes = u64::from(self.meta.page_bytes);
        let offset = number.saturating_mul(page_bytes);
        let first = self.read(offset, page_bytes)?;
        let header = self.header(number, &first)?;
        if header.number != number {
            return Err(PageFault::Misplaced(header.number).of(number).into());
        }
        if header.overflow == 0 {
            return Ok((header, first));
        }
        if header.pages() > high_water.saturating_sub(number) {
            return Err(PageFault::Overflow(header.overflow).of(number).into());
        }
        let bytes = header.pages().saturating_mul(page_bytes);
        if bytes > PAGE_RUN_BYTES_MAX {
            return Err(PageFault::TooLong(header.overflow).of(number).into());
        }
        Ok((header, self.read(offset, bytes)?))
    }

    /// The header of a meta's page.
    pub(super) fn meta_header(&self, number: u64) -> Result<Header, ReadError> {
        let offset = number.saturating_mul(u64::from(self.meta.page_bytes));
        let bytes = self.read(offset, HEADER_BYTES as u64)?;
        self.header(number, &bytes)
    }

    fn header(&self, number: u64, bytes: &[u8]) -> Result<Header, ReadError> {
        let cut = PageFault::Cut {
            pages: self.meta.high_water,
            bytes: bytes.len() as u64,
        };
        Header::decode(bytes).ok_or_else(|| cut.of(number).into())
    }

    fn read(&self, offset: u64, bytes: u64) -> Result<Bytes, ReadError> {
        read(&self.source, offset, bytes)
    }
}

impl Bucket {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Reads a bucket out of an element of the root.
    fn parse(page: &Page, at: u16) -> Result<Self, ReadError> {
        let number = page.number;
        let (flags, name, value) = page.row(at).ok_or(PageFault::Element(at).of(number))?;
        if flags != BUCKET {
            return Err(PageFault::ElementKind(at).of(number).into());
        }
        let malformed = PageFault::Bucket(at).of(number);
        let root = u64_at(&value, 0).ok_or(malformed)?;
        if value.len() < BUCKET_BYTES {
            return Err(malformed.into());
        }
        let inline = value.slice(BUCKET_BYTES..);
        if root != 0 {
            let exact = inline.is_empty();
            return exact
                .then_some(Self {
                    name,
                    root: Root::Page(root),
                })
                .ok_or(malformed.into());
        }
        let header = Header::decode(&inline).ok_or(malformed)?;
        if header.number != 0 || header.overflow != 0 || header.flags != LEAF {
            return Err(malformed.into());
        }
        Ok(Self {
            name,
            root: Root::Inline(Page::parse(number, header, inline)?),
        })
    }
}

/// Iterates over the buckets of a [`Database`]. After an error there are none.
#[derive(Debug)]
pub struct Buckets<'a, S> {
    cursor: Cursor<'a, S, ()>,
}

impl<S: ReadAt> Iterator for Buckets<'_, S> {
    type Item = Result<Bucket, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_bucket(&mut self.cursor)
    }
}

/// Reads the next bucket of a root.
pub(super) fn next_bucket<S: ReadAt, V: super::cursor::Visit>(
    cursor: &mut Cursor<'_, S, V>,
) -> Option<Result<Bucket, ReadError>> {
    let found = cursor.advance().and_then(|found| match found {
        Some((page, at)) => Bucket::parse(page, at).map(Some),
        None => Ok(None),
    });
    cursor.end_on_error(found).transpose()
}

fn is_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&bytes)
}

/// Finds the valid meta with the larger transaction id, and the number of its page.
fn newest_meta<S: ReadAt>(source: &S, bytes: u64) -> Result<Option<(u64, Meta)>, ReadError> {
    let at = |offset: u64| -> Result<Option<Meta>, ReadError> {
        let end = offset.saturating_add((HEADER_BYTES.saturating_add(META_BYTES)) as u64);
        if end > bytes {
            return Ok(None);
        }
        let place = offset.saturating_add(HEADER_BYTES as u64);
        Ok(Meta::decode(&read(source, place, META_BYTES as u64)?))
    };
    let first = at(0)?;
    if let Some(first) = first {
        let second = at(u64::from(first.page_bytes))?;
        return Ok(Some(match second {
            Some(second) if second.transaction > first.transaction => (1, second),
            _ => (0, first),
        }));
    }
    // Without the first meta the page size, and so the place of the second, is not known.
    let mut page_bytes = PAGE_BYTES_MIN;
    while page_bytes <= PAGE_BYTES_MAX {
        if let Some(second) = at(u64::from(page_bytes))? {
            return Ok(Some((1, second)));
        }
        page_bytes = page_bytes.saturating_mul(2);
    }
    Ok(None)
}

/// Reads bytes that the file is known to have.
fn read<S: ReadAt>(source: &S, offset: u64, bytes: u64) -> Result<Bytes, ReadError> {
    // The caller has compared the length with the file's.
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut buffer = vec![0; bytes];
    match source.read_exact_at(&mut buffer, offset) {
        Ok(()) => Ok(buffer.into()),
        Err(source) => Err(ReadError::Io {
            offset,
            bytes,
            source,
        }),
    }
}
