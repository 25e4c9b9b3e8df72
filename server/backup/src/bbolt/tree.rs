//! The layout of one B+ tree, computed from its rows: which page begins with which key.
//!
//! Invariant: the layout is a function of the keys and the lengths of the values alone, so that
//! both passes of writing agree on it. A leaf fits in one page or holds one row; a branch fits in
//! one page or has two children.

use super::{
    format::{ELEMENT_BYTES, HEADER_BYTES, PAGE_BYTES},
    row_sink::Fed,
};

/// Children of a branch at least, however long their keys: with one, a level of branches could have
/// as many pages as the level below, and the tree no root.
const CHILDREN_MIN: usize = 2;

/// Decides which rows share a leaf.
#[derive(Debug, Default)]
pub(super) struct LeafFill {
    rows: usize,
    bytes: usize,
}

impl LeafFill {
    /// Adds a row. Returns whether it begins a new leaf.
    pub(super) fn add(&mut self, key_bytes: usize, value_bytes: usize) -> bool {
        let row = ELEMENT_BYTES
            .saturating_add(key_bytes)
            .saturating_add(value_bytes);
        let begins = self.rows == 0 || self.bytes.saturating_add(row) > PAGE_BYTES;
        if begins {
            self.rows = 0;
            self.bytes = HEADER_BYTES;
        }
        self.rows = self.rows.saturating_add(1);
        self.bytes = self.bytes.saturating_add(row);
        begins
    }

    /// Number of pages that the current leaf takes; an empty one takes a page, too.
    pub(super) fn pages(&self) -> u64 {
        pages(self.bytes)
    }
}

fn pages(bytes: usize) -> u64 {
    (bytes.div_ceil(PAGE_BYTES) as u64).max(1)
}

/// Keys in one buffer: two allocations, however many there are.
#[derive(Debug, Default)]
struct Keys {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: Vec<usize>,
}

impl Keys {
    fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Returns a key; an empty one beyond the last.
    fn get(&self, at: usize) -> &[u8] {
        let end = self.ends.get(at).copied().unwrap_or_default();
        let before = at.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.copied().unwrap_or_default();
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// One branch page: its children are those from `first_child` up to that of the next branch.
#[derive(Clone, Copy, Debug)]
struct Branch {
    first_child: usize,
    /// The first leaf below it, whose first key is the branch's.
    first_leaf: usize,
    page: u64,
}

/// A child of a branch: its first key and its page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child<'a> {
    pub(super) key: &'a [u8],
    pub(super) page: u64,
}

/// The layout of one tree. Kept of each leaf: its first key, where that key ends (8 bytes) and the
/// leaf's page (8 bytes).
#[derive(Debug, Default)]
pub(super) struct Tree {
    first_keys: Keys,
    leaf_pages: Vec<u64>,
    /// The levels of branches, the lowest first.
    levels: Vec<Vec<Branch>>,
    root: u64,
    fed: Fed,
}

impl Tree {
    /// The number of leaves; an empty tree has one, without a key.
    pub(super) fn leaves(&self) -> usize {
        self.leaf_pages.len()
    }

    pub(super) fn leaf_page(&self, leaf: usize) -> Option<u64> {
        self.leaf_pages.get(leaf).copied()
    }

    pub(super) fn first_key(&self, leaf: usize) -> &[u8] {
        self.first_keys.get(leaf)
    }

    /// The page of the root.
    pub(super) const fn root(&self) -> u64 {
        self.root
    }

    /// What it was computed from.
    pub(super) const fn fed(&self) -> Fed {
        self.fed
    }

    /// Visits every branch with its page, in the order of pages.
    pub(super) fn branches(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = Child<'_>>)> {
        self.levels
            .iter()
            .enumerate()
            .flat_map(move |(level, all)| {
                all.iter().enumerate().map(move |(at, branch)| {
                    let next = all.get(at.saturating_add(1));
                    let end = next.map_or(self.width(level), |next| next.first_child);
                    let children =
                        (branch.first_child..end).filter_map(move |child| self.child(level, child));
                    (branch.page, children)
                })
            })
    }

