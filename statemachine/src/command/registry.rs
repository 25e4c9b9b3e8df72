//! Commands on registrations.

use bytes::Bytes;

use super::{Command, operation};
use crate::{
    encoding,
    keyspace::InstanceName,
    value::{LeaseId, Revision, Ttl},
};

/// Whether an instance wants traffic. Independent of whether it is alive, which depends on its
/// lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Alive; must not get traffic yet.
    #[default]
    Starting,
    /// Gets traffic.
    Ready,
    /// Finishes its open requests; must not get new traffic.
    Draining,
    /// Alive; must not get traffic.
    NotReady,
}

encoding::choice! {
    Readiness { 0 = Starting, 1 = Ready, 2 = Draining, 3 = NotReady } "unknown readiness"
}

/// Adds an instance, or changes its description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The instance.
    pub name: InstanceName,
    /// The encoded `tenure.v1.Instance`, stored as the value of the key.
    pub instance: Bytes,
    /// Zero begins a new incarnation, which replaces any present one. Otherwise the incarnation to
    /// change; refused if it is not the present one.
    pub incarnation: Revision,
    /// The lease; with an incarnation, [`LeaseId::NONE`] keeps the present one.
    pub lease: LeaseId,
    /// Grants the lease first, with this time to live; refused if it exists.
    pub grant: Option<Ttl>,
}

encoding::record! { Register { name, instance, incarnation, lease, grant } }

// The reply is the incarnation, its lease, and the time to live of the lease.
operation! {
    Register: it => RegistryCommand::Register(it).into();
    (Revision, LeaseId, Ttl): Register(incarnation, lease, ttl) => (incarnation, lease, ttl)
}

/// Sets the readiness of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetReadiness {
    /// The instance.
    pub name: InstanceName,
    /// Refused if this is not the present incarnation.
    pub incarnation: Revision,
    /// The new readiness.
    pub readiness: Readiness,
}

encoding::record! { SetReadiness { name, incarnation, readiness } }

operation! { SetReadiness: it => RegistryCommand::SetReadiness(it).into(); (): Done => () }

/// Stops new traffic of an instance now, and removes it after the grace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The instance.
    pub name: InstanceName,
    /// Refused if this is not the present incarnation; zero means any.
    pub incarnation: Revision,
    /// The grace: how long it may finish its open requests.
    pub grace: Ttl,
}

encoding::record! { Drain { name, incarnation, grace } }

operation! { Drain: it => RegistryCommand::Drain(it).into(); (): Done => () }

/// Removes an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deregister {
    /// The instance.
    pub name: InstanceName,
    /// Refused if this is not the present incarnation; zero means any.
    pub incarnation: Revision,
}

encoding::record! { Deregister { name, incarnation } }

operation! { Deregister: it => RegistryCommand::Deregister(it).into(); (): Done => () }

/// One operation on a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryCommand {
    /// Adds or changes an instance.
    Register(Register),
    /// Sets its readiness.
    SetReadiness(SetReadiness),
    /// Stops new traffic now, and removes the instance later.
    Drain(Drain),
    /// Removes an instance.
    Deregister(Deregister),
}

encoding::choice! {
    RegistryCommand {
        1 = Register(register),
        2 = SetReadiness(set),
        3 = Drain(drain),
        4 = Deregister(deregister),
    } "unknown operation on a registration"
}

impl From<RegistryCommand> for Command {
    fn from(command: RegistryCommand) -> Self {
        Self::Registry(command)
    }
}
