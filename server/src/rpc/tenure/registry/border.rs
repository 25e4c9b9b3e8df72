//! Requests of the registry as commands: refusals that need no state, with the field they are
//! about.
//!
//! Bytes are moved, not copied. Nothing here reads the state.

use std::fmt::Display;

use bytes::Bytes;
use prost::Message;
use tenure_proto::{
    limits::{
        DRAIN_GRACE_MS_MAX, ENDPOINTS_MAX, INSTANCE_BYTES_MAX, METADATA_PAIRS_MAX,
        REGISTRY_TEXT_BYTES_MAX, TAGS_MAX, WEIGHT_MAX,
    },
    v1 as wire,
};
use tenure_statemachine::{
    Deregister, Drain, InstanceName, LeaseId, Readiness, Register, Revision, SetReadiness, Ttl,
};

use crate::rpc::{
    answer::{failure::Failure, refusal::quoted, status::Reason},
    border::field,
};

/// A registration.
pub(super) fn register(request: wire::RegisterRequest) -> Result<Register, Failure> {
    let wire::RegisterRequest {
        instance,
        incarnation,
        lease,
        ttl_ms,
        options: _,
    } = request;
    let instance = instance.ok_or(Reason::InstanceMissing)?;
    let name = name(instance.service.clone(), instance.id.clone())?;
    let incarnation = incarnation_or_any(incarnation)?;
    let (lease, grant) = if incarnation.0 > 0 && lease == 0 {
        // It keeps its lease.
        (LeaseId::NONE, None)
    } else {
        field::lease_or_ttl(lease, ttl_ms)?
    };
    Ok(Register {
        name,
        instance: encoded(instance)?,
        incarnation,
        lease,
        grant,
    })
}

/// A change of readiness. It names the incarnation, because only the instance itself may change it.
pub(super) fn set_readiness(request: wire::SetReadinessRequest) -> Result<SetReadiness, Failure> {
    let name = name(request.service, request.id)?;
    if request.incarnation == 0 {
        return Err(Reason::IncarnationInvalid.with("it is not provided"));
    }
    Ok(SetReadiness {
        name,
        incarnation: incarnation_or_any(request.incarnation)?,
        readiness: readiness(request.readiness)?,
    })
}

/// A drain.
pub(super) fn drain(request: wire::DrainRequest) -> Result<Drain, Failure> {
    let name = name(request.service, request.id)?;
    let incarnation = incarnation_or_any(request.incarnation)?;
    if request.grace_ms > DRAIN_GRACE_MS_MAX {
        let detail = format!("{} ms, at most {DRAIN_GRACE_MS_MAX} ms", request.grace_ms);
        return Err(Reason::GraceTooLong.with(detail));
    }
    Ok(Drain {
        name,
        incarnation,
        grace: Ttl(request.grace_ms),
    })
}

/// A deregistration.
pub(super) fn deregister(request: wire::DeregisterRequest) -> Result<Deregister, Failure> {
    Ok(Deregister {
        name: name(request.service, request.id)?,
        incarnation: incarnation_or_any(request.incarnation)?,
    })
}

/// The name of a service.
pub(super) fn service(service: String) -> Result<String, Failure> {
    part(service, Reason::ServiceNameInvalid)
}

/// A readiness by its number on the wire.
pub(super) fn readiness(number: i32) -> Result<Readiness, Failure> {
    match wire::Readiness::try_from(number) {
        Ok(wire::Readiness::Starting) => Ok(Readiness::Starting),
        Ok(wire::Readiness::Ready) => Ok(Readiness::Ready),
        Ok(wire::Readiness::Draining) => Ok(Readiness::Draining),
        Ok(wire::Readiness::NotReady) => Ok(Readiness::NotReady),
        Err(_) => Err(Reason::ReadinessUnknown.with(number.to_string())),
    }
}

/// At most `max` tags.
pub(super) fn tags(tags: &[String]) -> Result<(), Failure> {
    at_most(tags.len(), TAGS_MAX, Reason::TooManyTags)?;
    for (place, tag) in tags.iter().enumerate() {
        let what = format!("tag {}", place + 1);
        present(tag, &what, Reason::LabelInvalid)?;
        text(tag, &what, Reason::LabelInvalid)?;
    }
    Ok(())
}

