//! Messages of tenure's own services as records: which cells they have, under which names.
//!
//! The names and their order are the wire's.

use tenure::wire::v1::{Claim, Mode, Readiness, Registration, mode::Kind};

use super::sheet::{Cell, Record};

/// Share of the traffic of an instance that names none; see `Instance.weight` of the wire.
const WEIGHT_DEFAULT: u32 = 100;

/// A claim.
pub(super) fn claim(claim: &Claim) -> Record {
    taken(claim)
        .text("mode", mode(claim.mode.as_ref()))
        .with("held", Cell::Flag(claim.held))
        .with("since_ms", Cell::Millis(claim.since_ms))
        .text("principal", &claim.principal)
        .with("position", Cell::Count(claim.position.into()))
}

/// What whoever holds a claim knows of it.
pub(super) fn taken(claim: &Claim) -> Record {
    Record::default()
        .bytes("name", &claim.name)
        .bytes("key", &claim.key)
        .with("token", Cell::Revision(claim.token))
        .with("lease", Cell::Lease(claim.lease))
        .bytes("value", &claim.value)
}

/// An instance.
pub(super) fn registration(registration: &Registration) -> Record {
    let instance = registration.instance.clone().unwrap_or_default();
    let readiness = readiness(instance.readiness());
    let endpoints = instance.endpoints.iter().map(|endpoint| {
        let (protocol, port) = (&endpoint.protocol, endpoint.port);
        match &endpoint.host {
            host if host.contains(':') => format!("{protocol}://[{host}]:{port}"),
            host => format!("{protocol}://{host}:{port}"),
        }
    });
    let mut metadata: Vec<_> = instance.metadata.into_iter().collect();
    metadata.sort();
    let weight = match instance.weight {
        0 => WEIGHT_DEFAULT,
        weight => weight,
    };
    Record::default()
        .text("service", instance.service)
        .text("id", instance.id)
        .with("endpoints", Cell::Texts(endpoints.collect()))
        .with("metadata", Cell::Pairs(metadata))
        .with("tags", Cell::Texts(instance.tags))
        .text("zone", instance.zone)
        .with("weight", Cell::Count(weight.into()))
        .text("version", instance.version)
        .text("readiness", readiness)
        .with("suspect", Cell::Flag(instance.suspect))
        .with("incarnation", Cell::Revision(registration.incarnation))
        .with("lease", Cell::Lease(registration.lease))
        .with("revision", Cell::Revision(registration.revision))
}

/// A mode in a word or two; without one a claim is exclusive.
fn mode(mode: Option<&Mode>) -> String {
    match mode.and_then(|mode| mode.kind.as_ref()) {
        None | Some(Kind::Exclusive(_)) => "exclusive".to_owned(),
        Some(Kind::Shared(_)) => "shared".to_owned(),
        Some(Kind::Permits(permits)) => format!("permits {}/{}", permits.count, permits.limit),
    }
}

/// How far an instance is, in the word of the option `--readiness`.
fn readiness(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Starting => "starting",
        Readiness::Ready => "ready",
        Readiness::Draining => "draining",
        Readiness::NotReady => "not-ready",
    }
}
