//! A history of calls on registers, and whether it is linearizable: for each key there must be an
//! order of all calls, within the times between their begins and ends, in which each gets the
//! answer that it got.
//!
//! The search is that of Wing and Gong (1993) with the memory of Lowe (2017): take a call that may
//! be next, go on, and take it back when nothing fits any more; what was tried once from the same
//! value with the same calls done is not tried again. It shares nothing with the state machine.

use std::collections::{BTreeMap, HashMap, HashSet};

/// A value that is written once in a history.
pub(crate) type Value = u64;

/// What a call did to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Put(Value),
    Got(Option<Value>),
    /// Replaced a value, as it was the expected one.
    Swapped(Value, Value),
    /// Did not replace it, as it was another.
    Kept(Value),
}

impl Did {
    /// The value afterwards, if it can have happened at `value`.
    fn from(self, value: Option<Value>) -> Option<Option<Value>> {
        match self {
            Self::Put(new) => Some(Some(new)),
            Self::Got(got) => (got == value).then_some(value),
            Self::Swapped(old, new) => (value == Some(old)).then_some(Some(new)),
            Self::Kept(old) => (value != Some(old)).then_some(value),
        }
    }

    /// The value that it writes.
    const fn writes(self) -> Option<Value> {
        match self {
            Self::Put(new) | Self::Swapped(_, new) => Some(new),
            Self::Got(_) | Self::Kept(_) => None,
        }
    }

    /// The value that it has seen.
    const fn saw(self) -> Option<Value> {
        match self {
            Self::Got(value) => value,
            Self::Swapped(old, _) => Some(old),
            Self::Put(_) | Self::Kept(_) => None,
        }
    }
}

/// A call. Times are counted from one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) begin: u64,
    /// `None` if its outcome is unknown: it may have happened at any time since, or not at all.
    pub(crate) end: Option<u64>,
    pub(crate) did: Did,
}

/// Calls by key.
#[derive(Debug, Default)]
pub(crate) struct History(BTreeMap<String, Vec<Call>>);

impl History {
    pub(crate) fn add(&mut self, key: &str, call: Call) {
        self.0.entry(key.to_owned()).or_default().push(call);
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// The keys for which there is no order.
    pub(crate) fn contradictions(&self) -> Vec<&str> {
        let wrong = self.0.iter().filter(|(_, calls)| !has_order(calls));
        wrong.map(|(key, _)| key.as_str()).collect()
    }
}

/// Whether there is an order of the calls on one register, which is empty at first.
fn has_order(calls: &[Call]) -> bool {
    let seen: HashSet<Value> = calls.iter().filter_map(|call| call.did.saw()).collect();
    // A call of unknown outcome whose value nobody saw may not have happened.
    let counts = |call: &&Call| {
        call.end.is_some() || call.did.writes().is_some_and(|value| seen.contains(&value))
    };
    let mut calls: Vec<Call> = calls.iter().filter(counts).copied().collect();
    calls.sort_by_key(|call| call.begin);
    Search::of(&calls).run()
}

struct Search<'a> {
    calls: &'a [Call],
    /// Whether each has its place.
    placed: Vec<bool>,
    /// All before it have their places.
    first: usize,
    value: Option<Value>,
    /// The places so far, with what the value and `first` were before each, and with the call to be
    /// tried there next.
    path: Vec<(usize, Option<Value>, usize)>,
    tried: HashMap<usize, HashSet<Reached>>,
}

/// Where a search was: the calls beyond `first` that have their places, and the value.
type Reached = (Vec<usize>, Option<Value>);

impl<'a> Search<'a> {
    fn of(calls: &'a [Call]) -> Self {
        Self {
            calls,
            placed: vec![false; calls.len()],
            first: 0,
            value: None,
            path: Vec::new(),
            tried: HashMap::new(),
        }
    }

    /// What is left must be placed only if its outcome is known.
    fn is_done(&self) -> bool {
        let mut rest = self.calls.iter().zip(&self.placed).skip(self.first);
        rest.all(|(call, placed)| *placed || call.end.is_none())
    }

