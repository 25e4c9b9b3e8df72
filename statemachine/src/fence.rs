//! Fence policies: prefixes below which a write needs a live guard of a lock.
//!
//! What the machine does by itself is not a write in this sense: claims and registrations keep
//! their own keys, leases end with theirs. Invariant: the copy in memory equals the rows.

use std::{collections::BTreeSet, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    claims,
    command::{Command, DeleteRange, FenceCommand, FencePolicy, Guard, Put, Txn, TxnOp, WillSet},
    engine::{Table, View},
    error::{Fault, MissingGuard, ReadError, Refusal},
    guard,
    keys::POLICY_PREFIX,
    overlay::Overlay,
    range::RangeEnd,
    read::Reader,
    types::KeyValue,
};

/// Most policies there may be. All are kept in memory and looked at by every write; prefixes that
/// are guarded are parts of applications, not objects.
const POLICIES_MAX: usize = 1000;

/// Every policy, by prefix. A copy of the rows, for every write looks at them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies(Arc<Vec<FencePolicy>>);

impl Policies {
    pub(crate) fn load(view: &dyn View) -> Result<Self, Fault> {
        let mut policies = Vec::new();
        let mut cursor = view.scan(Table::Cluster, &[POLICY_PREFIX])?;
        while let Some((row, lock)) = cursor.next()? {
            if row.first() != Some(&POLICY_PREFIX) {
                break;
            }
            let prefix = row.slice(1..);
            policies.push(FencePolicy { prefix, lock });
        }
        Ok(Self(Arc::new(policies)))
    }

    /// Whether `command`, whose guards hold, carries those that the policies ask for.
    pub(crate) fn check(
        &self,
        reader: &Reader<'_>,
        guards: &[Guard],
        command: &Command,
    ) -> Result<(), ReadError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut needed = BTreeSet::new();
        let mut will = None;
        match command {
            Command::Put(put) => self.put(put, &mut needed),
            Command::DeleteRange(delete) => self.delete_range(delete, &mut needed),
            Command::Txn(txn) => self.txn(txn, &mut needed),
            Command::WillSet(set) => {
                will = Some(set);
                let txn = set.will.as_ref().map(|will| &will.txn);
                txn.into_iter().for_each(|txn| self.txn(txn, &mut needed));
            }
            Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::LeaseRevoke(_)
            | Command::LeaseRenew(_)
            | Command::LeaseExpire(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_)
            | Command::Conditional(_)
            | Command::Claim(_)
            | Command::Registry(_)
            | Command::SessionOpen(_)
            | Command::Fence(_)
            | Command::Wake => {}
        }
        for policy in needed.into_iter().filter_map(|at| self.0.get(at)) {
            let shown = match will {
                None => shows(reader, guards, &policy.lock)?,
                Some(set) => will_shows(reader, guards, set, &policy.lock)?,
            };
            if !shown {
                let (prefix, lock) = (policy.prefix.clone(), policy.lock.clone());
                let missing = MissingGuard { prefix, lock };
                return Err(Refusal::GuardMissing(Box::new(missing)).into());
            }
        }
        Ok(())
    }

    pub(crate) fn apply(
        &mut self,
        overlay: &mut Overlay,
        command: &FenceCommand,
    ) -> Result<(), ReadError> {
        let prefix = match command {
            FenceCommand::Set(policy) => &policy.prefix,
            FenceCommand::Remove(prefix) => prefix,
        };
        let place = self.0.binary_search_by(|known| known.prefix.cmp(prefix));
        if place.is_err() && self.0.len() >= POLICIES_MAX {
            return Err(Refusal::TooManyPolicies.into());
        }
        match (command, place) {
            (FenceCommand::Set(policy), place) => {
                overlay.put(Table::Cluster, row_of(prefix), policy.lock.clone());
                let policies = Arc::make_mut(&mut self.0);
                match place {
                    Ok(at) => policies.splice(at..=at, [policy.clone()]).for_each(drop),
                    Err(at) => policies.insert(at, policy.clone()),
                }
            }
            (FenceCommand::Remove(_), Err(_)) => return Err(Refusal::PolicyNotFound.into()),
            (FenceCommand::Remove(_), Ok(at)) => {
                overlay.delete(Table::Cluster, row_of(prefix));
                Arc::make_mut(&mut self.0).remove(at);
            }
        }
        Ok(())
    }

    fn put(&self, put: &Put, needed: &mut BTreeSet<usize>) {
        for at in self.above(&put.key) {
            let claim = || {
                claims::is_claim(&KeyValue {
                    key: put.key.clone(),
                    lease: put.lease,
                    ..KeyValue::default()
                })
            };
            // Whoever takes the lock by a plain put of its claim cannot hold it yet.
            if !(self.is_of_lock(at, &put.key) && claim()) {
                needed.insert(at);
            }
        }
    }

    fn delete_range(&self, delete: &DeleteRange, needed: &mut BTreeSet<usize>) {
        let start = &delete.range.start;
        let end = match &delete.range.end {
            RangeEnd::Single => {
                let is_needed =
                    |at: &usize| !(self.is_of_lock(*at, start) && claims::may_be_claim(start));
                needed.extend(self.above(start).into_iter().filter(is_needed));
                return;
            }
            RangeEnd::Before(end) => self.0.partition_point(|policy| policy.prefix < end),
            RangeEnd::Unbounded => self.0.len(),
        };
        if delete.range.is_empty() {
            return;
        }
        needed.extend(self.above(start));
        needed.extend(self.0.partition_point(|policy| policy.prefix < start)..end);
    }

    fn txn(&self, txn: &Txn, needed: &mut BTreeSet<usize>) {
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                TxnOp::Range(_) => {}
                TxnOp::Put(put) => self.put(put, needed),
                TxnOp::DeleteRange(delete) => self.delete_range(delete, needed),
                TxnOp::Txn(within) => self.txn(within, needed),
            }
        }
    }

    /// The places of the policies whose prefix `key` begins with, the longest first. As many steps
    /// as there are such prefixes, and one for each time another policy lies between two of them.
    fn above(&self, key: &[u8]) -> Vec<usize> {
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

    /// Whether `key` is one level below the name of a policy's lock.
    fn is_of_lock(&self, at: usize, key: &[u8]) -> bool {
        let lock = self.0.get(at).map(|policy| policy.lock.as_ref());
        lock.is_some_and(|lock| is_below(key, lock))
    }
}

