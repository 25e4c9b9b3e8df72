//! The fence policies: rows, and a copy of them in memory.
//!
//! To which writes they apply is decided in `fence/`. Invariant: the copy equals the rows.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::{
    command::FencePolicy,
    engine::{Table, View},
    error::Fault,
    rows::{Family, Overlay},
};

/// Every policy, by prefix. A copy of the rows in memory, because every write looks at them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies(Arc<Vec<FencePolicy>>);

impl Policies {
    pub(crate) fn load(view: &dyn View) -> Result<Self, Fault> {
        let rows = Family::FencePolicy.rows(view)?.into_iter();
        let policies = rows.map(|(row, lock)| FencePolicy {
            prefix: row.slice(1..),
            lock,
        });
        Ok(Self(Arc::new(policies.collect())))
    }

    /// Returns the place of the policy of `prefix`, or where it would be inserted.
    pub(crate) fn place(&self, prefix: &[u8]) -> Result<usize, usize> {
        self.0
            .binary_search_by(|known| known.prefix.as_ref().cmp(prefix))
    }

    /// Sets the policy of a prefix, including its row.
    pub(crate) fn set(&mut self, overlay: &mut Overlay, policy: &FencePolicy) {
        let row = row_of(&policy.prefix);
        overlay.put(Table::Cluster, row, policy.lock.clone());
        let place = self.place(&policy.prefix);
        let policies = Arc::make_mut(&mut self.0);
        match place {
            Ok(at) => policies.splice(at..=at, [policy.clone()]).for_each(drop),
            Err(at) => policies.insert(at, policy.clone()),
        }
        debug_assert!(self.is_sorted(), "policies stay in order");
    }

    /// Removes the policy at a place, including its row.
    pub(crate) fn remove(&mut self, overlay: &mut Overlay, at: usize) {
        if let Some(policy) = self.get(at) {
            overlay.delete(Table::Cluster, row_of(&policy.prefix));
            Arc::make_mut(&mut self.0).remove(at);
        }
    }

    fn is_sorted(&self) -> bool {
        self.0.is_sorted_by(|a, b| a.prefix < b.prefix)
    }

    /// Returns the policies.
    pub(crate) fn into_list(self) -> Vec<FencePolicy> {
        Arc::unwrap_or_clone(self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&FencePolicy> {
        self.0.get(at)
    }

    /// Returns how many policies have a prefix before `key`.
    pub(crate) fn before(&self, key: &[u8]) -> usize {
        self.0
            .partition_point(|policy| policy.prefix.as_ref() < key)
    }

    /// Returns the places of the policies whose prefix `key` begins with, the longest first. Takes
    /// a step for each such prefix, and one each time another policy lies between two of them.
    pub(crate) fn above(&self, key: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        let (mut end, mut at_most) = (self.0.len(), key);
        loop {
            let candidates = self.0.get(..end).unwrap_or_default();
            end = candidates.partition_point(|policy| policy.prefix.as_ref() <= at_most);
            let Some(last) = end.checked_sub(1) else {
                return found;
            };
            let Some(policy) = candidates.get(last) else {
                return found;
            };
            if key.starts_with(&policy.prefix) {
                found.push(last);
                end = last;
            } else {
                // A shorter prefix of the key, if there is one, is a prefix of what both share.
                let shared = key.iter().zip(&policy.prefix).take_while(|(a, b)| a == b);
                at_most = key.get(..shared.count()).unwrap_or_default();
            }
        }
    }
}

fn row_of(prefix: &[u8]) -> Bytes {
    let mut row = Family::FencePolicy.row(prefix.len());
    row.put_slice(prefix);
    row.freeze()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Prefixes within each other, beside each other and between each other.
    pub(crate) const PREFIXES: [&str; 7] = ["a", "aa", "aab", "ab", "b", "ba", "bab"];

    /// Every string of at most four letters of `ab`, and of `c`, which no prefix has.
    pub(crate) fn keys() -> Vec<Bytes> {
        let mut keys = vec![String::new()];
        for at in 0..40 {
            let longer = ["a", "b", "c"].map(|letter| format!("{}{letter}", keys[at]));
            keys.extend(longer);
        }
        keys.into_iter().map(Bytes::from).collect()
    }

    /// Returns the policies whose numbers are set in `chosen`.
    pub(crate) fn policies(chosen: usize) -> Policies {
        let chosen = PREFIXES
            .iter()
            .enumerate()
            .filter(|(at, _)| chosen & (1 << at) != 0);
        let policy = |(_, prefix): (usize, &&'static str)| FencePolicy {
            prefix: Bytes::from_static(prefix.as_bytes()),
            lock: Bytes::from_static(b"lock"),
        };
        Policies(Arc::new(chosen.map(policy).collect()))
    }

    #[test]
    fn the_policies_above_a_key_are_those_whose_prefix_it_begins_with() {
        let keys = keys();
        for policies in (0..1 << PREFIXES.len()).map(policies) {
            for key in &keys {
                let mut found = policies.above(key);
                found.reverse();
                let is_above = |at: &usize| key.starts_with(&policies.0[*at].prefix);
                let expected: Vec<usize> = (0..policies.0.len()).filter(is_above).collect();
                assert_eq!(found, expected, "{key:?} in {policies:?}");
            }
        }
    }
}
