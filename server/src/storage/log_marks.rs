//! Bytes of the log by index, to turn a bound in bytes into a bound by index.
//!
//! Approximate: one mark per mebibyte. Entries found at startup are assumed to be spread evenly.

use std::{collections::VecDeque, ops::Range};

/// Bytes between two marks. Small compared with every bound that is computed from them.
const MARK_BYTES: u64 = 1 << 20;

/// Maximum number of marks at startup: a log is bounded far below that number of mebibytes.
const MARKS_MAX: u64 = 16 << 10;

/// An index, and the bytes of the log up to and including it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    index: u64,
    bytes: u64,
}

/// Bytes of the log by index.
#[derive(Debug, Default)]
pub(super) struct LogMarks {
    marks: VecDeque<Mark>,
    total: u64,
}

impl LogMarks {
    /// Marks for a log that holds the entries of `held` in `bytes` bytes.
    pub(super) fn new(held: &Range<u64>, bytes: u64) -> Self {
        let mut marks = Self::default();
        let entries = held.end.saturating_sub(held.start);
        let count = (bytes / MARK_BYTES).min(entries).min(MARKS_MAX);
        for number in 1..=count {
            // Both products are below 2^64: a mark is a mebibyte, and an index is a count.
            let index = held.start + entries / count * number + entries % count * number / count;
            let bytes = bytes / count * number;
            marks.marks.push_back(Mark {
                index: index - 1,
                bytes,
            });
        }
        marks.total = bytes;
        debug_assert!(
            marks
                .marks
                .back()
                .is_none_or(|mark| mark.index + 1 == held.end && mark.bytes <= bytes),
            "the last mark is at the last entry, and in the log"
        );
        marks
    }

    /// Adds the entry at `index` and its size.
    pub(super) fn add(&mut self, index: u64, bytes: u64) {
        self.total += bytes;
        let marked = self.marks.back().map_or(0, |mark| mark.bytes);
        if self.total >= marked + MARK_BYTES {
            let bytes = self.total;
            self.marks.push_back(Mark { index, bytes });
        }
    }

    /// Removes the marks from `from` on: the entries there were truncated.
    pub(super) fn truncate(&mut self, from: u64) {
        while self.marks.back().is_some_and(|mark| mark.index >= from) {
            self.marks.pop_back();
        }
    }

    /// Removes the marks before `before`: the entries there were purged.
    pub(super) fn purge(&mut self, before: u64) {
        while self.marks.front().is_some_and(|mark| mark.index < before) {
            self.marks.pop_front();
        }
    }

    /// Returns the last index whose purge leaves at least `bytes` of log, and little more; `None`
    /// while the log is smaller.
    pub(super) fn beyond(&self, bytes: u64) -> Option<u64> {
        debug_assert!(
            self.marks
                .back()
                .is_none_or(|mark| mark.bytes <= self.total),
            "no mark lies beyond the bytes of the log"
        );
        let behind = |mark: &Mark| self.total - mark.bytes >= bytes;
        let count = self.marks.partition_point(behind);
        let last = count.checked_sub(1)?;
        self.marks.get(last).map(|mark| mark.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: u64 = MARK_BYTES / 2;

    #[test]
    fn what_lies_beyond_a_bound_may_go_and_no_more() {
        let mut marks = LogMarks::default();
        for index in 0..20 {
            marks.add(index, HALF);
        }
        assert_eq!(marks.beyond(20 * HALF), None);
        // Marks are at 1, 3, 5 …: the first leaves 18 halves.
        assert_eq!(marks.beyond(18 * HALF), Some(1));
        assert_eq!(marks.beyond(17 * HALF), Some(1));
        assert_eq!(marks.beyond(16 * HALF), Some(3));
        assert_eq!(marks.beyond(0), Some(19));
        marks.purge(10);
        assert_eq!(marks.beyond(18 * HALF), None, "it is gone already");
        assert_eq!(marks.beyond(8 * HALF), Some(11));
        marks.truncate(15);
        assert_eq!(marks.beyond(0), Some(13));
    }

    #[test]
    fn what_was_there_at_the_start_counts_as_spread_evenly() {
        let marks = LogMarks::new(&(100..1100), 10 * MARK_BYTES);
        assert_eq!(marks.beyond(5 * MARK_BYTES), Some(599));
        assert_eq!(marks.beyond(0), Some(1099));
        assert_eq!(LogMarks::new(&(7..7), 9 * MARK_BYTES).beyond(0), None);
        assert_eq!(LogMarks::new(&(7..8), MARK_BYTES - 1).beyond(0), None);
    }
}