    /// Number of nodes below level `level` of branches.
    fn width(&self, level: usize) -> usize {
        match level.checked_sub(1) {
            None => self.leaf_pages.len(),
            Some(below) => self.levels.get(below).map_or(0, Vec::len),
        }
    }

    /// The first leaf and the page of a node below level `level`.
    fn node(&self, level: usize, at: usize) -> Option<(usize, u64)> {
        match level.checked_sub(1) {
            None => Some((at, *self.leaf_pages.get(at)?)),
            Some(below) => {
                let branch = self.levels.get(below)?.get(at)?;
                Some((branch.first_leaf, branch.page))
            }
        }
    }

    fn child(&self, level: usize, at: usize) -> Option<Child<'_>> {
        let (leaf, page) = self.node(level, at)?;
        let key = self.first_keys.get(leaf);
        Some(Child { key, page })
    }
}

/// Computes a [`Tree`] from its rows.
#[derive(Debug)]
pub(super) struct TreePlanner {
    tree: Tree,
    leaf: LeafFill,
    /// The page of the current leaf.
    page: u64,
}

impl TreePlanner {
    /// Begins a tree whose first page is `page`.
    pub(super) fn begin(page: u64) -> Self {
        Self {
            tree: Tree::default(),
            leaf: LeafFill::default(),
            page,
        }
    }

    pub(super) fn add(&mut self, key: &[u8], value_bytes: usize) {
        self.tree.fed.add(key, value_bytes);
        let pages = self.leaf.pages();
        if self.leaf.add(key.len(), value_bytes) {
            if self.tree.leaves() > 0 {
                self.page = self.page.saturating_add(pages);
            }
            self.tree.first_keys.push(key);
            self.tree.leaf_pages.push(self.page);
        }
    }

    /// Returns the tree, and the first page after it.
    pub(super) fn finish(mut self) -> (Tree, u64) {
        if self.tree.leaves() == 0 {
            self.tree.leaf_pages.push(self.page);
        }
        self.tree.first_keys.bytes.shrink_to_fit();
        self.tree.first_keys.ends.shrink_to_fit();
        self.tree.leaf_pages.shrink_to_fit();
        let mut next = self.page.saturating_add(self.leaf.pages());
        while self.tree.width(self.tree.levels.len()) > 1 {
            let level = level_above(&self.tree, &mut next);
            self.tree.levels.push(level);
        }
        let top = self.tree.node(self.tree.levels.len(), 0);
        self.tree.root = top.map_or(self.page, |(_, page)| page);
        (self.tree, next)
    }
}

/// Groups the highest nodes of a tree into branches, from page `next` on.
fn level_above(tree: &Tree, next: &mut u64) -> Vec<Branch> {
    let level = tree.levels.len();
    let mut branches = Vec::new();
    let mut open: Option<(Branch, usize, usize)> = None;
    for at in 0..tree.width(level) {
        let Some((first_leaf, _)) = tree.node(level, at) else {
            continue;
        };
        let element = ELEMENT_BYTES.saturating_add(tree.first_key(first_leaf).len());
        open = Some(match open {
            Some((branch, children, bytes))
                if children < CHILDREN_MIN || bytes.saturating_add(element) <= PAGE_BYTES =>
            {
                let children = children.saturating_add(1);
                (branch, children, bytes.saturating_add(element))
            }
            full => {
                close(full, next, &mut branches);
                let branch = Branch {
                    first_child: at,
                    first_leaf,
                    page: *next,
                };
                (branch, 1, HEADER_BYTES.saturating_add(element))
            }
        });
    }
    close(open, next, &mut branches);
    branches
}

fn close(full: Option<(Branch, usize, usize)>, next: &mut u64, branches: &mut Vec<Branch>) {
    if let Some((branch, _, bytes)) = full {
        branches.push(Branch {
            page: *next,
            ..branch
        });
        *next = next.saturating_add(pages(bytes));
    }
}
