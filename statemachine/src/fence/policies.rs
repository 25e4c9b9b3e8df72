//! The policies: rows, and a copy of them in memory.
//!
//! Invariant: the copy equals the rows.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::{
    command::{FenceCommand, FencePolicy},
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    family::Family,
    feature::FeatureLevel,
    read::Reader,
    transition::Transition,
};

/// Most policies there may be. All are kept in memory and looked at by every write; prefixes that
/// are guarded are parts of applications, not objects.
pub const POLICIES_MAX: usize = 1000;

/// Every policy, by prefix. A copy of the rows, for every write looks at them.
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

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&FencePolicy> {
        self.0.get(at)
    }

    /// How many policies have a prefix before `key`.
    pub(super) fn before(&self, key: &[u8]) -> usize {
        self.0
            .partition_point(|policy| policy.prefix.as_ref() < key)
    }

    /// The places of the policies whose prefix `key` begins with, the longest first. As many steps
    /// as there are such prefixes, and one for each time another policy lies between two of them.
    pub(super) fn above(&self, key: &[u8]) -> Vec<usize> {
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

impl Transition<'_> {
    /// Sets or removes a policy.
    pub(crate) fn change_policies(&mut self, command: &FenceCommand) -> Result<(), ReadError> {
        let prefix = match command {
            FenceCommand::Set(policy) => &policy.prefix,
            FenceCommand::Remove(prefix) => prefix,
        };
        let known = &self.policies.0;
        let place = known.binary_search_by(|known| known.prefix.cmp(prefix));
        // Below this level a removal of what is not there is refused for the wrong reason, too.
        let is_set = matches!(command, FenceCommand::Set(_));
        let may_add = self.meta.level < FeatureLevel::PRICED || is_set;
        if may_add && place.is_err() && known.len() >= POLICIES_MAX {
            return Err(Refusal::TooManyPolicies.into());
        }
        match (command, place) {
            (FenceCommand::Set(policy), place) => {
                self.overlay
                    .put(Table::Cluster, row_of(prefix), policy.lock.clone());
                let policies = Arc::make_mut(&mut self.policies.0);
                match place {
                    Ok(at) => policies.splice(at..=at, [policy.clone()]).for_each(drop),
                    Err(at) => policies.insert(at, policy.clone()),
                }
            }
            (FenceCommand::Remove(_), Err(_)) => return Err(Refusal::PolicyNotFound.into()),
            (FenceCommand::Remove(_), Ok(at)) => {
                self.overlay.delete(Table::Cluster, row_of(prefix));
                Arc::make_mut(&mut self.policies.0).remove(at);
            }
        }
        Ok(())
    }
}

fn row_of(prefix: &[u8]) -> Bytes {
    let mut row = Family::FencePolicy.row(prefix.len());
    row.put_slice(prefix);
    row.freeze()
}

impl Reader<'_> {
    /// Every fence policy, by prefix.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn policies(&self) -> Result<Vec<FencePolicy>, Fault> {
        Ok(Arc::unwrap_or_clone(Policies::load(self.view)?.0))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Prefixes that lie in each other, beside each other and between each other.
    pub(in crate::fence) const PREFIXES: [&str; 7] = ["a", "aa", "aab", "ab", "b", "ba", "bab"];

    /// Every string of at most four letters of `ab`, and of `c`, which no prefix has.
    pub(in crate::fence) fn keys() -> Vec<Bytes> {
        let mut keys = vec![String::new()];
        for at in 0..40 {
            let longer = ["a", "b", "c"].map(|letter| format!("{}{letter}", keys[at]));
            keys.extend(longer);
        }
        keys.into_iter().map(Bytes::from).collect()
    }

    /// The policies whose numbers are set in `chosen`.
    pub(in crate::fence) fn policies(chosen: usize) -> Policies {
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
