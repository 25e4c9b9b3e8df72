//! Commands on registrations.

use bytes::Bytes;

use crate::{
    codec,
    types::{LeaseId, Revision, Ttl},
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

codec::choice! {
    Readiness { 0 = Starting, 1 = Ready, 2 = Draining, 3 = NotReady } "unknown readiness"
}

/// Names an instance within its service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceName {
    /// The service.
    pub service: String,
    /// The instance.
    pub id: String,
}

codec::record! { InstanceName { service, id } }

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

codec::record! { Register { name, instance, incarnation, lease, grant } }

/// One operation on a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryCommand {
    /// Add or change.
    Register(Register),
    /// Say whether it wants traffic.
    SetReadiness {
        /// Which instance.
        name: InstanceName,
        /// Must be the present one.
        incarnation: Revision,
        /// The readiness.
        readiness: Readiness,
    },
    /// Stop new traffic now; remove it when the grace has passed.
    Drain {
        /// Which instance.
        name: InstanceName,
        /// Must be the present one; zero means whichever is.
        incarnation: Revision,
        /// The grace.
        grace: Ttl,
    },
    /// Remove it.
    Deregister {
        /// Which instance.
        name: InstanceName,
        /// Must be the present one; zero means whichever is.
        incarnation: Revision,
    },
}

codec::choice! {
    RegistryCommand {
        1 = Register(register),
        2 = SetReadiness { name, incarnation, readiness },
        3 = Drain { name, incarnation, grace },
        4 = Deregister { name, incarnation },
    } "unknown operation on a registration"
}
