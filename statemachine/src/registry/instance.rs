//! Operations of instances and operators on registrations.
//!
//! Invariant: a write that names an incarnation changes that incarnation or nothing. An
//! operation is refused before its first write.

use bytes::Bytes;

use super::{
    drain,
    fields::{self, Flags, number},
};
use crate::{
    command::{
        Deregister, Drain, LeaseGrant, Put, Readiness, Register, RegistryCommand, SetReadiness,
    },
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    keyspace::InstanceName,
    lease,
    outcome::Reply,
    rows::{Record, Row},
    transition::Transition,
    value::{LeaseId, Revision, Ttl},
};

/// Stands for "any incarnation", or "none yet".
const ANY: Revision = Revision(0);

impl Transition<'_> {
    /// Applies one operation.
    ///
    /// # Errors
    /// Refused if the incarnation is not the present one, or the lease cannot be used.
    pub(crate) fn execute_registry(
        &mut self,
        command: &RegistryCommand,
    ) -> Result<Reply, ReadError> {
        match command {
            RegistryCommand::Register(command) => self.register(command),
            RegistryCommand::SetReadiness(SetReadiness {
                name,
                incarnation,
                readiness,
            }) => {
                let (key, present) = present(self.overlay, name)?;
                let record = expect(present, *incarnation)?;
                self.set_readiness(key, &record, *readiness)?;
                Ok(Reply::Done)
            }
            RegistryCommand::Drain(Drain {
                name,
                incarnation,
                grace,
            }) => {
                let (key, present) = present(self.overlay, name)?;
                let record = expect_any(present, *incarnation)?;
                self.set_readiness(key.clone(), &record, Readiness::Draining)?;
                let until = self.meta.now.after(*grace);
                self.begin_drain(&key, record.create, until)?;
                Ok(Reply::Done)
            }
            RegistryCommand::Deregister(Deregister { name, incarnation }) => {
                let (key, present) = present(self.overlay, name)?;
                expect_any(present, *incarnation)?;
                self.remove_instance(&key)?;
                Ok(Reply::Done)
            }
        }
    }

    fn register(&mut self, command: &Register) -> Result<Reply, ReadError> {
        let (key, present) = present(self.overlay, &command.name)?;
        let lease = if command.incarnation == ANY {
            if !command.lease.is_some() {
                return Err(Refusal::LeaseNotFound.into());
            }
            command.lease
        } else {
            let record = expect(present.clone(), command.incarnation)?;
            Some(command.lease)
                .filter(|lease| lease.is_some())
                .unwrap_or(record.lease)
        };
        let ttl = self.live_lease(lease, command.grant)?;
        if present.as_ref().is_none_or(|record| record.lease != lease) {
            lease::check_room(self.overlay, lease, 1)?;
        }
        let value = trusted(&command.instance);
        if command.incarnation == ANY && present.is_some() {
            self.remove_instance(&key)?;
        } else if fields::read(&value).is_none_or(|flags| !is_draining(flags)) {
            drain::cancel(self.overlay, &key)?;
        }
        let incarnation = if command.incarnation == ANY {
            self.meta.revision.next()
        } else {
            command.incarnation
        };
        self.put_alone(&Put {
            key,
            value,
            lease,
            ..Put::default()
        })?;
        Ok(Reply::Register(incarnation, lease, ttl))
    }

    /// Returns the time to live of the lease to register with, after granting it if requested. An
    /// instance that was put by etcd's API may have no lease.
    fn live_lease(&mut self, id: LeaseId, grant: Option<Ttl>) -> Result<Ttl, ReadError> {
        match grant {
            Some(ttl) => {
                self.grant_lease(LeaseGrant { id, ttl }, false)?;
                Ok(ttl)
            }
            None if !id.is_some() => Ok(Ttl(0)),
            None => {
                let lease = lease::find(self.overlay, id)?.ok_or(Refusal::LeaseNotFound)?;
                Ok(lease.ttl)
            }
        }
    }

    fn set_readiness(
        &mut self,
        key: Bytes,
        record: &Record,
        readiness: Readiness,
    ) -> Result<(), ReadError> {
        // A value that is not an instance, which only etcd's API can have put there, has no
        // readiness.
        let present = fields::read(&record.value).ok_or(Refusal::InstanceNotFound)?;
        let flags = Flags {
            readiness: number(readiness),
            ..present
        };
        if !is_draining(flags) {
            drain::cancel(self.overlay, &key)?;
        }
        if flags == present {
            return Ok(());
        }
        let value = fields::write(&record.value, flags).ok_or(Refusal::InstanceNotFound)?;
        self.put_alone(&Put {
            key,
            value,
            ignore_lease: true,
            ..Put::default()
        })?;
        Ok(())
    }

    /// Deletes the key of an instance, in a separate revision, and cancels its drain.
    pub(super) fn remove_instance(&mut self, key: &Bytes) -> Result<(), Fault> {
        drain::cancel(self.overlay, key)?;
        let mut change = self.change();
        change.delete_key(key.clone())?;
        change.finish();
        Ok(())
    }
}

/// Returns the value without the suspect mark, for an instance that has just sent a request.
fn trusted(value: &Bytes) -> Bytes {
    let flags = fields::read(value).filter(|flags| flags.suspect);
    let cleared = flags.and_then(|flags| {
        let suspect = false;
        fields::write(value, Flags { suspect, ..flags })
    });
    cleared.unwrap_or_else(|| value.clone())
}

pub(super) fn is_draining(flags: Flags) -> bool {
    flags.readiness == number(Readiness::Draining)
}

/// Returns the latest record of a key.
pub(super) fn latest(view: &dyn View, key: &[u8]) -> Result<Option<Record>, Fault> {
    Record::find(view, Table::Current, key)
}

fn present(view: &dyn View, name: &InstanceName) -> Result<(Bytes, Option<Record>), Fault> {
    let key = name.key();
    let record = latest(view, &key)?;
    Ok((key, record))
}

/// Returns the record, if it is of this incarnation.
fn expect(present: Option<Record>, yours: Revision) -> Result<Record, Refusal> {
    let current = present.as_ref().map_or(ANY, |record| record.create);
    present
        .filter(|record| record.create == yours)
        .ok_or(Refusal::InstanceReplaced { yours, current })
}

/// Returns the record, if it is of this incarnation, or if `yours` names none.
fn expect_any(present: Option<Record>, yours: Revision) -> Result<Record, Refusal> {
    if yours == ANY {
        present.ok_or(Refusal::InstanceNotFound)
    } else {
        expect(present, yours)
    }
}
