//! Finds the policies that apply to a command's writes.
//!
//! The lock of a policy may be below the policy's prefix. Its claims are exempt there: an
//! acquisition of the lock cannot show that it holds it. Invariant: an exempt write makes, changes
//! or deletes a claim; data whose key merely looks like a claim's is never touched by it.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    claims,
    command::{
        ClaimCommand, Command, DeleteRange, Deregister, Drain, HandOver, Proclaim, RegistryCommand,
        SetReadiness, Transfer, Txn, TxnOp,
    },
    engine::{Table, View},
    error::Fault,
    keyspace::{claim_key, is_claim, may_be_claim},
    transition::Policies,
    value::{KeyValue, LeaseId, RangeEnd},
};

/// Collects policies.
#[derive(Debug)]
pub(super) struct Needed<'a> {
    policies: &'a Policies,
    view: &'a dyn View,
    /// The places of the policies found.
    pub(super) places: BTreeSet<usize>,
}

impl<'a> Needed<'a> {
    pub(super) const fn new(policies: &'a Policies, view: &'a dyn View) -> Self {
        Self {
            policies,
            view,
            places: BTreeSet::new(),
        }
    }

    pub(super) fn command(&mut self, command: &Command) -> Result<(), Fault> {
        match command {
            Command::Put(put) => self.put(&put.key, put.lease),
            Command::DeleteRange(delete) => self.delete_range(delete),
            Command::Txn(txn) => self.txn(txn),
            Command::WillSet(set) => set.will.as_ref().map_or(Ok(()), |will| self.txn(&will.txn)),
            Command::Claim(command) => self.claim(command),
            Command::Registry(command) => {
                self.registry(command);
                Ok(())
            }
            Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::LeaseRevoke(_)
            | Command::LeaseRenew(_)
            | Command::LeaseExpire(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_)
            | Command::Conditional(_)
            | Command::By(_)
            | Command::Auth(_)
            | Command::SessionOpen(_)
            | Command::Fence(_)
            | Command::Wake
            | Command::RaiseLevel(_) => Ok(()),
        }
    }

    /// Adds the policies of both branches, whichever is taken.
    pub(super) fn txn(&mut self, txn: &Txn) -> Result<(), Fault> {
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                TxnOp::Range(_) => {}
                TxnOp::Put(put) => self.put(&put.key, put.lease)?,
                TxnOp::DeleteRange(delete) => self.delete_range(delete)?,
                TxnOp::Txn(within) => self.txn(within)?,
            }
        }
        Ok(())
    }

    /// Adds the policies for storing a value under `key`, attached to `lease`.
    fn put(&mut self, key: &Bytes, lease: LeaseId) -> Result<(), Fault> {
        let makes_claim = is_claim(&KeyValue {
            key: key.clone(),
            lease,
            ..KeyValue::default()
        });
        self.change(key, makes_claim)
    }

    pub(super) fn delete_range(&mut self, delete: &DeleteRange) -> Result<(), Fault> {
        let start = &delete.range.start;
        let end = match &delete.range.end {
            RangeEnd::Single => return self.change(start, may_be_claim(start)),
            RangeEnd::Before(end) => self.policies.before(end),
            RangeEnd::Unbounded => self.policies.len(),
        };
        if !delete.range.is_empty() {
            self.places.extend(self.policies.above(start));
            self.places.extend(self.policies.before(start)..end);
        }
        Ok(())
    }

    /// Adds the policies for claims that get contents: made, moved to another lease, or changed.
    fn claim(&mut self, command: &ClaimCommand) -> Result<(), Fault> {
        match command {
            ClaimCommand::Acquire(acquire) => {
                for name in &acquire.names {
                    self.claim_of(name, acquire.lease)?;
                }
                Ok(())
            }
            ClaimCommand::Transfer(Transfer { name, to, .. })
            | ClaimCommand::HandOver(HandOver { name, to, .. }) => self.claim_of(name, *to),
            ClaimCommand::Proclaim(Proclaim { name, token, .. }) => {
                for lease in claims::holders_under(self.view, name, *token)? {
                    self.claim_of(name, lease)?;
                }
                Ok(())
            }
            ClaimCommand::Release(_)
            | ClaimCommand::Withdraw(_)
            | ClaimCommand::ForceRelease(_) => Ok(()),
        }
    }

    fn claim_of(&mut self, name: &[u8], lease: LeaseId) -> Result<(), Fault> {
        self.put(&claim_key(name, lease), lease)
    }

    fn registry(&mut self, command: &RegistryCommand) {
        let name = match command {
            RegistryCommand::Register(register) => &register.name,
            RegistryCommand::SetReadiness(SetReadiness { name, .. })
            | RegistryCommand::Drain(Drain { name, .. })
            | RegistryCommand::Deregister(Deregister { name, .. }) => name,
        };
        self.places.extend(self.policies.above(&name.key()));
    }

    /// Adds the policies for a write of one key. `by_claim`: if there was nothing but a claim,
    /// there is nothing but a claim afterwards.
    fn change(&mut self, key: &Bytes, by_claim: bool) -> Result<(), Fault> {
        let above = self.policies.above(key);
        if above.is_empty() {
            return Ok(());
        }
        let is_claims = by_claim && self.is_claims(key)?;
        let is_of_lock = |at: &usize| {
            let policy = self.policies.get(*at);
            policy.is_some_and(|policy| is_below(key, &policy.lock))
        };
        let needed = above
            .into_iter()
            .filter(|at| !(is_claims && is_of_lock(at)));
        self.places.extend(needed);
        Ok(())
    }

    /// Whether there is a claim behind `key`, or no key. All operations of a transaction are
    /// checked against the state before it: an exempt operation leaves nothing but a claim to those
    /// after it.
    fn is_claims(&self, key: &Bytes) -> Result<bool, Fault> {
        let is_claim = claims::behind(self.view, key)?.is_some();
        Ok(is_claim || self.view.get(Table::Current, key)?.is_none())
    }
}

/// Whether `key` is one level below the name of a lock.
pub(super) fn is_below(key: &[u8], lock: &[u8]) -> bool {
    let rest = key
        .strip_prefix(lock)
        .and_then(|rest| rest.strip_prefix(b"/"));
    rest.is_some_and(|rest| !rest.contains(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::MemEngine,
        transition::policies_for_tests::{PREFIXES, keys, policies},
        value::KeyRange,
    };

    #[test]
    fn a_delete_needs_the_policies_of_every_key_that_it_could_delete() {
        let (keys, empty) = (keys(), MemEngine::new());
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
                    let mut needed = Needed::new(policies, &empty);
                    needed.delete_range(&delete).expect("reads");
                    assert_eq!(needed.places, expected, "{delete:?} in {policies:?}");
                }
            }
        }
    }
}
