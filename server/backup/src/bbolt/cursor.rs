//! Walks a B+ tree from its first row to its last.
//!
//! It holds the pages from the root to the current leaf. Invariant: keys ascend over all pages, and
//! every page below the root holds at least one; so each leaf reached is a step forward, and a walk
//! ends however the pages point to each other.

use bytes::Bytes;

use super::{
    error::{PageFault, ReadError},
    page::Page,
    reader::{Bucket, Database, Root},
    source::ReadAt,
};

/// Pages from the root to a leaf at most. A branch has at least two children, and sixty or more in
/// practice: this is more than a file of any size needs.
const DEPTH_MAX: usize = 64;

/// Is shown every page that a walk enters, except for inline leaves.
pub(super) trait Visit {
    fn page(&mut self, number: u64, overflow: u32) -> Result<(), ReadError>;
}

impl Visit for () {
    fn page(&mut self, _: u64, _: u32) -> Result<(), ReadError> {
        Ok(())
    }
}

/// A walk over one tree.
#[derive(Debug)]
pub(super) struct Cursor<'a, S, V> {
    database: &'a Database<S>,
    /// The root, until it is entered.
    root: Option<Root>,
    path: Vec<Step>,
    /// The last key of the last leaf.
    last: Bytes,
    pub(super) visit: V,
}

/// A page on the path, and how far the walk is in it.
#[derive(Debug)]
struct Step {
    page: Page,
    /// The last page of its overflow.
    last: u64,
    /// The next element.
    next: u16,
    /// All keys of the page are less; `None` on the right edge of the tree.
    end: Option<Bytes>,
}

impl<'a, S: ReadAt, V: Visit> Cursor<'a, S, V> {
    pub(super) fn begin(database: &'a Database<S>, root: Root, visit: V) -> Self {
        Self {
            database,
            root: Some(root),
            path: Vec::new(),
            last: Bytes::new(),
            visit,
        }
    }

    /// Goes to the next row. Returns its leaf and its place there, or `None` at the end.
    pub(super) fn advance(&mut self) -> Result<Option<(&Page, u16)>, ReadError> {
        if let Some(root) = self.root.take() {
            self.enter_root(root)?;
        }
        loop {
            let Some(step) = self.path.last_mut() else {
                return Ok(None);
            };
            let at = step.next;
            if at >= step.page.count {
                self.path.pop();
                continue;
            }
            step.next = at.saturating_add(1);
            if step.page.is_leaf {
                break;
            }
            self.descend(at)?;
        }
        Ok(self
            .path
            .last()
            .map(|step| (&step.page, step.next.saturating_sub(1))))
    }

    /// Ends the walk when `found` is an error: what follows damage has no meaning.
    pub(super) fn end_on_error<T>(&mut self, found: Result<T, ReadError>) -> Result<T, ReadError> {
        if found.is_err() {
            self.root = None;
            self.path.clear();
        }
        found
    }

    fn enter_root(&mut self, root: Root) -> Result<(), ReadError> {
        let (page, last) = match root {
            Root::Inline(page) => {
                let number = page.number;
                (page, number)
            }
            Root::Page(number) => self.load(number)?,
        };
        self.enter(page, last, None)
    }

    /// Enters the child at element `at` of the branch at the end of the path.
    fn descend(&mut self, at: u16) -> Result<(), ReadError> {
        let Some(step) = self.path.last() else {
            return Ok(());
        };
        let number = step.page.number;
        let broken = PageFault::Element(at).of(number);
        let child = step.page.child(at).ok_or(broken)?;
        let first = step.page.key(at).ok_or(broken)?;
        let end = step.page.key(at.saturating_add(1));
        let end = end.or_else(|| step.end.clone());
        if self.path.len() >= DEPTH_MAX {
            return Err(PageFault::Depth.of(number).into());
        }
        let (page, last) = self.load(child)?;
        match page.key(0) {
            None => return Err(PageFault::Empty.of(child).into()),
            Some(key) if key < first => return Err(PageFault::Range.of(child).into()),
            Some(_) => {}
        }
        self.enter(page, last, end)
    }

    /// Reads a page that is not on the path. Returns the last page of its overflow with it.
    fn load(&mut self, number: u64) -> Result<(Page, u64), ReadError> {
        let (page, overflow) = self.database.page(number)?;
        let last = number.saturating_add(u64::from(overflow));
        // Otherwise a path could hold one part of the file many times.
        let overlaps = |step: &Step| step.page.number <= last && number <= step.last;
        if self.path.iter().any(overlaps) {
            return Err(PageFault::ReachedTwice.of(number).into());
        }
        self.visit.page(number, overflow)?;
        Ok((page, last))
    }

    fn enter(&mut self, page: Page, last_page: u64, end: Option<Bytes>) -> Result<(), ReadError> {
        if let (Some(first), Some(last)) = (page.key(0), page.last_key()) {
            let beyond = end.as_ref().is_some_and(|end| last >= end);
            if beyond || (page.is_leaf && first <= self.last) {
                return Err(PageFault::Range.of(page.number).into());
            }
            if page.is_leaf {
                // A copy: the slice would keep the page.
                self.last = Bytes::copy_from_slice(&last);
            }
        }
        self.path.push(Step {
            page,
            last: last_page,
            next: 0,
            end,
        });
        Ok(())
    }
}

/// One row of a bucket. Key and value are slices of the page, which stays in memory with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key; never empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// Iterates over the rows of a bucket. After an error there are none.
///
/// It holds the pages from the root of the bucket to the current leaf.
#[derive(Debug)]
pub struct Rows<'a, S> {
    cursor: Cursor<'a, S, ()>,
}

impl<'a, S: ReadAt> Rows<'a, S> {
    pub(super) fn begin(database: &'a Database<S>, bucket: &Bucket) -> Self {
        Self {
            cursor: Cursor::begin(database, bucket.root.clone(), ()),
        }
    }
}

impl<S: ReadAt> Iterator for Rows<'_, S> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_row(&mut self.cursor)
    }
}

/// Reads the next row of a bucket.
pub(super) fn next_row<S: ReadAt, V: Visit>(
    cursor: &mut Cursor<'_, S, V>,
) -> Option<Result<Row, ReadError>> {
    let found = cursor.advance().and_then(|found| {
        let Some((page, at)) = found else {
            return Ok(None);
        };
        match page.row(at) {
            Some((0, key, value)) => Ok(Some(Row { key, value })),
            Some(_) => Err(PageFault::ElementKind(at).of(page.number).into()),
            None => Err(PageFault::Element(at).of(page.number).into()),
        }
    });
    cursor.end_on_error(found).transpose()
}