    /// The end of the earliest call that has none before it: whatever begins later comes later.
    fn horizon(&self) -> u64 {
        let rest = self.calls.iter().zip(&self.placed).skip(self.first);
        let mut horizon = u64::MAX;
        for (call, placed) in rest {
            if call.begin > horizon {
                break;
            }
            if let (Some(end), false) = (call.end, *placed) {
                horizon = horizon.min(end);
            }
        }
        horizon
    }

    fn run(mut self) -> bool {
        let mut from = 0;
        loop {
            if self.is_done() {
                return true;
            }
            match self.next_at(from.max(self.first)) {
                Some((call, value)) => {
                    self.path.push((call, self.value, self.first));
                    self.placed[call] = true;
                    self.value = value;
                    while self.placed.get(self.first) == Some(&true) {
                        self.first += 1;
                    }
                    from = if self.is_new() { 0 } else { self.take_back() };
                }
                None if self.path.is_empty() => return false,
                None => from = self.take_back(),
            }
        }
    }

    /// The next call that may come now.
    fn next_at(&self, from: usize) -> Option<(usize, Option<Value>)> {
        let horizon = self.horizon();
        let candidates = (from..self.calls.len()).take_while(|&at| self.calls[at].begin <= horizon);
        candidates
            .filter(|&at| !self.placed[at])
            .find_map(|at| Some((at, self.calls[at].did.from(self.value)?)))
    }

    /// Whether this value with these calls placed was not there before.
    fn is_new(&mut self) -> bool {
        let ahead = (self.first..self.calls.len()).filter(|&at| self.placed[at]);
        let state = (ahead.collect(), self.value);
        self.tried.entry(self.first).or_default().insert(state)
    }

    /// Takes the last call back. Returns the one to try next in its place.
    fn take_back(&mut self) -> usize {
        let (call, value, first) = self.path.pop().expect("something was placed");
        (self.value, self.first) = (value, first);
        self.placed[call] = false;
        call + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(begin: u64, end: u64, did: Did) -> Call {
        Call {
            begin,
            end: (end > 0).then_some(end),
            did,
        }
    }

    #[test]
    fn an_order_is_found_where_there_is_one_and_a_contradiction_where_there_is_none() {
        use Did::{Got, Kept, Put, Swapped};
        for (calls, expected) in [
            (vec![call(1, 2, Put(1)), call(3, 4, Got(Some(1)))], true),
            // A stale read.
            (vec![call(1, 2, Put(1)), call(3, 4, Got(None))], false),
            // It may come before or after a put at the same time.
            (vec![call(1, 4, Put(1)), call(2, 3, Got(None))], true),
            (vec![call(1, 4, Put(1)), call(2, 3, Got(Some(1)))], true),
            // Once seen it stays.
            (
                vec![
                    call(1, 9, Put(1)),
                    call(2, 3, Got(Some(1))),
                    call(4, 5, Got(None)),
                ],
                false,
            ),
            // An unknown outcome may take effect late, but not before it began.
            (vec![call(1, 0, Put(1)), call(8, 9, Got(Some(1)))], true),
            (vec![call(1, 0, Put(1)), call(8, 9, Got(None))], true),
            (vec![call(2, 3, Got(Some(1))), call(4, 0, Put(1))], false),
            // A lost write: the second swap needs the value that was replaced.
            (
                vec![
                    call(1, 2, Put(1)),
                    call(3, 4, Swapped(1, 2)),
                    call(5, 6, Swapped(1, 3)),
                ],
                false,
            ),
            (
                vec![
                    call(1, 2, Put(1)),
                    call(3, 6, Swapped(1, 2)),
                    call(4, 5, Kept(1)),
                ],
                true,
            ),
            (vec![call(1, 2, Put(1)), call(3, 4, Kept(1))], false),
        ] {
            assert_eq!(has_order(&calls), expected, "{calls:?}");
        }
    }

    #[test]
    fn calls_that_overlap_much_are_ordered_in_time() {
        let mut calls = Vec::new();
        for round in 0..200 {
            let begin = round * 10;
            for put in 0..6 {
                calls.push(call(begin + put, begin + 9, Did::Put(round * 6 + put + 1)));
            }
            calls.push(call(begin + 9, begin + 10, Did::Got(Some(round * 6 + 1))));
        }
        assert!(has_order(&calls));
        // The value of the round before is gone for good.
        calls.push(call(5000, 5001, Did::Got(Some(1))));
        assert!(!has_order(&calls));
    }
}
