//! Sets of keys as disjoint intervals.
//!
//! Invariant: the intervals are sorted, not empty, and neither overlap nor touch. So a range lies
//! in the set if and only if it lies in one of them.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::{
    rows::keys::successor,
    value::{KeyRange, RangeEnd},
};

/// A set of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals(Vec<Interval>);

/// The keys from `start` to before `end`, or all from `start` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    start: Bytes,
    pub(crate) end: Option<Bytes>,
}

impl Interval {
    fn of(range: &KeyRange) -> Self {
        Self {
            start: range.start.clone(),
            end: match &range.end {
                RangeEnd::Single => Some(successor(&range.start)),
                RangeEnd::Before(end) => Some(end.clone()),
                RangeEnd::Unbounded => None,
            },
        }
    }

    fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether keys from `end` on are in it, or right behind it.
    fn reaches(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| end.as_ref() >= key)
    }

    /// Whether `key` is before its end.
    fn ends_after(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| end.as_ref() > key)
    }
}

/// Compares ends: none is the greatest.
fn compare_ends(one: Option<&Bytes>, other: Option<&Bytes>) -> Ordering {
    match (one, other) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(one), Some(other)) => one.cmp(other),
    }
}

impl Intervals {
    /// Returns the keys of all `ranges`.
    pub(crate) fn of<'r>(ranges: impl IntoIterator<Item = &'r KeyRange>) -> Self {
        let ranges = ranges.into_iter().map(Interval::of);
        let mut sorted: Vec<Interval> = ranges.filter(|found| !found.is_empty()).collect();
        sorted.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Interval> = Vec::new();
        for next in sorted {
            match merged.last_mut() {
                Some(last) if last.reaches(&next.start) => {
                    if compare_ends(next.end.as_ref(), last.end.as_ref()).is_gt() {
                        last.end = next.end;
                    }
                }
                _ => merged.push(next),
            }
        }
        Self(merged)
    }

    /// Returns the interval that holds `key`.
    pub(crate) fn around(&self, key: &[u8]) -> Option<&Interval> {
        let after = self
            .0
            .partition_point(|interval| interval.start.as_ref() <= key);
        let interval = self.0.get(after.checked_sub(1)?)?;
        interval.ends_after(key).then_some(interval)
    }

    /// Whether the whole of `range` lies in the set. An empty range does if its start does and the
    /// interval around that ends no earlier than the range, as in etcd.
    pub(crate) fn cover(&self, range: &KeyRange) -> bool {
        let Some(interval) = self.around(&range.start) else {
            return false;
        };
        match &range.end {
            RangeEnd::Single => true,
            RangeEnd::Before(end) => interval.reaches(end),
            RangeEnd::Unbounded => interval.end.is_none(),
        }
    }

    /// Returns its size, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = self.0.iter().map(|interval| {
            let end = interval.end.as_ref().map_or(0, Bytes::len);
            size_of::<Interval>()
                .saturating_add(interval.start.len())
                .saturating_add(end)
        });
        bytes.fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn range(start: &str, end: &str) -> KeyRange {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        KeyRange::from_wire(bytes(start), bytes(end))
    }

    fn cover(granted: &[(&str, &str)], wanted: (&str, &str)) -> bool {
        let granted: Vec<_> = granted.iter().map(|it| range(it.0, it.1)).collect();
        Intervals::of(&granted).cover(&range(wanted.0, wanted.1))
    }

    #[test]
    fn a_point_is_covered_by_an_interval_that_holds_it() {
        assert!(cover(&[("a", "c")], ("a", "")));
        assert!(cover(&[("a", "c")], ("b", "")));
        assert!(cover(&[("a", "c")], ("b\u{7f}", "")));
        assert!(!cover(&[("a", "c")], ("c", "")));
        assert!(!cover(&[("b", "c")], ("a", "")));
        assert!(cover(&[("a", "")], ("a", "")));
        assert!(!cover(&[("a", "")], ("a\0", "")));
        assert!(!cover(&[], ("a", "")));
    }

    #[test]
    fn a_range_is_covered_by_one_interval_of_those_that_overlap_or_touch() {
        assert!(cover(&[("a", "c")], ("a", "c")));
        assert!(!cover(&[("a", "c")], ("a", "d")));
        assert!(cover(&[("a", "c"), ("b", "d")], ("a", "d")));
        assert!(cover(&[("b", "d"), ("a", "b")], ("a", "d")));
        assert!(!cover(&[("a", "b"), ("c", "d")], ("a", "d")));
        assert!(cover(&[("a", "z"), ("b", "c")], ("d", "y")));
        assert!(cover(&[("a", ""), ("a\0", "b")], ("a", "b")));
        assert!(!cover(&[("a", "")], ("a", "b")));
        assert!(cover(&[("a", "")], ("a", "a\0")));
    }

    #[test]
    fn only_an_interval_without_end_covers_a_range_without_end() {
        assert!(cover(&[("a", "\0")], ("b", "\0")));
        assert!(!cover(&[("a", "\u{7f}")], ("b", "\0")));
        assert!(!cover(&[("c", "\0")], ("b", "\0")));
        assert!(cover(&[("a", "b"), ("b", "\0")], ("a", "\0")));
        assert!(cover(&[("a", "\0"), ("b", "c")], ("a", "\0")));
        assert!(cover(&[("\0", "\0")], ("\0", "\0")));
        assert!(!cover(&[("a", "")], ("a", "\0")));
    }

    #[test]
    fn a_range_without_keys_is_covered_as_it_is_written() {
        assert!(cover(&[("a", "c")], ("b", "b")));
        assert!(cover(&[("a", "d")], ("c", "b")));
        assert!(!cover(&[("a", "c")], ("c", "b")));
        assert!(!cover(&[("a", "c")], ("c", "c")));
    }

    #[test]
    fn a_permission_for_no_key_gives_nothing() {
        assert!(!cover(&[("c", "a")], ("b", "")));
        assert!(!cover(&[("b", "b")], ("b", "")));
        assert!(!cover(&[("a", "b"), ("d", "c"), ("c", "d")], ("a", "d")));
    }

    /// Keys of at most two letters, and ranges between them.
    fn letters() -> impl Strategy<Value = String> {
        "[abc]{1,2}"
    }

    fn ranges() -> impl Strategy<Value = KeyRange> {
        let end = prop_oneof![
            1 => Just(String::new()),
            1 => Just("\0".to_owned()),
            4 => letters(),
        ];
        (letters(), end).prop_map(|(start, end)| range(&start, &end))
    }

    proptest! {
        #[test]
        fn what_is_covered_is_what_the_ranges_hold(
            granted in vec(ranges(), 0..5),
            wanted in ranges(),
        ) {
            // Every key between two that the ranges name, and one behind all.
            let mut keys: Vec<Bytes> = granted.iter().chain([&wanted]).flat_map(|range| {
                [range.start.clone(), range.wire_end()]
            }).filter(|key| !key.is_empty()).collect();
            keys.push(Bytes::from_static(b"zz"));
            let more: Vec<Bytes> = keys.iter().map(|key| successor(key)).collect();
            keys.extend(more);
            let intervals = Intervals::of(&granted);
            let held = |key: &Bytes| granted.iter().any(|range| range.contains(key));
            for key in &keys {
                let found = intervals.around(key).is_some();
                prop_assert_eq!(found, held(key), "{:?}", key);
            }
            if !wanted.is_empty() {
                // The least key of any gap is one of these: a named end, or the start.
                let all = keys.iter().filter(|key| wanted.contains(key)).all(held);
                prop_assert_eq!(intervals.cover(&wanted), all);
            }
            let apart = intervals.0.windows(2).all(|pair| {
                pair[0].end.as_ref().is_some_and(|end| *end < pair[1].start)
            });
            prop_assert!(apart, "{:?}", intervals);
        }
    }
}
