//! The tail of the log in memory: entries not yet on disk, and those likely to be read next.
//!
//! # Invariants
//! The entries are contiguous. Every entry that is not on disk yet is here. Committed entries are
//! in the log and stay there until they are purged.

use std::{collections::VecDeque, ops::Range};

use super::{
    entry,
    log_contradiction::{Contradiction, follows},
};
use crate::consensus::{Entry, LogId};

/// Memory for entries that are on disk already, and cached for replication and apply. Covers a
/// follower that lags by a quarter of a second under full load; one that lags more reads the log's
/// files, the newest part of which is in the page cache. Measured with 64 clients writing: 8 MiB
/// gave no more throughput, and cost a node 10 MiB more.
const CACHED_BYTES_MAX: usize = 2 << 20;

/// The end of the log at the time of an append, with the truncations requested until then.
///
/// An append in flight may be truncated and its indexes reused: its later completion says nothing
/// about the entries that replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermark {
    /// Entries before this index are on disk.
    before: u64,
    /// Number of truncations requested before the append.
    epoch: u64,
}

/// The tail of the log in memory.
#[derive(Debug, Default)]
pub(super) struct LogTail {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Entries before this index are on disk.
    durable_before: u64,
    /// Number of truncations so far.
    epoch: u64,
    /// Truncations requested after appends that are still in flight: the epoch that each began, and
    /// the first index it removed.
    truncations: VecDeque<(u64, u64)>,
    /// The first index of the log.
    begin: u64,
    purged: Option<LogId>,
    last: Option<LogId>,
    committed: Option<LogId>,
}

impl LogTail {
    /// Creates a tail over a disk that holds the entries after `purged` up to `last`. The committed
    /// log id may lie beyond what a crash left, and is clamped to the end of the log.
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
        #[cfg(debug_assertions)]
        tail.check();
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

    /// Appends an entry.
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
        #[cfg(debug_assertions)]
        self.check();
        Ok(())
    }

    /// Returns the end of the log, to be passed to [`LogTail::durable`] once it is on disk.
    pub(super) fn watermark(&self) -> Watermark {
        Watermark {
            before: self.last.as_ref().map_or(0, |id| id.index + 1),
            epoch: self.epoch,
        }
    }

    /// Advances the committed log id.
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

    /// Returns the part of `range` that the log holds, in memory or on disk.
    pub(super) fn held_of(&self, range: &Range<u64>) -> Range<u64> {
        let end = self.last.as_ref().map_or(0, |id| id.index + 1);
        let start = range.start.max(self.begin);
        start..range.end.min(end).max(start)
    }

    /// Returns the first index held in memory, if any.
    pub(super) fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    /// Reads the entries of `range` in memory: at most `bytes_max` bytes, but at least one entry.
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

    /// Records that the log is on disk up to `mark`, and evicts old entries beyond the budget.
    /// Marks must be passed in the order in which they were taken.
    pub(super) fn durable(&mut self, mark: Watermark) {
        // Entries truncated after the mark was taken are not those that it reports as durable.
        while self
            .truncations
            .front()
            .is_some_and(|(epoch, _)| *epoch <= mark.epoch)
        {
            self.truncations.pop_front();
        }
        debug_assert_eq!(
            self.truncations.len() as u64,
            self.epoch - mark.epoch,
            "marks are passed in the order in which they were taken"
        );
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
        #[cfg(debug_assertions)]
        self.check();
    }

    /// Removes the entries after `last`.
    ///
    /// # Errors
    /// When one of them is committed.
    pub(super) fn truncate(&mut self, last: Option<LogId>) -> Result<(), Contradiction> {
        let keep_before = last.as_ref().map_or(0, |id| id.index + 1);
        // Purged entries are in a snapshot, which holds committed entries only.
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
        #[cfg(debug_assertions)]
        self.check_bytes();
        #[cfg(debug_assertions)]
        self.check();
        Ok(())
    }

    /// Removes the entries up to and including `upto`, which may lie beyond the last one: a
    /// snapshot covers them.
    pub(super) fn purge(&mut self, upto: LogId) {
        debug_assert!(self.purged <= Some(upto), "a purge never goes back");
        debug_assert!(
            self.in_memory(upto.index)
                .is_none_or(|entry| entry.log_id == upto),
            "what is purged is what the log holds"
        );
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
        #[cfg(debug_assertions)]
        self.check_bytes();
        #[cfg(debug_assertions)]
        self.check();
    }

    /// Returns the entry at `index`, if it is in memory.
    fn in_memory(&self, index: u64) -> Option<&Entry> {
        let at = index.checked_sub(self.first_index()?)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// Checks the order of the positions, and that what is not on disk yet is in memory.
    #[cfg(debug_assertions)]
    fn check(&self) {
        let end = self.last.map_or(0, |id| id.index + 1);
        let first = self.first_index();
        let count = self.entries.len() as u64;
        debug_assert!(
            first.is_none_or(|first| first >= self.begin && first + count == end),
            "the entries are contiguous, and reach to the end of the log"
        );
        debug_assert!(
            self.entries
                .back()
                .is_none_or(|entry| Some(entry.log_id) == self.last),
            "the last entry is the end of the log"
        );
        debug_assert!(
            first.unwrap_or(end) <= self.durable_before.max(self.begin),
            "every entry that is not on disk yet is in memory"
        );
        debug_assert!(
            self.durable_before <= end,
            "nothing beyond the end of the log counts as on disk"
        );
        debug_assert!(
            self.committed.is_none_or(|id| id.index < end),
            "what is committed is in the log"
        );
        debug_assert!(
            self.purged.is_none_or(|id| id.index < self.begin.min(end)),
            "what is purged lies before the first entry, and not behind the end"
        );
    }

    /// Checks the bytes against the entries, all of which it looks at.
    #[cfg(debug_assertions)]
    fn check_bytes(&self) {
        debug_assert_eq!(
            self.bytes,
            self.entries.iter().map(entry::size).sum::<usize>(),
            "the bytes of the tail are those of its entries"
        );
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry::size(&entry);
        }
    }
}

/// Returns the position with the smaller index, of two in the same log.
pub(super) fn at_most(id: Option<LogId>, end: Option<LogId>) -> Option<LogId> {
    let index = |id: &Option<LogId>| id.map(|id| id.index);
    if index(&id) <= index(&end) { id } else { end }
}

#[cfg(test)]
mod tests;
