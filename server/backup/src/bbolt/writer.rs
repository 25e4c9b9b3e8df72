//! The second pass of writing: the bytes of the file, in order.
//!
//! Invariant: the writer ends with success only if it was fed exactly what the plan was made of;
//! otherwise it fails, at the latest at the end of the bucket that differs, and the file is cut.

use bytes::Bytes;
use thiserror::Error;

use super::{
    format::{BRANCH, BUCKET, ELEMENT_BYTES, HEADER_BYTES, Header, LEAF, META, PAGE_BYTES, put},
    meta::{META_BYTES, Meta, NO_FREELIST},
    output::Output,
    plan::Plan,
    row_sink::{Ascending, Fed, RowFault, RowSink, check_value},
    tree::{LeafFill, Tree},
};

/// Bytes of a leaf's buffer that are kept for the next leaf; what one large row needed is freed.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Writes the file that a [`Plan`] describes, as chunks of at most
/// [`CHUNK_BYTES_MAX`](super::CHUNK_BYTES_MAX) bytes.
///
/// Beside the plan it holds one chunk and one leaf: a page, or one larger row.
#[derive(Debug)]
pub struct Writer<S> {
    plan: Plan,
    output: Output<S>,
    names: Ascending,
    /// Number of buckets begun.
    begun: usize,
    leaves: Leaves,
}

/// Why the second pass failed.
#[derive(Debug, Error)]
pub enum WriteError<E> {
    /// The row is impossible, or does not follow the one before it.
    #[error(transparent)]
    Row(#[from] RowFault),
    /// The second pass was not fed what the first was.
    #[error("bucket {bucket:?} has other rows than in the first pass")]
    Changed {
        /// The bucket that differs.
        bucket: Bytes,
    },
    /// The chunk was not taken.
    #[error(transparent)]
    Sink(E),
}

impl<S, E> Writer<S>
where
    S: FnMut(Bytes) -> Result<(), E>,
{
    /// Begins the second pass; `sink` receives the chunks.
    ///
    /// # Errors
    /// When the sink does not take a chunk.
    pub fn begin(plan: Plan, sink: S) -> Result<Self, WriteError<E>> {
        let mut writer = Self {
            plan,
            output: Output::new(sink),
            names: Ascending::default(),
            begun: 0,
            leaves: Leaves::default(),
        };
        for (page, transaction) in [(0, 2), (1, 1)] {
            writer.meta(page, transaction)?;
        }
        Ok(writer)
    }

    /// Ends the second pass, and the file.
    ///
    /// # Errors
    /// When rows are missing, or the sink does not take a chunk.
    pub fn finish(mut self) -> Result<(), WriteError<E>> {
        self.end_bucket()?;
        if let Some(missing) = self.plan.buckets.get(self.begun) {
            return Err(changed(&missing.name));
        }
        self.leaves.begin(BUCKET);
        for bucket in &self.plan.buckets {
            let mut value = [0; 16];
            put(&mut value, 0, &bucket.tree.root().to_le_bytes());
            let root = &self.plan.root;
            self.leaves
                .row(root, &bucket.name, &value, &mut self.output)?;
        }
        self.leaves.end(&self.plan.root, b"", &mut self.output)?;
        self.output.flush()
    }

    /// Writes one meta. Both name the same root, so that either is enough.
    fn meta(&mut self, number: u64, transaction: u64) -> Result<(), WriteError<E>> {
        let header = Header {
            number,
            flags: META,
            count: 0,
            overflow: 0,
        };
        let meta = Meta {
            page_bytes: length(PAGE_BYTES),
            root: self.plan.root.root(),
            freelist: NO_FREELIST,
            high_water: self.plan.pages,
            transaction,
        };
        self.output.put(&header.encode())?;
        self.output.put(&meta.encode())?;
        self.output
            .zeros(PAGE_BYTES.saturating_sub(HEADER_BYTES.saturating_add(META_BYTES)))
    }

    fn end_bucket(&mut self) -> Result<(), WriteError<E>> {
        let ended = self.begun.checked_sub(1);
        if let Some(bucket) = ended.and_then(|ended| self.plan.buckets.get(ended)) {
            self.leaves
                .end(&bucket.tree, &bucket.name, &mut self.output)?;
        }
        Ok(())
    }
}

impl<S, E> RowSink for Writer<S>
where
    S: FnMut(Bytes) -> Result<(), E>,
{
    type Error = WriteError<E>;

    fn bucket(&mut self, name: &[u8]) -> Result<(), WriteError<E>> {
        self.end_bucket()?;
        self.names.take(name)?;
        match self.plan.buckets.get(self.begun) {
            Some(planned) if planned.name == name => {}
            _ => return Err(changed(name)),
        }
        self.begun = self.begun.saturating_add(1);
        self.leaves.begin(0);
        Ok(())
    }

    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError<E>> {
        let current = self.begun.checked_sub(1);
        let bucket = current.and_then(|current| self.plan.buckets.get(current));
        let bucket = bucket.ok_or(RowFault::NoBucket)?;
        check_value(value.len())?;
        self.leaves
            .row(&bucket.tree, key, value, &mut self.output)
            .map_err(|error| error.in_bucket(&bucket.name))
    }
}

impl<E> WriteError<E> {
    fn in_bucket(self, name: &[u8]) -> Self {
        match self {
            Self::Changed { .. } => changed(name),
            other @ (Self::Row(_) | Self::Sink(_)) => other,
        }
    }
}

fn changed<E>(name: &[u8]) -> WriteError<E> {
    let bucket = Bytes::copy_from_slice(name);
    WriteError::Changed { bucket }
}

/// The leaves of one tree, one at a time.
#[derive(Debug, Default)]
struct Leaves {
    keys: Ascending,
    fill: LeafFill,
    fed: Fed,
    /// Number of leaves begun.
    begun: usize,
    /// Flags of every element.
    flags: u32,
    /// The current leaf: the lengths of keys and values, and the bytes of both.
    lengths: Vec<(usize, usize)>,
    data: Vec<u8>,
}

impl Leaves {
    fn begin(&mut self, flags: u32) {
        self.keys.reset();
        self.fill = LeafFill::default();
        self.fed = Fed::default();
        self.begun = 0;
        self.flags = flags;
    }