/// A bounded number of metadata pairs; the sizes of values are bounded with the whole instance.
pub(super) fn metadata<'a>(
    pairs: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Result<(), Failure> {
    at_most(pairs.len(), METADATA_PAIRS_MAX, Reason::TooMuchMetadata)?;
    for (key, _) in pairs {
        present(key, "a key", Reason::MetadataInvalid)?;
        text(key, format!("key {}", shown(key)), Reason::MetadataInvalid)?;
    }
    Ok(())
}

/// A zone or a version, which are optional.
pub(super) fn label(label: &str, what: &str) -> Result<(), Failure> {
    text(label, what, Reason::LabelInvalid)
}

fn name(of_service: String, id: String) -> Result<InstanceName, Failure> {
    Ok(InstanceName {
        service: service(of_service)?,
        id: part(id, Reason::InstanceNameInvalid)?,
    })
}

/// A part of an instance's key.
fn part(name: String, reason: Reason) -> Result<String, Failure> {
    if name.is_empty() {
        return Err(reason.with("it is not provided"));
    }
    if name.contains('/') {
        return Err(reason.with(format!("{} holds a slash", shown(&name))));
    }
    text(&name, "it", reason)?;
    Ok(name)
}

fn incarnation_or_any(incarnation: i64) -> Result<Revision, Failure> {
    if incarnation < 0 {
        return Err(Reason::IncarnationInvalid.with(format!("{incarnation} is negative")));
    }
    Ok(Revision(incarnation))
}

/// The bytes of a valid instance.
fn encoded(mut instance: wire::Instance) -> Result<Bytes, Failure> {
    readiness(instance.readiness)?;
    endpoints(&instance.endpoints)?;
    tags(&instance.tags)?;
    metadata(instance.metadata.iter())?;
    label(&instance.zone, "zone")?;
    label(&instance.version, "version")?;
    if instance.weight > WEIGHT_MAX {
        let detail = format!("{}, at most {WEIGHT_MAX}", instance.weight);
        return Err(Reason::WeightInvalid.with(detail));
    }
    // An instance that sends its readiness is alive.
    instance.suspect = false;
    let bytes = instance.encoded_len();
    if bytes > INSTANCE_BYTES_MAX {
        let reason = Reason::InstanceTooLarge;
        return Err(field::too_long(reason, bytes, INSTANCE_BYTES_MAX));
    }
    Ok(instance.encode_to_vec().into())
}

fn endpoints(endpoints: &[wire::Endpoint]) -> Result<(), Failure> {
    if endpoints.is_empty() {
        return Err(Reason::EndpointsMissing.into());
    }
    at_most(endpoints.len(), ENDPOINTS_MAX, Reason::TooManyEndpoints)?;
    for (place, endpoint) in endpoints.iter().enumerate() {
        let number = place + 1;
        for (part, what) in [(&endpoint.protocol, "protocol"), (&endpoint.host, "host")] {
            let what = format!("{what} of endpoint {number}");
            present(part, &what, Reason::EndpointInvalid)?;
            text(part, &what, Reason::EndpointInvalid)?;
        }
        let port = endpoint.port;
        if port == 0 || port > u32::from(u16::MAX) {
            let detail = format!("port of endpoint {number} is {port}, from 1 to 65535");
            return Err(Reason::EndpointInvalid.with(detail));
        }
    }
    Ok(())
}

fn at_most(count: usize, max: usize, reason: Reason) -> Result<(), Failure> {
    if count > max {
        return Err(reason.with(format!("{count}, at most {max}")));
    }
    Ok(())
}

fn present(text: &str, what: &str, reason: Reason) -> Result<(), Failure> {
    if text.is_empty() {
        return Err(reason.with(format!("{what} is not provided")));
    }
    Ok(())
}

/// Printable text in one line, of bounded length.
fn text(text: &str, what: impl Display, reason: Reason) -> Result<(), Failure> {
    let bytes = text.len();
    if bytes > REGISTRY_TEXT_BYTES_MAX {
        return Err(reason.with(format!(
            "{what} is {bytes} bytes, at most {REGISTRY_TEXT_BYTES_MAX}"
        )));
    }
    let printable = |c: char| !c.is_control() && (c == ' ' || !c.is_whitespace());
    if !text.chars().all(printable) {
        return Err(reason.with(format!("{what} cannot be printed: {}", shown(text))));
    }
    Ok(())
}

fn shown(text: &str) -> String {
    quoted(text.as_bytes())
}

#[cfg(test)]
mod tests;
