//! Refuses transactions that would write a key twice: history holds one change of a key per
//! revision.
//!
//! Only one branch of a transaction is executed, so both may write the same key. The operations of
//! one list may not, nor may a nested transaction and the operations beside it. Two deletes may
//! overlap.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tenure_statemachine::{KeyRange, RangeEnd, Txn, TxnOp};

use crate::rpc::answer::{failure::Failure, status::Reason};

/// Refuses `txn` when one of its lists could put a key twice, or both put and delete it.
pub(in crate::rpc) fn check(txn: &Txn) -> Result<(), Failure> {
    footprint(&txn.success)?;
    footprint(&txn.failure)?;
    Ok(())
}

/// The keys that a list of operations may change.
#[derive(Debug, Default)]
struct Footprint {
    puts: BTreeSet<Bytes>,
    deletes: Intervals,
}

fn footprint(list: &[TxnOp]) -> Result<Footprint, Failure> {
    let mut whole = Footprint::default();
    for op in list {
        match op {
            TxnOp::Range(_) => {}
            TxnOp::Put(put) => whole.add_put(put.key.clone())?,
            TxnOp::DeleteRange(delete) => whole.add_delete(&delete.range)?,
            TxnOp::Txn(txn) => {
                let mut either = footprint(&txn.success)?;
                either.absorb(footprint(&txn.failure)?);
                whole.add(either)?;
            }
        }
    }
    Ok(whole)
}

impl Footprint {
    fn add_put(&mut self, key: Bytes) -> Result<(), Failure> {
        if self.deletes.contains(&key) || !self.puts.insert(key) {
            return Err(Reason::DuplicateKey.into());
        }
        Ok(())
    }

    fn add_delete(&mut self, range: &KeyRange) -> Result<(), Failure> {
        if range.is_empty() {
            return Ok(());
        }
        let (start, end) = bounds(range);
        self.add_interval(start, end)
    }

    fn add_interval(&mut self, start: Bytes, end: Option<Bytes>) -> Result<(), Failure> {
        let next_put = self.puts.range(start.clone()..).next();
        if next_put.is_some_and(|put| end.as_ref().is_none_or(|end| put < end)) {
            return Err(Reason::DuplicateKey.into());
        }
        self.deletes.insert(start, end);
        Ok(())
    }

    fn add(&mut self, other: Self) -> Result<(), Failure> {
        // `other` is compared with the earlier operations only: its two branches may overlap.
        let taken = |key: &Bytes| self.deletes.contains(key) || self.puts.contains(key);
        if other.puts.iter().any(taken) {
            return Err(Reason::DuplicateKey.into());
        }
        for (start, end) in other.deletes.ends {
            self.add_interval(start, end)?;
        }
        self.puts.extend(other.puts);
        Ok(())
    }

    /// Merges the changes of an alternative branch.
    fn absorb(&mut self, other: Self) {
        self.puts.extend(other.puts);
        for (start, end) in other.deletes.ends {
            self.deletes.insert(start, end);
        }
    }
}

/// A set of keys as disjoint intervals: start to exclusive end, `None` for no end.
#[derive(Debug, Default)]
struct Intervals {
    ends: BTreeMap<Bytes, Option<Bytes>>,
}

impl Intervals {
    fn contains(&self, key: &Bytes) -> bool {
        let before = self.ends.range(..=key.clone()).next_back();
        before.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end))
    }

    fn insert(&mut self, mut start: Bytes, mut end: Option<Bytes>) {
        let before = self.ends.range(..=start.clone()).next_back();
        if let Some((before_start, before_end)) = before
            && before_end
                .as_ref()
                .is_none_or(|before_end| *before_end >= start)
        {
            let (before_start, before_end) = (before_start.clone(), before_end.clone());
            self.ends.remove(&before_start);
            start = before_start;
            end = later(end, before_end);
        }
        while let Some((next_start, next_end)) = self.ends.range(start.clone()..).next() {
            if end.as_ref().is_some_and(|end| next_start > end) {
                break;
            }
            let (next_start, next_end) = (next_start.clone(), next_end.clone());
            self.ends.remove(&next_start);
            end = later(end, next_end);
        }
        self.ends.insert(start, end);
    }
}

