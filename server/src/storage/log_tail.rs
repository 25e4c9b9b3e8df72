//! The end of the log in memory: what is still to be written, and what is likely to be read next.
//!
//! # Invariants
//! The entries are contiguous. What is not on disk yet is here. What is committed is in the log and
//! stays there until it is purged.

use std::{collections::VecDeque, ops::Range};

use super::{
    entry,
    log_contradiction::{Contradiction, follows},
};
use crate::consensus::{Entry, LogId};

/// Memory for entries that are on disk already and kept for replication and apply to read. Covers
/// a follower that lags by a quarter of a second under full load; one that lags more reads the
/// log's files, of which the page cache holds the newest part. Measured with 64 clients
/// writing: 8 MiB put no more through, and took a node 10 MiB more.
const CACHED_BYTES_MAX: usize = 2 << 20;

/// Up to where the log was written, as of the truncations that had been asked for then.
///
/// An append that is still on its way to the disk may be truncated and its indexes used again: what
/// it reports later says nothing about the entries that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermark {
    /// Entries before this index are on disk.
    before: u64,
    /// Truncations asked for before the append.
    epoch: u64,
}

/// The end of the log in memory.
#[derive(Debug, Default)]
pub(super) struct LogTail {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Entries before this index are on disk.
    durable_before: u64,
    /// Truncations so far.
    epoch: u64,
    /// Truncations that appends still on their way to the disk do not know of: the epoch that each
    /// began, and the index from which it took entries away.
    truncations: VecDeque<(u64, u64)>,
    /// The index at which the log begins.
    begin: u64,
    purged: Option<LogId>,
    last: Option<LogId>,
    committed: Option<LogId>,
}

impl LogTail {
    /// A tail over a disk that holds the entries after `purged` up to `last`. What is said to be
    /// committed may lie beyond what a crash left, and counts as far as the log goes.
    pub(super) fn new(
        purged: Option<LogId>,
        last: Option<LogId>,
        committed: Option<LogId>,
    ) -> Self {
        let durable_before = last.as_ref().map_or(0, |id| id.index + 1);
        let mut tail = Self {
            durable_before,
            begin: purged.as_ref().map_or(0, |id| id.index + 1),
            purged,
            last,
            ..Self::default()
        };
        tail.committed = at_most(committed, last);
        tail
    }

    pub(super) const fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) const fn last(&self) -> Option<LogId> {
        self.last
    }

    pub(super) const fn committed(&self) -> Option<LogId> {
        self.committed
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When it does not follow the last one.
    pub(super) fn push(&mut self, entry: Entry) -> Result<(), Contradiction> {
        let next = entry.log_id;
        if let Some(last) = self.last.filter(|last| !follows(last, &next)) {
            return Err(Contradiction::Gap { last, next });
        }
        if self.last.is_none() {
            self.begin = next.index;
        }
        self.bytes += entry::size(&entry);
        self.last = Some(next);
        self.entries.push_back(entry);
        Ok(())
    }

    /// Where the log ends now, to be handed to [`LogTail::durable`] once it is on disk.
    pub(super) fn watermark(&self) -> Watermark {
        Watermark {
            before: self.last.as_ref().map_or(0, |id| id.index + 1),
            epoch: self.epoch,
        }
    }

    /// Notes what is committed.
    ///
    /// # Errors
    /// When the log ends before it.
    pub(super) fn commit(&mut self, committed: Option<LogId>) -> Result<(), Contradiction> {
        let last = self.last;
        match committed {
            Some(committed) if last.is_none_or(|last| last.index < committed.index) => {
                Err(Contradiction::CommittedBeyondEnd { committed, last })
            }
            _ => {
                self.committed = self.committed.max(committed);
                Ok(())
            }
        }
    }

    /// The part of `range` that the log holds, here or on disk.
    pub(super) fn held_of(&self, range: &Range<u64>) -> Range<u64> {
        let end = self.last.as_ref().map_or(0, |id| id.index + 1);
        let start = range.start.max(self.begin);
        start..range.end.min(end).max(start)
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

    /// Notes how far the log is on disk, and lets go of old entries beyond the budget. Marks come
    /// in the order in which they were taken.
    pub(super) fn durable(&mut self, mark: Watermark) {
        // Whatever was truncated since the mark was taken is not what it says is on disk.
        while self
            .truncations
            .front()
            .is_some_and(|(epoch, _)| *epoch <= mark.epoch)
        {
            self.truncations.pop_front();
        }
        let kept_before = self.truncations.iter().map(|(_, from)| *from).min();
        let before = mark.before.min(kept_before.unwrap_or(u64::MAX));
        self.durable_before = self.durable_before.max(before);
        while self.bytes > CACHED_BYTES_MAX
            && self
                .first_index()
                .is_some_and(|first| first < self.durable_before)
        {
            self.pop_front();
        }
    }

    /// Drops the entries after `last`.
    ///
    /// # Errors
    /// When one of them is committed.
    pub(super) fn truncate(&mut self, last: Option<LogId>) -> Result<(), Contradiction> {
        let keep_before = last.as_ref().map_or(0, |id| id.index + 1);
        // What is purged is in a snapshot, which holds nothing else.
        let committed = self.committed.max(self.purged);
        if let Some(committed) = committed.filter(|id| id.index >= keep_before) {
            let keep = last;
            return Err(Contradiction::TruncatesCommitted { keep, committed });
        }
        if self.last.is_none_or(|end| end.index < keep_before) {
            return Ok(());
        }
        while let Some(entry) = self.entries.pop_back() {
            if entry.log_id.index < keep_before {
                self.entries.push_back(entry);
                break;
            }
            self.bytes -= entry::size(&entry);
        }
        self.epoch += 1;
        self.truncations.push_back((self.epoch, keep_before));
        self.durable_before = self.durable_before.min(keep_before);
        self.last = last;
        Ok(())
    }

    /// Drops the entries up to and including `upto`, which may lie beyond the last: a snapshot
    /// holds what they did.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.first_index().is_some_and(|first| first <= upto.index) {
            self.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
        self.begin = self.begin.max(upto.index + 1);
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
            self.entries.clear();
            self.bytes = 0;
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry::size(&entry);
        }
    }
}

/// The one of two positions in the same log that has the smaller index.
pub(super) fn at_most(id: Option<LogId>, end: Option<LogId>) -> Option<LogId> {
    let index = |id: &Option<LogId>| id.map(|id| id.index);
    if index(&id) <= index(&end) { id } else { end }
}

#[cfg(test)]
mod tests;
