//! Key ranges in etcd's notation, converted once at the border.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::encoding;

/// The keys that a request names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First key of the range.
    pub start: Bytes,
    /// The end of the range.
    pub end: RangeEnd,
}

/// Where a [`KeyRange`] ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RangeEnd {
    /// The range is the one key `start`.
    Single,
    /// The range ends before this key.
    Before(Bytes),
    /// The range has no end.
    Unbounded,
}

encoding::record! { KeyRange { start, end } }

encoding::choice! {
    RangeEnd { 0 = Single, 1 = Before(end), 2 = Unbounded } "unknown range end"
}

impl KeyRange {
    /// Returns the range of exactly one key.
    #[must_use]
    pub const fn single(key: Bytes) -> Self {
        Self {
            start: key,
            end: RangeEnd::Single,
        }
    }

    /// Converts etcd's pair: an empty end is the one key, a single zero byte is "no end".
    #[must_use]
    pub fn from_wire(key: Bytes, range_end: Bytes) -> Self {
        let end = match range_end.as_ref() {
            [] => RangeEnd::Single,
            [0] => RangeEnd::Unbounded,
            _ => RangeEnd::Before(range_end),
        };
        Self { start: key, end }
    }

    /// Returns the end in etcd's notation; inverse of [`KeyRange::from_wire`].
    #[must_use]
    pub fn wire_end(&self) -> Bytes {
        match &self.end {
            RangeEnd::Single => Bytes::new(),
            RangeEnd::Before(end) => end.clone(),
            RangeEnd::Unbounded => Bytes::from_static(&[0]),
        }
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => self.start.as_ref() == key,
            RangeEnd::Before(end) => self.start.as_ref() <= key && key < end.as_ref(),
            RangeEnd::Unbounded => self.start.as_ref() <= key,
        }
    }

    /// Whether the range takes a scan, not a look at one key.
    pub(crate) fn is_walked(&self) -> bool {
        !matches!(self.end, RangeEnd::Single) && !self.is_empty()
    }

    /// Whether a key may lie in both ranges.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.contains(&other.start) || other.contains(&self.start)
    }

    /// Whether no key can lie in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.end {
            RangeEnd::Before(end) => self.start.as_ref().cmp(end.as_ref()) != Ordering::Less,
            RangeEnd::Single | RangeEnd::Unbounded => false,
        }
    }
}