/// The later of two ends.
fn later(left: Option<Bytes>, right: Option<Bytes>) -> Option<Bytes> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.max(right)),
        (None, _) | (_, None) => None,
    }
}

/// A range as an interval; a single key ends at its successor.
fn bounds(range: &KeyRange) -> (Bytes, Option<Bytes>) {
    let end = match &range.end {
        RangeEnd::Single => Some([range.start.as_ref(), &[0]].concat().into()),
        RangeEnd::Before(end) => Some(end.clone()),
        RangeEnd::Unbounded => None,
    };
    (range.start.clone(), end)
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::{DeleteRange, Put};

    use super::*;

    fn put(key: &'static str) -> TxnOp {
        TxnOp::Put(Put {
            key: key.into(),
            ..Put::default()
        })
    }

    fn delete(start: &'static str, end: &'static str) -> TxnOp {
        let range = KeyRange::from_wire(start.into(), end.into());
        TxnOp::DeleteRange(DeleteRange {
            range,
            want_previous: false,
        })
    }

    fn within(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnOp {
        TxnOp::Txn(Txn {
            compare: Vec::new(),
            success,
            failure,
        })
    }

    fn verdict(list: Vec<TxnOp>) -> Result<(), Failure> {
        let reversed = list.iter().rev().cloned().collect();
        let forward = check(&Txn {
            success: list,
            ..Txn::default()
        });
        let backward = check(&Txn {
            failure: reversed,
            ..Txn::default()
        });
        assert_eq!(forward, backward, "the order of operations does not matter");
        forward
    }

    #[test]
    fn a_list_must_not_change_a_key_twice() {
        for list in [
            vec![put("a"), put("a")],
            vec![put("a"), delete("a", "")],
            vec![put("b"), delete("a", "c")],
            vec![put("b"), delete("a", "\0")],
            vec![put("c"), delete("a", "b"), delete("b", "d")],
            vec![put("a"), within(vec![put("a")], vec![])],
            vec![put("a"), within(vec![], vec![delete("a", "b")])],
            vec![
                within(vec![put("a")], vec![]),
                within(vec![], vec![put("a")]),
            ],
            vec![
                within(vec![put("a")], vec![]),
                within(vec![delete("a", "")], vec![]),
            ],
            vec![
                within(vec![within(vec![put("a")], vec![])], vec![]),
                put("a"),
            ],
        ] {
            assert_eq!(
                verdict(list.clone()),
                Err(Reason::DuplicateKey.into()),
                "{list:?}"
            );
        }
    }

    #[test]
    fn what_never_happens_together_may_share_keys() {
        for list in [
            vec![put("a"), put("b")],
            vec![delete("a", "c"), delete("b", "d"), delete("a", "")],
            vec![put("c"), delete("a", "c"), delete("c\0", "d")],
            vec![put("b"), delete("c", "a")],
            vec![within(vec![put("a")], vec![put("a")]), put("b")],
            vec![within(vec![put("a")], vec![delete("a", "")])],
            vec![within(vec![delete("a", "b")], vec![put("a")])],
        ] {
            assert_eq!(verdict(list.clone()), Ok(()), "{list:?}");
        }
    }

    #[test]
    fn intervals_know_exactly_the_keys_put_into_them() {
        let cuts: Vec<Bytes> = ["a", "b", "c", "d", "e", "f"].map(Bytes::from).to_vec();
        let mut pairs = Vec::new();
        for start in 0..cuts.len() {
            for end in start + 1..=cuts.len() {
                pairs.push((start, end));
            }
        }
        for first in &pairs {
            for second in &pairs {
                for third in &pairs {
                    let mut intervals = Intervals::default();
                    for &(start, end) in [first, second, third] {
                        intervals.insert(cuts[start].clone(), cuts.get(end).cloned());
                    }
                    for (at, key) in cuts.iter().enumerate() {
                        let expected = [first, second, third]
                            .iter()
                            .any(|(start, end)| (*start..*end).contains(&at));
                        assert_eq!(intervals.contains(key), expected);
                    }
                }
            }
        }
    }
}
