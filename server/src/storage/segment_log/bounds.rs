//! The range of entries that the log holds, and the effect of writes on it.
//!
//! # Invariants
//! The entries are contiguous: removals leave no hole, and each entry follows the one before it.

use super::error::LogError;
use crate::storage::log_disk::LogWrite;

/// The entries from `first` up to and without `next`; both are equal when there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: u64,
    pub(super) next: u64,
}

impl Bounds {
    pub(super) const fn is_empty(self) -> bool {
        self.first >= self.next
    }

    /// Returns the index of the last entry.
    pub(super) const fn last(self) -> Option<u64> {
        if self.is_empty() {
            None
        } else {
            Some(self.next - 1)
        }
    }

    /// Adds an entry. An empty log may begin at any index.
    ///
    /// # Errors
    /// When it would leave a hole or replace an entry.
    pub(super) fn put(&mut self, index: u64) -> Result<(), LogError> {
        if self.is_empty() {
            self.first = index;
        } else if index != self.next {
            return Err(LogError::Invalid(format!(
                "entry {index} does not follow entry {}",
                self.next - 1
            )));
        }
        self.next = index
            .checked_add(1)
            .ok_or_else(|| LogError::Invalid(format!("no entry can follow entry {index}")))?;
        Ok(())
    }

    /// Removes entries at one end of the log.
    ///
    /// # Errors
    /// When it would leave a hole.
    pub(super) fn remove(&mut self, from: u64, to: u64) -> Result<(), LogError> {
        if from >= to {
            return Ok(());
        }
        if to < self.next && from > self.first {
            return Err(LogError::Invalid(format!(
                "removing entries {from} to {to} would leave a hole in {} to {}",
                self.first, self.next
            )));
        }
        if from > self.first {
            self.next = self.next.min(from);
        } else if to < self.next {
            self.first = self.first.max(to);
        } else {
            // The log is empty. A purge may reach beyond the end; a truncation has no upper end.
            let next = if to == u64::MAX { from } else { to };
            *self = Self { first: next, next };
        }
        debug_assert!(
            self.first <= self.next,
            "the log ends at or after its first entry"
        );
        debug_assert!(
            self.is_empty() || to <= self.first || from >= self.next,
            "none of the removed entries is left"
        );
        Ok(())
    }

    /// Applies the effect of a write on the bounds.
    ///
    /// # Errors
    /// When the write does not fit the log.
    pub(super) fn apply(&mut self, write: &LogWrite) -> Result<(), LogError> {
        match write {
            LogWrite::Put(record) => self.put(record.index),
            LogWrite::Remove(from, to) => self.remove(*from, *to),
            LogWrite::Fact(..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Bounds = Bounds { first: 3, next: 8 };

    fn after(from: u64, to: u64) -> Option<(u64, u64)> {
        let mut bounds = HELD;
        bounds.remove(from, to).ok()?;
        Some((bounds.first, bounds.next))
    }

    #[test]
    fn removing_at_either_end_leaves_the_rest() {
        assert_eq!(after(0, 5), Some((5, 8)));
        assert_eq!(after(6, u64::MAX), Some((3, 6)));
        assert_eq!(after(0, 2), Some((3, 8)));
        assert_eq!(after(9, u64::MAX), Some((3, 8)));
        assert_eq!(after(4, 4), Some((3, 8)));
    }

    #[test]
    fn removing_everything_says_where_the_next_entry_goes() {
        assert_eq!(after(2, 12), Some((12, 12)));
        assert_eq!(after(2, u64::MAX), Some((2, 2)));
    }

    #[test]
    fn a_hole_is_refused() {
        assert_eq!(after(4, 6), None);
        let mut bounds = HELD;
        bounds.put(9).unwrap_err();
        bounds.put(7).unwrap_err();
        bounds.put(8).unwrap();
        assert_eq!(bounds.last(), Some(8));
    }
}