    fn row<S, E>(
        &mut self,
        tree: &Tree,
        key: &[u8],
        value: &[u8],
        output: &mut Output<S>,
    ) -> Result<(), WriteError<E>>
    where
        S: FnMut(Bytes) -> Result<(), E>,
    {
        self.keys.take(key)?;
        self.fed.add(key, value.len());
        if self.fill.add(key.len(), value.len()) {
            self.flush(output)?;
            let as_planned = tree.leaf_page(self.begun) == Some(output.page())
                && tree.first_key(self.begun) == key;
            if !as_planned {
                return Err(changed(b""));
            }
            self.begun = self.begun.saturating_add(1);
        }
        self.lengths.push((key.len(), value.len()));
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
        Ok(())
    }

    /// Ends the tree: its last leaf, and its branches.
    fn end<S, E>(
        &mut self,
        tree: &Tree,
        name: &[u8],
        output: &mut Output<S>,
    ) -> Result<(), WriteError<E>>
    where
        S: FnMut(Bytes) -> Result<(), E>,
    {
        if self.fed != tree.fed() {
            return Err(changed(name));
        }
        if self.begun == 0 {
            let header = page_header(output.page(), LEAF, 0, HEADER_BYTES);
            output.put(&header.encode())?;
            return output.fill_page();
        }
        self.flush(output)?;
        for (page, children) in tree.branches() {
            debug_assert_eq!(page, output.page(), "branches follow the leaves");
            write_branch(&Vec::from_iter(children), output)?;
        }
        Ok(())
    }

    /// Writes the current leaf, if there is one.
    fn flush<S, E>(&mut self, output: &mut Output<S>) -> Result<(), WriteError<E>>
    where
        S: FnMut(Bytes) -> Result<(), E>,
    {
        if self.lengths.is_empty() {
            return Ok(());
        }
        let elements = self.lengths.len().saturating_mul(ELEMENT_BYTES);
        let bytes = HEADER_BYTES
            .saturating_add(elements)
            .saturating_add(self.data.len());
        let header = page_header(output.page(), LEAF, self.lengths.len(), bytes);
        output.put(&header.encode())?;
        // From the start of an element to its key.
        let mut distance = elements;
        for (key_bytes, value_bytes) in &self.lengths {
            let mut element = [0; ELEMENT_BYTES];
            put(&mut element, 0, &self.flags.to_le_bytes());
            put(&mut element, 4, &length(distance).to_le_bytes());
            put(&mut element, 8, &length(*key_bytes).to_le_bytes());
            put(&mut element, 12, &length(*value_bytes).to_le_bytes());
            output.put(&element)?;
            distance = distance
                .saturating_add(*key_bytes)
                .saturating_add(*value_bytes)
                .saturating_sub(ELEMENT_BYTES);
        }
        output.put(&self.data)?;
        output.fill_page()?;
        self.lengths.clear();
        self.data.clear();
        self.data.shrink_to(KEPT_BYTES_MAX);
        Ok(())
    }
}

fn write_branch<S, E>(
    children: &[super::tree::Child<'_>],
    output: &mut Output<S>,
) -> Result<(), WriteError<E>>
where
    S: FnMut(Bytes) -> Result<(), E>,
{
    let elements = children.len().saturating_mul(ELEMENT_BYTES);
    let keys = children.iter().map(|child| child.key.len());
    let bytes = HEADER_BYTES
        .saturating_add(elements)
        .saturating_add(keys.fold(0, usize::saturating_add));
    let header = page_header(output.page(), BRANCH, children.len(), bytes);
    output.put(&header.encode())?;
    let mut distance = elements;
    for child in children {
        let mut element = [0; ELEMENT_BYTES];
        put(&mut element, 0, &length(distance).to_le_bytes());
        put(&mut element, 4, &length(child.key.len()).to_le_bytes());
        put(&mut element, 8, &child.page.to_le_bytes());
        output.put(&element)?;
        distance = distance
            .saturating_add(child.key.len())
            .saturating_sub(ELEMENT_BYTES);
    }
    for child in children {
        output.put(child.key)?;
    }
    output.fill_page()
}

/// The header of a page of `bytes` bytes, its own included.
fn page_header(number: u64, flags: u16, count: usize, bytes: usize) -> Header {
    debug_assert!(count <= usize::from(u16::MAX), "a page has few elements");
    Header {
        number,
        flags,
        count: u16::try_from(count).unwrap_or(u16::MAX),
        overflow: length(bytes.div_ceil(PAGE_BYTES).saturating_sub(1)),
    }
}

/// A length as the format stores it. None exceeds it: a leaf beyond a page holds one row, and
/// lengths of keys and values are limited.
fn length(bytes: usize) -> u32 {
    debug_assert!(u32::try_from(bytes).is_ok(), "lengths are limited");
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
