//! Keys as registrations.
//!
//! Keys below the prefix can be written by any means, so what is no instance, or cannot be reached,
//! is passed over; where the value names another instance than the key does, the key is right.

use prost::Message;
use tenure_proto::v1 as wire;
use tenure_statemachine::{InstanceName, KeyValue};

/// The registration that a record stands for, if it stands for one.
pub(super) fn registration(kv: &KeyValue) -> Option<wire::Registration> {
    let InstanceName { service, id } = InstanceName::of_key(&kv.key)?;
    let instance = wire::Instance::decode(kv.value.clone()).ok()?;
    if instance.endpoints.is_empty() {
        return None;
    }
    let instance = wire::Instance {
        service,
        id,
        ..instance
    };
    Some(wire::Registration {
        instance: Some(instance),
        incarnation: kv.create_revision.0,
        lease: kv.lease.0,
        revision: kv.mod_revision.0,
    })
}