fn is_below(key: &[u8], lock: &[u8]) -> bool {
    let rest = key
        .strip_prefix(lock)
        .and_then(|rest| rest.strip_prefix(b"/"));
    rest.is_some_and(|rest| !rest.contains(&b'/'))
}

/// Whether one of `guards` is of a claim that holds `lock`: by its name, or by the claim's key. A
/// key that merely has the name of the lock does not count.
fn shows(reader: &Reader<'_>, guards: &[Guard], lock: &[u8]) -> Result<bool, Fault> {
    for guard in guards {
        let shown = if guard.name.as_ref() == lock {
            guard::is_held(reader, lock, guard.token)?
        } else if is_below(&guard.name, lock) {
            let claim = guard::claim_of(reader, &guard.name)?;
            claim.is_some_and(|claim| claim.held && claim.token == guard.token)
        } else {
            false
        };
        if shown {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A will is looked at when it is set, for nobody can be asked for guards when it runs. Its own
/// guards are checked then, so they count; those of the command that sets it count only if the will
/// goes with the claim on that very lock, and so runs before anybody else is granted it.
fn will_shows(
    reader: &Reader<'_>,
    guards: &[Guard],
    set: &WillSet,
    lock: &Bytes,
) -> Result<bool, Fault> {
    let own = set.will.as_ref().map(|will| will.guards.as_slice());
    if shows(reader, own.unwrap_or_default(), lock)? {
        return Ok(true);
    }
    Ok(set.lock.as_ref() == Some(lock) && shows(reader, guards, lock)?)
}

fn row_of(prefix: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(prefix.len().saturating_add(1));
    row.put_u8(POLICY_PREFIX);
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
mod tests {
    use super::*;
    use crate::range::KeyRange;

    /// Prefixes that lie in each other, beside each other and between each other.
    const PREFIXES: [&str; 7] = ["a", "aa", "aab", "ab", "b", "ba", "bab"];

    /// Every string of at most four letters of `ab`, and of `c`, which no prefix has.
    fn keys() -> Vec<Bytes> {
        let mut keys = vec![String::new()];
        for at in 0..40 {
            let longer = ["a", "b", "c"].map(|letter| format!("{}{letter}", keys[at]));
            keys.extend(longer);
        }
        keys.into_iter().map(Bytes::from).collect()
    }

    /// The policies whose numbers are set in `chosen`.
    fn policies(chosen: usize) -> Policies {
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

    #[test]
    fn a_delete_needs_the_policies_of_every_key_that_it_could_delete() {
        let keys = keys();
        let subsets: Vec<Policies> = (0..1 << PREFIXES.len()).map(policies).collect();
        for start in &keys {
            let ends = keys.iter().map(|end| RangeEnd::Before(end.clone()));
            for end in ends.chain([RangeEnd::Single, RangeEnd::Unbounded]) {
                let start = start.clone();
                let range = KeyRange { start, end };
                let deletable: Vec<&Bytes> =
                    keys.iter().filter(|key| range.contains(key)).collect();
                let is_met = PREFIXES.map(|prefix| {
                    deletable
                        .iter()
                        .any(|key| key.starts_with(prefix.as_bytes()))
                });
                let delete = DeleteRange {
                    range,
                    want_previous: false,
                };
                for (chosen, policies) in subsets.iter().enumerate().step_by(7) {
                    let chosen = (0..PREFIXES.len()).filter(|at| chosen & (1 << at) != 0);
                    let met = chosen.enumerate().filter(|(_, prefix)| is_met[*prefix]);
                    let expected: BTreeSet<usize> = met.map(|(place, _)| place).collect();
                    let mut needed = BTreeSet::new();
                    policies.delete_range(&delete, &mut needed);
                    assert_eq!(needed, expected, "{delete:?} in {policies:?}");
                }
            }
        }
    }
}
