//! Index of watchers by key range: exact keys, prefixes, open-ended ranges, and all others.
//!
//! Neither synchronized nor ordered by time; the owner decides when to query it. The cost of a
//! lookup depends on the number of matches and of distinct prefix lengths, not on the number of
//! watchers; only ranges that are neither a key, a prefix nor open-ended are scanned.
//!
//! Invariant: a lookup finds a target exactly when a range it was inserted with contains the key.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use bytes::Bytes;
use tenure_statemachine::{KeyRange, RangeEnd};

/// Targets by the ranges they were inserted with.
#[derive(Debug)]
pub(crate) struct Index<T> {
    exact: HashMap<Bytes, Vec<T>>,
    prefixes: HashMap<Bytes, Vec<T>>,
    /// Number of distinct prefixes of each length; every length costs a lookup one probe.
    prefix_lengths: BTreeMap<usize, usize>,
    /// Ranges without an end, by start.
    open: BTreeMap<Bytes, Vec<T>>,
    /// All other ranges, by start, then end.
    bounded: BTreeMap<(Bytes, Bytes), Vec<T>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            prefixes: HashMap::new(),
            prefix_lengths: BTreeMap::new(),
            open: BTreeMap::new(),
            bounded: BTreeMap::new(),
        }
    }
}

impl<T: Copy + PartialEq> Index<T> {
    /// Adds `target` for the keys of `range`.
    pub(crate) fn insert(&mut self, range: &KeyRange, target: T) {
        let start = range.start.clone();
        let targets = match &range.end {
            RangeEnd::Single => self.exact.entry(start).or_default(),
            RangeEnd::Unbounded => self.open.entry(start).or_default(),
            RangeEnd::Before(end) if is_prefix(&start, end) => {
                if !self.prefixes.contains_key(&start) {
                    *self.prefix_lengths.entry(start.len()).or_default() += 1;
                }
                self.prefixes.entry(start).or_default()
            }
            RangeEnd::Before(end) => self.bounded.entry((start, end.clone())).or_default(),
        };
        targets.push(target);
    }

    /// Undoes one [`Index::insert`] of the same range and target.
    pub(crate) fn remove(&mut self, range: &KeyRange, target: T) {
        let start = &range.start;
        match &range.end {
            RangeEnd::Single => {
                if take(self.exact.get_mut(start), target) {
                    self.exact.remove(start);
                }
            }
            RangeEnd::Unbounded => {
                if take(self.open.get_mut(start), target) {
                    self.open.remove(start);
                }
            }
            RangeEnd::Before(end) if is_prefix(start, end) => {
                if take(self.prefixes.get_mut(start), target) {
                    self.prefixes.remove(start);
                    self.drop_prefix_length(start.len());
                }
            }
            RangeEnd::Before(end) => {
                let bounds = (start.clone(), end.clone());
                if take(self.bounded.get_mut(&bounds), target) {
                    self.bounded.remove(&bounds);
                }
            }
        }
    }

    fn drop_prefix_length(&mut self, length: usize) {
        if let Some(count) = self.prefix_lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                self.prefix_lengths.remove(&length);
            }
        }
    }

    /// Appends every target whose range contains `key` to `found`.
    pub(crate) fn find(&self, key: &[u8], found: &mut Vec<T>) {
        if let Some(targets) = self.exact.get(key) {
            found.extend_from_slice(targets);
        }
        for &length in self.prefix_lengths.keys() {
            let Some(prefix) = key.get(..length) else {
                break;
            };
            if let Some(targets) = self.prefixes.get(prefix) {
                found.extend_from_slice(targets);
            }
        }
        let up_to_key = (Bound::Unbounded, Bound::Included(key));
        for (_, targets) in self.open.range::<[u8], _>(up_to_key) {
            found.extend_from_slice(targets);
        }
        for ((start, end), targets) in &self.bounded {
            if start.as_ref() > key {
                break;
            }
            if end.as_ref() > key {
                found.extend_from_slice(targets);
            }
        }
    }
}

#[cfg(test)]
impl<T> Index<T> {
    /// Whether the index has no targets.
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.prefixes.is_empty()
            && self.open.is_empty()
            && self.bounded.is_empty()
    }
}

/// Removes one `target`, and returns whether none is left.
fn take<T: PartialEq>(targets: Option<&mut Vec<T>>, target: T) -> bool {
    let Some(targets) = targets else { return false };
    if let Some(at) = targets.iter().position(|present| *present == target) {
        targets.swap_remove(at);
    }
    targets.is_empty()
}

/// Whether `end` is the first key after all keys with the prefix `start`.
fn is_prefix(start: &[u8], end: &[u8]) -> bool {
    let Some(last) = start.iter().rposition(|&byte| byte != u8::MAX) else {
        return false;
    };
    end.len() == last + 1
        && end.get(..last) == start.get(..last)
        && end.last().copied() == start.get(last).map(|byte| byte + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange::from_wire(
            Bytes::copy_from_slice(start.as_bytes()),
            Bytes::copy_from_slice(end.as_bytes()),
        )
    }

    #[test]
    fn a_target_is_found_exactly_when_its_range_contains_the_key() {
        let texts = ["", "a", "aa", "ab", "b", "ba", "c", "\0"];
        let mut ranges = Vec::new();
        for start in ["a", "aa", "ab", "b", "\0", "\u{7f}"] {
            for end in texts {
                ranges.push(range(start, end));
            }
        }
        let all_ones = Bytes::from_static(&[0xff, 0xff]);
        ranges.push(KeyRange::from_wire(
            all_ones.clone(),
            Bytes::from_static(&[0xff, 0xff, 1]),
        ));
        ranges.push(KeyRange::single(all_ones.clone()));
        let carried = Bytes::from_static(&[b'a', 0xff]);
        ranges.push(KeyRange::from_wire(
            carried.clone(),
            Bytes::from_static(b"b"),
        ));

        let mut index = Index::default();
        for (number, range) in ranges.iter().enumerate() {
            index.insert(range, number);
        }
        let mut keys: Vec<Bytes> = texts
            .iter()
            .map(|text| Bytes::copy_from_slice(text.as_bytes()))
            .collect();
        keys.extend([
            all_ones,
            carried,
            Bytes::from_static(b"a\xff\xff"),
            "abc".into(),
        ]);
        for removed in 0..ranges.len() {
            for key in &keys {
                let mut found = Vec::new();
                index.find(key, &mut found);
                found.sort_unstable();
                let expected: Vec<usize> = (removed..ranges.len())
                    .filter(|&number| ranges[number].contains(key))
                    .collect();
                assert_eq!(found, expected, "key {key:?} after {removed} removals");
            }
            index.remove(&ranges[removed], removed);
        }
        assert!(index.is_empty());
        assert!(index.prefix_lengths.is_empty());
    }

    #[test]
    fn a_prefix_is_recognised_whatever_its_last_bytes() {
        assert!(is_prefix(b"a", b"b"));
        assert!(is_prefix(b"a\xff", b"b"));
        assert!(!is_prefix(b"a", b"c"));
        assert!(!is_prefix(b"\xff", b"\xff\xff"));
        assert!(!is_prefix(b"aa", b"b"));
    }
}
