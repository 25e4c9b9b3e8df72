//! The needs of commands: what a user must be allowed to do, for each command and each part of one.
//!
//! One function names the needs of an operation wherever it occurs: alone, in a transaction,
//! nested in one, in a will. Invariant: the needs depend on the command alone. Whether they are met
//! depends on the state, too, for those that name a lease.

use std::convert::Infallible;

use bytes::Bytes;

use crate::{
    command::{
        Acquire, ClaimCommand, Command, DeleteRange, Deregister, Drain, Guard, HandOver, Proclaim,
        Put, RegistryCommand, Release, SetReadiness, Transfer, Txn, TxnOp, Will, WillSet, Withdraw,
    },
    keyspace::{claim_range, service_range},
    value::{KeyRange, LeaseId},
};

/// Something that a user must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be a user.
    User,
    /// To read every key of a range.
    Read(KeyRange),
    /// To write every key of a range.
    Write(KeyRange),
    /// To learn whether a guard of this name holds: to read the claims on the name, or the key.
    Guard(Bytes),
    /// To read every key that is attached to a lease, whose session and wills are no other user's.
    ReadLease(LeaseId),
    /// To write every key that is attached to a lease, whose session and wills are no other user's.
    WriteLease(LeaseId),
    /// To be root.
    Admin,
}

/// Returns the needs of a command, in the order in which they are checked.
#[must_use]
pub fn needs_of(command: &Command) -> Vec<Need> {
    let mut found = Vec::new();
    let visited = each_need(command, &mut |need| {
        found.push(need);
        Ok::<(), Infallible>(())
    });
    match visited {
        Ok(()) => found,
        Err(never) => match never {},
    }
}

/// Visits the needs of a command, until a visit fails.
pub(crate) fn each_need<E>(
    command: &Command,
    visit: &mut impl FnMut(Need) -> Result<(), E>,
) -> Result<(), E> {
    visit(Need::User)?;
    Needs(visit).command(command)
}

/// Visits the needs of a will when it runs, until a visit fails.
pub(crate) fn each_will_need<E>(
    will: &Will,
    visit: &mut impl FnMut(Need) -> Result<(), E>,
) -> Result<(), E> {
    visit(Need::User)?;
    Needs(visit).will(will)
}

impl Txn {
    /// Returns the needs of a transaction, in the order in which they are checked.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let mut found = vec![Need::User];
        let mut push = |need| {
            found.push(need);
            Ok::<(), Infallible>(())
        };
        let visited = Needs(&mut push).txn(self);
        match visited {
            Ok(()) => found,
            Err(never) => match never {},
        }
    }
}

struct Needs<'v, V>(&'v mut V);

