//! Commands on registrations.

use bytes::Bytes;

use super::{Command, operation};
use crate::{
    encoding,
    keyspace::InstanceName,
    value::{LeaseId, Revision, Ttl},
};

/// Whether an instance wants traffic. Apart from whether it is alive, which its lease says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Alive, not yet to be used.
    #[default]
    Starting,
    /// To be used.
    Ready,
    /// Finishes what is under way.
    Draining,
    /// Alive, not to be used.
    NotReady,
}

encoding::choice! {
    Readiness { 0 = Starting, 1 = Ready, 2 = Draining, 3 = NotReady } "unknown readiness"
}

/// Add an instance, or change what it says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// Which instance.
    pub name: InstanceName,
    /// The encoded `tenure.v1.Instance`, which the machine keeps as the value of the key.
    pub instance: Bytes,
    /// Zero begins a new life of the instance, which takes the place of any before it. Otherwise
    /// the incarnation to change; refused when it is not the present one.
    pub incarnation: Revision,
    /// The lease; with an incarnation, [`LeaseId::NONE`] keeps the one it has.
    pub lease: LeaseId,
    /// Make the lease first, with this time to live; refused when it exists.
    pub grant: Option<Ttl>,
}

encoding::record! { Register { name, instance, incarnation, lease, grant } }

// Answered with the incarnation, its lease, and that one's time to live.
operation! {
    Register: it => RegistryCommand::Register(it).into();
    (Revision, LeaseId, Ttl): Register(incarnation, lease, ttl) => (incarnation, lease, ttl)
}

/// Say whether an instance wants traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetReadiness {
    /// Which instance.
    pub name: InstanceName,
    /// Must be the present one.
    pub incarnation: Revision,
    /// The readiness.
    pub readiness: Readiness,
}

encoding::record! { SetReadiness { name, incarnation, readiness } }

operation! { SetReadiness: it => RegistryCommand::SetReadiness(it).into(); (): Done => () }

/// Stop new traffic of an instance now; remove it when the grace has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Which instance.
    pub name: InstanceName,
    /// Must be the present one; zero means whichever is.
    pub incarnation: Revision,
    /// The grace.
    pub grace: Ttl,
}

encoding::record! { Drain { name, incarnation, grace } }

operation! { Drain: it => RegistryCommand::Drain(it).into(); (): Done => () }

/// Remove an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deregister {
    /// Which instance.
    pub name: InstanceName,
    /// Must be the present one; zero means whichever is.
    pub incarnation: Revision,
}

encoding::record! { Deregister { name, incarnation } }

operation! { Deregister: it => RegistryCommand::Deregister(it).into(); (): Done => () }

/// One operation on a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryCommand {
    /// Add or change.
    Register(Register),
    /// Say whether it wants traffic.
    SetReadiness(SetReadiness),
    /// Stop new traffic now, and remove it later.
    Drain(Drain),
    /// Remove it.
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
