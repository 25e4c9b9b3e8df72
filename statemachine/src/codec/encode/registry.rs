//! Commands on registrations to bytes.

use super::{Encoder, tag};
use crate::command::{InstanceName, Readiness, Register, RegistryCommand};

impl Encoder {
    pub(super) fn registry_command(&mut self, command: &RegistryCommand) {
        match command {
            RegistryCommand::Register(register) => {
                self.byte(tag::REGISTRY_REGISTER);
                self.register(register);
            }
            RegistryCommand::SetReadiness {
                name,
                incarnation,
                readiness,
            } => {
                self.byte(tag::REGISTRY_SET_READINESS);
                self.instance_name(name);
                self.revision(*incarnation);
                self.byte(match readiness {
                    Readiness::Starting => tag::READINESS_STARTING,
                    Readiness::Ready => tag::READINESS_READY,
                    Readiness::Draining => tag::READINESS_DRAINING,
                    Readiness::NotReady => tag::READINESS_NOT_READY,
                });
            }
            RegistryCommand::Drain {
                name,
                incarnation,
                grace,
            } => {
                self.byte(tag::REGISTRY_DRAIN);
                self.instance_name(name);
                self.revision(*incarnation);
                self.ttl(*grace);
            }
            RegistryCommand::Deregister { name, incarnation } => {
                self.byte(tag::REGISTRY_DEREGISTER);
                self.instance_name(name);
                self.revision(*incarnation);
            }
        }
    }

    fn register(&mut self, register: &Register) {
        self.instance_name(&register.name);
        self.bytes(&register.instance);
        self.revision(register.incarnation);
        self.lease(register.lease);
        self.option(register.grant, Self::ttl);
    }

    fn instance_name(&mut self, name: &InstanceName) {
        self.text(&name.service);
        self.text(&name.id);
    }
}