impl<E, V: FnMut(Need) -> Result<(), E>> Needs<'_, V> {
    fn visit(&mut self, need: Need) -> Result<(), E> {
        (self.0)(need)
    }

    fn command(&mut self, command: &Command) -> Result<(), E> {
        match command {
            Command::Put(put) => self.put(put),
            Command::DeleteRange(delete) => self.delete(delete),
            Command::Txn(txn) => self.txn(txn),
            Command::LeaseGrant(_) | Command::SessionOpen(_) => Ok(()),
            Command::LeaseRevoke(lease) => self.lease(*lease),
            Command::LeaseRenew(leases) => leases.iter().try_for_each(|lease| self.lease(*lease)),
            Command::Claim(command) => self.claim(command),
            Command::Registry(command) => self.registry(command),
            Command::WillSet(set) => self.will_set(set),
            Command::Conditional(conditional) => {
                self.guards(&conditional.guards)?;
                self.command(&conditional.command)
            }
            Command::By(by) => self.command(&by.command),
            Command::Compact(_)
            | Command::Alarm(_)
            | Command::Fence(_)
            | Command::Auth(_)
            // Only members make these.
            | Command::LeaseExpire(_)
            | Command::MemberPublish(_)
            | Command::Wake
            | Command::RaiseLevel(_) => self.visit(Need::Admin),
        }
    }

    fn guards(&mut self, guards: &[Guard]) -> Result<(), E> {
        let mut names = guards.iter().map(|guard| guard.name.clone());
        names.try_for_each(|name| self.visit(Need::Guard(name)))
    }

    fn put(&mut self, put: &Put) -> Result<(), E> {
        let key = KeyRange::single(put.key.clone());
        self.visit(Need::Write(key.clone()))?;
        if put.want_previous {
            self.visit(Need::Read(key))?;
        }
        self.lease(put.lease)
    }

    fn delete(&mut self, delete: &DeleteRange) -> Result<(), E> {
        self.visit(Need::Write(delete.range.clone()))?;
        if delete.want_previous {
            self.visit(Need::Read(delete.range.clone()))?;
        }
        Ok(())
    }

    /// Both branches count, whichever is taken.
    fn txn(&mut self, txn: &Txn) -> Result<(), E> {
        for compare in &txn.compare {
            self.visit(Need::Read(compare.range.clone()))?;
        }
        for operation in txn.success.iter().chain(&txn.failure) {
            match operation {
                TxnOp::Range(query) => self.visit(Need::Read(query.range.clone()))?,
                TxnOp::Put(put) => self.put(put)?,
                TxnOp::DeleteRange(delete) => self.delete(delete)?,
                TxnOp::Txn(within) => self.txn(within)?,
            }
        }
        Ok(())
    }

    /// A lease that is renewed, revoked, or gets another key.
    fn lease(&mut self, lease: LeaseId) -> Result<(), E> {
        if lease.is_some() {
            self.visit(Need::WriteLease(lease))?;
        }
        Ok(())
    }

    fn claim(&mut self, command: &ClaimCommand) -> Result<(), E> {
        match command {
            ClaimCommand::Acquire(Acquire {
                names,
                lease,
                grant,
                ..
            }) => {
                for name in names {
                    self.both(&claim_range(name))?;
                }
                self.existing(*lease, grant.is_some())
            }
            ClaimCommand::Transfer(Transfer { name, to, .. }) => {
                self.both(&claim_range(name))?;
                self.lease(*to)
            }
            // The lease handed over to has joined the queue itself.
            ClaimCommand::HandOver(HandOver { name, .. })
            | ClaimCommand::Release(Release { name, .. })
            | ClaimCommand::Withdraw(Withdraw { name, .. })
            | ClaimCommand::Proclaim(Proclaim { name, .. }) => self.both(&claim_range(name)),
            ClaimCommand::ForceRelease(_) => self.visit(Need::Admin),
        }
    }

    fn registry(&mut self, command: &RegistryCommand) -> Result<(), E> {
        match command {
            RegistryCommand::Register(register) => {
                self.both(&service_range(&register.name.service))?;
                self.existing(register.lease, register.grant.is_some())
            }
            RegistryCommand::SetReadiness(SetReadiness { name, .. })
            | RegistryCommand::Drain(Drain { name, .. })
            | RegistryCommand::Deregister(Deregister { name, .. }) => {
                self.both(&service_range(&name.service))
            }
        }
    }

    /// A lease that gets a key, unless it is granted first, and so has none.
    fn existing(&mut self, lease: LeaseId, is_granted: bool) -> Result<(), E> {
        if is_granted {
            Ok(())
        } else {
            self.lease(lease)
        }
    }

    fn both(&mut self, range: &KeyRange) -> Result<(), E> {
        self.visit(Need::Read(range.clone()))?;
        self.visit(Need::Write(range.clone()))
    }

    fn will_set(&mut self, set: &WillSet) -> Result<(), E> {
        if let Some(name) = &set.lock {
            self.both(&claim_range(name))?;
        }
        if let Some(will) = &set.will {
            self.will(will)?;
        }
        self.lease(set.lease)
    }

    fn will(&mut self, will: &Will) -> Result<(), E> {
        self.guards(&will.guards)?;
        self.txn(&will.txn)
    }
}
