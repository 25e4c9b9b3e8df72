//! Bytes to commands on registrations.

use super::{Decoder, refuse, tag};
use crate::{
    command::{InstanceName, Readiness, Register, RegistryCommand},
    error::Fault,
};

impl Decoder {
    pub(super) fn registry_command(&mut self) -> Result<RegistryCommand, Fault> {
        Ok(match self.byte()? {
            tag::REGISTRY_REGISTER => RegistryCommand::Register(self.register()?),
            tag::REGISTRY_SET_READINESS => RegistryCommand::SetReadiness {
                name: self.instance_name()?,
                incarnation: self.revision()?,
                readiness: match self.byte()? {
                    tag::READINESS_STARTING => Readiness::Starting,
                    tag::READINESS_READY => Readiness::Ready,
                    tag::READINESS_DRAINING => Readiness::Draining,
                    tag::READINESS_NOT_READY => Readiness::NotReady,
                    _ => return refuse("unknown readiness"),
                },
            },
            tag::REGISTRY_DRAIN => RegistryCommand::Drain {
                name: self.instance_name()?,
                incarnation: self.revision()?,
                grace: self.ttl()?,
            },
            tag::REGISTRY_DEREGISTER => RegistryCommand::Deregister {
                name: self.instance_name()?,
                incarnation: self.revision()?,
            },
            _ => return refuse("unknown operation on a registration"),
        })
    }

    fn register(&mut self) -> Result<Register, Fault> {
        Ok(Register {
            name: self.instance_name()?,
            instance: self.bytes()?,
            incarnation: self.revision()?,
            lease: self.lease()?,
            grant: self.option(Self::ttl)?,
        })
    }

    fn instance_name(&mut self) -> Result<InstanceName, Fault> {
        Ok(InstanceName {
            service: self.text()?,
            id: self.text()?,
        })
    }
}
