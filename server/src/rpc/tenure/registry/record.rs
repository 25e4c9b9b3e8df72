//! Keys as registrations.
//!
//! Keys below the prefix can be written by other means than the registry, so records that are no
//! instance, or have no endpoint, are skipped; when the value names another instance than the key,
//! the key prevails.

use prost::Message;
use tenure_proto::v1 as wire;
use tenure_statemachine::{InstanceName, KeyValue};

/// The registration of a record, if it is one.
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
