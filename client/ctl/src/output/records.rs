//! Conversion of claims and instances into records.
//!
//! Names and order are those of the protobuf fields.

use tenure::{
    Readiness, RegisteredInstance,
    wire::v1::{Claim, Mode, mode::Kind},
};

use super::sheet::{Cell, Record};

pub(super) fn claim(claim: &Claim) -> Record {
    taken(claim)
        .text("mode", mode(claim.mode.as_ref()))
        .with("held", Cell::Flag(claim.held))
        .with("since_ms", Cell::Millis(claim.since_ms))
        .text("principal", &claim.principal)
        .with("position", Cell::Count(claim.position.into()))
}

/// A claim as known to its holder: without queue position and time.
pub(super) fn taken(claim: &Claim) -> Record {
    Record::default()
        .bytes("name", &claim.name)
        .bytes("key", &claim.key)
        .with("token", Cell::Revision(claim.token))
        .with("lease", Cell::Lease(claim.lease))
        .bytes("value", &claim.value)
}

pub(super) fn registration(instance: &RegisteredInstance) -> Record {
    let endpoints = instance.endpoints().map(|at| {
        let (protocol, host, port) = (at.protocol, at.host, at.port);
        if host.contains(':') {
            format!("{protocol}://[{host}]:{port}")
        } else {
            format!("{protocol}://{host}:{port}")
        }
    });
    let metadata = instance.metadata().clone().into_iter();
    Record::default()
        .text("service", instance.service())
        .text("id", instance.id())
        .with("endpoints", Cell::Texts(endpoints.collect()))
        .with("metadata", Cell::Pairs(metadata.collect()))
        .with("tags", Cell::Texts(instance.tags().to_vec()))
        .text("zone", instance.zone())
        .with("weight", Cell::Count(instance.weight().into()))
        .text("version", instance.version())
        .text("readiness", readiness(instance.readiness()))
        .with("suspect", Cell::Flag(instance.is_suspect()))
        .with("incarnation", Cell::Revision(instance.incarnation().get()))
        .with("lease", Cell::Lease(instance.lease().get()))
        .with("revision", Cell::Revision(instance.revision().get()))
}

/// The text of a mode; exclusive unless set.
fn mode(mode: Option<&Mode>) -> String {
    match mode.and_then(|mode| mode.kind.as_ref()) {
        None | Some(Kind::Exclusive(_)) => "exclusive".to_owned(),
        Some(Kind::Shared(_)) => "shared".to_owned(),
        Some(Kind::Permits(permits)) => format!("permits {}/{}", permits.count, permits.limit),
    }
}

/// The value of the option `--readiness`.
fn readiness(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Starting => "starting",
        Readiness::Ready => "ready",
        Readiness::Draining => "draining",
        Readiness::NotReady => "not-ready",
        _ => "unknown",
    }
}
