//! Sparse index of entries: one point per [`SPACING`] bytes of log, found by entry index.
//!
//! # Invariants
//! From each point on, the file holds the entries from the point's index up to the next point's, in
//! order. A truncation in between is followed by a point, so removed entries are never read.

use std::collections::VecDeque;

use super::{bounds::Bounds, error::LogError};

/// Bytes of a segment between two points. A read of one entry reads at most about this much more;
/// 256 MiB of log have 16,384 points, half a megabyte.
const SPACING: u64 = 16 << 10;

/// Position of an entry's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) index: u64,
    pub(super) sequence: u64,
    /// Offset of the record in the segment.
    pub(super) offset: u64,
    /// End of the records of its batch.
    pub(super) body_end: u64,
}

/// The bounds of the log, and the points to find its entries.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    bounds: Bounds,
    points: VecDeque<Point>,
    /// Whether the next entry gets a point even if the last one is near.
    cut: bool,
}

impl LogIndex {
    /// Creates an index of entries whose positions are not known yet.
    pub(super) fn starting(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    pub(super) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When it does not follow the last one.
    pub(super) fn put(&mut self, point: Point) -> Result<(), LogError> {
        self.bounds.put(point.index)?;
        let near = self.points.back().is_some_and(|last| {
            last.sequence == point.sequence && point.offset < last.offset + SPACING
        });
        debug_assert!(
            point.offset < point.body_end,
            "an entry begins before the end of its batch"
        );
        debug_assert!(
            self.points.back().is_none_or(|last| {
                last.index < point.index
                    && (last.sequence, last.offset) < (point.sequence, point.offset)
            }),
            "points ascend, in their indexes and in the files"
        );
        if self.cut || !near {
            self.points.push_back(point);
            self.cut = false;
        }
        Ok(())
    }

    /// Removes entries at one end of the log.
    ///
    /// # Errors
    /// When it would leave a hole.
    pub(super) fn remove(&mut self, from: u64, to: u64) -> Result<(), LogError> {
        let before = self.bounds;
        self.bounds.remove(from, to)?;
        if self.bounds.next < before.next || self.bounds.is_empty() {
            self.cut = true;
        }
        while let Some(last) = self.points.back()
            && last.index >= self.bounds.next
        {
            self.points.pop_back();
        }
        if self.bounds.is_empty() {
            self.points.clear();
        }
        while let Some(second) = self.points.get(1)
            && second.index <= self.bounds.first
        {
            self.points.pop_front();
        }
        Ok(())
    }

    /// Returns the last point at or before `index`, and the index up to which the file can be read
    /// from there.
    pub(super) fn find(&self, index: u64) -> Option<(Point, u64)> {
        let after = self.points.partition_point(|point| point.index <= index);
        let point = *self.points.get(after.checked_sub(1)?)?;
        let until = self.points.get(after).map_or(self.bounds.next, |p| p.index);
        Some((point, until))
    }

    /// Returns the offset of the first point at or after `index`, if it is in segment `sequence`.
    pub(super) fn find_end(&self, sequence: u64, index: u64) -> Option<u64> {
        let at = self.points.partition_point(|point| point.index < index);
        self.points
            .get(at)
            .filter(|point| point.sequence == sequence)
            .map(|point| point.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(index: u64, offset: u64) -> Point {
        Point {
            index,
            sequence: 1,
            offset,
            body_end: offset + 100,
        }
    }

    fn found(index: &LogIndex, at: u64) -> Option<(u64, u64)> {
        index.find(at).map(|(point, until)| (point.offset, until))
    }

    #[test]
    fn entries_between_two_points_are_found_from_the_first() {
        let mut index = LogIndex::default();
        for entry in 0..10 {
            index.put(point(entry, entry * SPACING / 2)).unwrap();
        }
        assert_eq!(found(&index, 3), Some((SPACING, 4)));
        assert_eq!(found(&index, 9), Some((4 * SPACING, 10)));
        index.remove(0, 5).unwrap();
        assert_eq!(found(&index, 5), Some((2 * SPACING, 6)));
        assert_eq!(found(&index, 1), None);
    }

    #[test]
    fn what_a_truncation_removed_is_not_read_past() {
        let mut index = LogIndex::default();
        for entry in 0..4 {
            index.put(point(entry, entry * 100)).unwrap();
        }
        index.remove(2, u64::MAX).unwrap();
        index.put(point(2, 500)).unwrap();
        assert_eq!(found(&index, 1), Some((0, 2)));
        assert_eq!(found(&index, 2), Some((500, 3)));
    }
}
