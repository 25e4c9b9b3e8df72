//! Light commands: those whose application is short work, however large the state is.
//!
//! For the node that applies: heartbeats may wait for short work, but not for other work. Not
//! replicated. Invariant: light commands look at a number of rows that their bytes bound, plus at
//! most [`ATTACHED_MAX`] for each lease that they end and [`QUEUED_MAX`] for the claims that they
//! all may grant, drop or count.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    claims,
    command::{Acquire, AuthChange, ClaimCommand, Command, Release, Txn, TxnOp, Withdraw},
    engine::View,
    error::Fault,
    keyspace::{SERVICES_PREFIX, claimed_name},
    lease,
    machine::StateMachine,
    registry,
    value::{KeyRange, LeaseId, RangeEnd},
    will,
};

/// Keys of a lease whose end is still short work.
const ATTACHED_MAX: usize = 64;

/// Waiting claims, in all queues that the commands touch, up to which granting, dropping or
/// counting all of them is short work: about a millisecond.
const QUEUED_MAX: u32 = 64;

impl StateMachine {
    /// Whether applying `command` to the present state is short work.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn is_light(&self, command: &Command) -> Result<bool, Fault> {
        self.are_light([command])
    }

    /// Whether applying `commands`, one after the other, to the present state is short work.
    ///
    /// # Errors
    /// As [`StateMachine::is_light`].
    pub fn are_light<'c>(
        &self,
        commands: impl IntoIterator<Item = &'c Command>,
    ) -> Result<bool, Fault> {
        let mut scale = Scale {
            view: &**self.engine(),
            names: BTreeSet::new(),
            queued: 0,
            joined: 0,
        };
        for command in commands {
            if !scale.command(command)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The cost of the commands estimated so far. Each method returns whether they are still light.
#[derive(Debug)]
struct Scale<'a> {
    view: &'a dyn View,
    /// Names whose queues are counted.
    names: BTreeSet<Bytes>,
    /// Claims that may be granted, dropped or counted.
    queued: u32,
    /// Claims that may be made.
    joined: u32,
}

impl Scale<'_> {
    fn command(&mut self, command: &Command) -> Result<bool, Fault> {
        Ok(match command {
            Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_)
            | Command::Registry(_)
            | Command::SessionOpen(_)
            | Command::Fence(_)
            | Command::WillSet(_)
            | Command::RaiseLevel(_) => true,
            Command::Put(put) => self.key(&put.key)?,
            Command::DeleteRange(delete) => self.single(&delete.range)?,
            Command::Txn(txn) => self.txn(txn)?,
            // While a service is held, renewals look for suspects.
            Command::LeaseRenew(_) => !registry::is_any_held(self.view)?,
            Command::LeaseRevoke(id) => self.lease(*id, false)?,
            Command::LeaseExpire(expiries) => {
                let few = expiries.len() <= ATTACHED_MAX;
                few && expiries.iter().try_fold(true, |light, expiry| {
                    Ok::<_, Fault>(light && self.lease(expiry.id, true)?)
                })?
            }
            Command::Claim(command) => self.claim(command)?,
            Command::Conditional(conditional) => self.command(&conditional.command)?,
            Command::By(by) => self.command(&by.command)?,
            // Deleting a role takes it from all users.
            Command::Auth(change) => !matches!(change, AuthChange::RoleDelete(_)),
            // Runs every timer that is due.
            Command::Wake => false,
        })
    }

    fn claim(&mut self, command: &ClaimCommand) -> Result<bool, Fault> {
        match command {
            ClaimCommand::Acquire(acquire) => self.acquire(acquire),
            ClaimCommand::Release(Release { name, .. })
            | ClaimCommand::Withdraw(Withdraw { name, .. }) => self.queue(name),
            ClaimCommand::Proclaim(_) => Ok(true),
            // These move or end whole queues.
            ClaimCommand::Transfer(_)
            | ClaimCommand::HandOver(_)
            | ClaimCommand::ForceRelease(_) => Ok(false),
        }
    }

    /// An acquisition drops claims that have waited too long. With `rejoin` it counts the claims
    /// before its own, each time; these include claims that the same commands make.
    fn acquire(&mut self, acquire: &Acquire) -> Result<bool, Fault> {
        for name in &acquire.names {
            if !self.queue(name)? {
                return Ok(false);
            }
            if acquire.rejoin {
                let left = QUEUED_MAX.saturating_sub(self.queued);
                let Some(waiting) = claims::waiting_within(self.view, name, left)? else {
                    return Ok(false);
                };
                if !self.add(waiting.saturating_add(self.joined)) {
                    return Ok(false);
                }
            }
            self.joined = self.joined.saturating_add(1);
        }
        Ok(true)
    }

    fn txn(&mut self, txn: &Txn) -> Result<bool, Fault> {
        if !txn.compare.iter().all(|compare| is_single(&compare.range)) {
            return Ok(false);
        }
        for op in txn.success.iter().chain(&txn.failure) {
            let is_light = match op {
                TxnOp::Range(query) => is_single(&query.range),
                TxnOp::Put(put) => self.key(&put.key)?,
                TxnOp::DeleteRange(delete) => self.single(&delete.range)?,
                TxnOp::Txn(within) => self.txn(within)?,
            };
            if !is_light {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The end of a lease is light if it has few keys and no will that runs, of the lease or of a
    /// claim. If it expires, it may be held for a service, whose instances are all counted then.
    /// counted then.
    fn lease(&mut self, id: LeaseId, expires: bool) -> Result<bool, Fault> {
        let Some(lease) = lease::find(self.view, id)? else {
            // It is refused.
            return Ok(true);
        };
        // When it is revoked, its wills do not run; without keys it has no claims either.
        if !expires && lease.has_no_key() {
            return Ok(true);
        }
        if lease.may_have.will && will::exists(self.view, id)? {
            return Ok(false);
        }
        if lease.has_no_key() {
            return Ok(true);
        }
        let keys = lease::attached_first(self.view, id, ATTACHED_MAX.saturating_add(1))?;
        if keys.len() > ATTACHED_MAX {
            return Ok(false);
        }
        for key in keys {
            let may_be_held = expires && key.starts_with(SERVICES_PREFIX.as_bytes());
            if may_be_held || !self.key(&key)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A delete.
    fn single(&mut self, range: &KeyRange) -> Result<bool, Fault> {
        Ok(is_single(range) && self.key(&range.start)?)
    }

    /// A put or deleted key may stand for a claim, which then joins or ends.
    fn key(&mut self, key: &Bytes) -> Result<bool, Fault> {
        let Some(name) = claimed_name(key) else {
            return Ok(true);
        };
        self.joined = self.joined.saturating_add(1);
        self.queue(&name)
    }

    /// A queue from which claims may be granted. Each claim is granted or dropped once, regardless
    /// of how many commands touch its queue.
    fn queue(&mut self, name: &Bytes) -> Result<bool, Fault> {
        if self.names.contains(name) {
            return Ok(true);
        }
        self.names.insert(name.clone());
        let left = QUEUED_MAX.saturating_sub(self.queued);
        let waiting = claims::waiting_within(self.view, name, left)?;
        Ok(waiting.is_some_and(|waiting| self.add(waiting)))
    }

    const fn add(&mut self, claims: u32) -> bool {
        self.queued = self.queued.saturating_add(claims);
        self.queued <= QUEUED_MAX
    }
}

const fn is_single(range: &KeyRange) -> bool {
    matches!(range.end, RangeEnd::Single)
}
