//! The first pass of writing: where every page of the file will be.

use super::{
    format::{BUCKET_BYTES, FIRST_PAGE, PAGE_BYTES},
    row_sink::{Ascending, RowFault, RowSink, check_value},
    tree::{Tree, TreePlanner},
};

/// Computes the layout of a file from its rows, without their values.
///
/// It keeps, for each leaf (4096 bytes of the file, or one larger row), the leaf's first key and 16
/// bytes; for rows of etcd's bucket `key` that is 0.8 % of the data, and twice as much for moments
/// while a buffer grows.
#[derive(Debug)]
pub struct Planner {
    names: Ascending,
    keys: Ascending,
    planned: Vec<PlannedBucket>,
    open: Option<(Vec<u8>, TreePlanner)>,
    /// The first page that no bucket takes.
    next_page: u64,
}

/// The layout of a file: its exact size, and what the writer needs to know in advance.
#[derive(Debug)]
pub struct Plan {
    pub(super) buckets: Vec<PlannedBucket>,
    /// The tree of buckets.
    pub(super) root: Tree,
    pub(super) pages: u64,
}

/// The layout of one bucket.
#[derive(Debug)]
pub(super) struct PlannedBucket {
    pub(super) name: Vec<u8>,
    pub(super) tree: Tree,
}

impl Planner {
    /// Begins the plan of a file.
    #[must_use]
    pub fn new() -> Self {
        Self {
            names: Ascending::default(),
            keys: Ascending::default(),
            planned: Vec::new(),
            open: None,
            next_page: FIRST_PAGE,
        }
    }

    /// Adds a row whose value has `value_bytes` bytes to the bucket begun last.
    ///
    /// # Errors
    /// When a file cannot hold the row, or it does not follow the one before it.
    pub fn row_of_length(&mut self, key: &[u8], value_bytes: usize) -> Result<(), RowFault> {
        check_value(value_bytes)?;
        let (_, tree) = self.open.as_mut().ok_or(RowFault::NoBucket)?;
        self.keys.take(key)?;
        tree.add(key, value_bytes);
        Ok(())
    }

    /// Ends the first pass.
    #[must_use]
    pub fn finish(mut self) -> Plan {
        self.close_bucket();
        let mut root = TreePlanner::begin(self.next_page);
        for bucket in &self.planned {
            root.add(&bucket.name, BUCKET_BYTES);
        }
        let (root, pages) = root.finish();
        Plan {
            buckets: self.planned,
            root,
            pages,
        }
    }

    fn close_bucket(&mut self) {
        if let Some((name, tree)) = self.open.take() {
            let (tree, next_page) = tree.finish();
            self.next_page = next_page;
            self.planned.push(PlannedBucket { name, tree });
        }
    }
}

impl Default for Planner {
    fn default() -> Self {
        Self::new()
    }
}

impl RowSink for Planner {
    type Error = RowFault;

    fn bucket(&mut self, name: &[u8]) -> Result<(), RowFault> {
        self.names.take(name)?;
        self.close_bucket();
        self.keys.reset();
        self.open = Some((name.to_vec(), TreePlanner::begin(self.next_page)));
        Ok(())
    }

    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowFault> {
        self.row_of_length(key, value.len())
    }
}

impl Plan {
    /// Bytes of the file, without a SHA-256 behind it.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.pages.saturating_mul(PAGE_BYTES as u64)
    }

    /// Number of rows, those of the root apart.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let rows = self.buckets.iter().map(|bucket| bucket.tree.fed().rows);
        rows.fold(0, u64::saturating_add)
    }
}
