//! The end of the log in memory: what is still to be written, and what is likely to be read next.
//!
//! # Invariants
//! The entries are contiguous. What is not on disk yet is here.

use std::{collections::VecDeque, ops::Range};

use super::entry;
use crate::raft::{Entry, LogId};

/// Memory for entries that are on disk already and kept for replication and apply to read. Covers
/// a follower that lags by a second under full load; one that lags more reads the disk.
const CACHED_BYTES_MAX: usize = 8 << 20;

/// The end of the log in memory.
#[derive(Debug, Default)]
pub(super) struct LogTail {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Entries before this index are on disk.
    durable_before: u64,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    pub(super) committed: Option<LogId>,
}

impl LogTail {
    pub(super) fn new(purged: Option<LogId>, last: Option<LogId>) -> Self {
        let durable_before = last.as_ref().map_or(0, |id| id.index + 1);
        Self {
            durable_before,
            purged,
            last,
            ..Self::default()
        }
    }

    /// Adds an entry, which must follow the last one.
    pub(super) fn push(&mut self, entry: Entry) {
        debug_assert!(
            self.entries
                .back()
                .is_none_or(|last| last.log_id.index + 1 == entry.log_id.index),
            "the log has no holes"
        );
        self.bytes += entry::size(&entry);
        self.last = Some(entry.log_id);
        self.entries.push_back(entry);
    }

    /// The first index held here, if any entry is.
    pub(super) fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    /// Entries of `range` that are held here, up to `bytes_max` of them but at least one.
    pub(super) fn read(&self, range: &Range<u64>, bytes_max: usize, out: &mut Vec<Entry>) {
        let Some(first) = self.first_index() else {
            return;
        };
        let skip = usize::try_from(range.start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for entry in self.entries.iter().skip(skip) {
            let size = entry::size(entry);
            if entry.log_id.index >= range.end || (bytes > 0 && bytes + size > bytes_max) {
                break;
            }
            bytes += size;
            out.push(entry.clone());
        }
    }

    /// Notes that entries before `index` are on disk, and lets go of old ones beyond the budget.
    pub(super) fn durable(&mut self, index: u64) {
        self.durable_before = self.durable_before.max(index);
        while self.bytes > CACHED_BYTES_MAX
            && self
                .first_index()
                .is_some_and(|first| first < self.durable_before)
        {
            self.pop_front();
        }
    }

    /// Drops the entries after `last`.
    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        if last >= self.last {
            return;
        }
        let keep_before = last.as_ref().map_or(0, |id| id.index + 1);
        while let Some(entry) = self.entries.pop_back() {
            if entry.log_id.index < keep_before {
                self.entries.push_back(entry);
                break;
            }
            self.bytes -= entry::size(&entry);
        }
        self.durable_before = self.durable_before.min(keep_before);
        self.last = last;
    }

    /// Drops the entries up to and including `upto`, which may lie beyond the last.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.first_index().is_some_and(|first| first <= upto.index) {
            self.pop_front();
        }
        self.purged = Some(upto);
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry::size(&entry);
        }
    }
}
