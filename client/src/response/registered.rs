//! Registered instances of a service.

use std::{collections::BTreeMap, fmt, time::Duration};

use tenure_proto::v1::{self, DiscoverResponse};

use super::{Header, impl_header, impl_iter};
use crate::id::{LeaseId, Revision, Token};

/// Weight of an instance that sets none.
const WEIGHT_DEFAULT: u32 = 100;

/// The readiness of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Readiness {
    /// Alive, but not ready for traffic yet.
    Starting,
    /// Ready for new traffic.
    Ready,
    /// Finishes its requests; receives no new ones.
    Draining,
    /// Temporarily not ready for traffic.
    NotReady,
}

impl Readiness {
    pub(crate) const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::Draining, Self::NotReady];

    pub(crate) fn of(message: v1::Readiness) -> Self {
        match message {
            v1::Readiness::Starting => Self::Starting,
            v1::Readiness::Ready => Self::Ready,
            v1::Readiness::Draining => Self::Draining,
            v1::Readiness::NotReady => Self::NotReady,
        }
    }

    pub(crate) fn to_message(self) -> v1::Readiness {
        match self {
            Self::Starting => v1::Readiness::Starting,
            Self::Ready => v1::Readiness::Ready,
            Self::Draining => v1::Readiness::Draining,
            Self::NotReady => v1::Readiness::NotReady,
        }
    }
}

/// A registered instance: its description, incarnation and lease.
#[derive(Clone, PartialEq)]
pub struct RegisteredInstance {
    instance: v1::Instance,
    incarnation: i64,
    lease: i64,
    revision: i64,
}

/// An endpoint of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InstanceEndpoint<'a> {
    /// The protocol, for example `grpc` or `http`.
    pub protocol: &'a str,
    /// The name or the address of the host.
    pub host: &'a str,
    /// The TCP port.
    pub port: u32,
}

impl RegisteredInstance {
    pub(crate) fn of(message: v1::Registration) -> Self {
        Self {
            instance: message.instance.unwrap_or_default(),
            incarnation: message.incarnation,
            lease: message.lease,
            revision: message.revision,
        }
    }

    pub(crate) fn list_of(messages: Vec<v1::Registration>) -> Vec<Self> {
        messages.into_iter().map(Self::of).collect()
    }

    /// The name of the service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.instance.service
    }

    /// The name of the instance within its service.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.instance.id
    }

    /// The endpoints of the instance.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = InstanceEndpoint<'_>> {
        self.instance
            .endpoints
            .iter()
            .map(|endpoint| InstanceEndpoint {
                protocol: &endpoint.protocol,
                host: &endpoint.host,
                port: endpoint.port,
            })
    }

    /// The metadata of the instance.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.instance.metadata
    }

    /// The tags of the instance.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.instance.tags
    }

    /// The zone; empty when not set.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.instance.zone
    }

    /// The version of the program; empty when not set.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.instance.version
    }

    /// The share of the traffic relative to other instances; 100 unless set.
    #[must_use]
    pub fn weight(&self) -> u32 {
        match self.instance.weight {
            0 => WEIGHT_DEFAULT,
            weight => weight,
        }
    }

    /// The readiness of the instance.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::of(self.instance.readiness())
    }

    /// Whether its lease has expired, and the registry keeps it only because too many leases
    /// expired at once.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.instance.suspect
    }

    /// The incarnation: greater than those of all earlier registrations of the instance.
    #[must_use]
    pub fn incarnation(&self) -> Token {
        Token::new(self.incarnation)
    }

    /// The lease of the registration.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        LeaseId::new(self.lease)
    }

    /// The revision of its latest change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision::new(self.revision)
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> v1::Registration {
        v1::Registration {
            instance: Some(self.instance),
            incarnation: self.incarnation,
            lease: self.lease,
            revision: self.revision,
        }
    }

    /// Converts from the generated protobuf message, for tests.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn from_wire(message: v1::Registration) -> Self {
        Self::of(message)
    }
}

impl fmt::Debug for RegisteredInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self
            .endpoints()
            .map(|at| format!("{}://{}:{}", at.protocol, at.host, at.port));
        f.debug_struct("RegisteredInstance")
            .field("service", &self.service())
            .field("id", &self.id())
            .field("endpoints", &endpoints.collect::<Vec<_>>())
            .field("readiness", &self.readiness())
            .field("incarnation", &self.incarnation)
            .field("lease", &self.lease())
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// The selected instances of a service. Made by [`Registry::discover`](crate::Registry::discover).
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    header: Option<Header>,
    registrations: Vec<RegisteredInstance>,
    all: bool,
    age_ms: u64,
}

impl Discovered {
    pub(crate) fn of(message: DiscoverResponse) -> Self {
        Self {
            header: Header::of_tenure(message.header),
            registrations: RegisteredInstance::list_of(message.registrations),
            all: message.all,
            age_ms: message.age_ms,
        }
    }

    /// The selected instances, by id.
    #[must_use]
    pub fn registrations(&self) -> &[RegisteredInstance] {
        &self.registrations
    }

    /// The instances, by value.
    #[must_use]
    pub fn into_registrations(self) -> Vec<RegisteredInstance> {
        self.registrations
    }

    /// Whether all instances are selected because too few were ready, see
    /// [`Selector::passing_or_all`](crate::Selector::passing_or_all).
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Upper bound of the age of the answer; zero for a linearizable read.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> DiscoverResponse {
        let registrations = self.registrations.into_iter();
        DiscoverResponse {
            header: self.header.map(Header::into_tenure_wire),
            registrations: registrations.map(RegisteredInstance::into_wire).collect(),
            all: self.all,
            age_ms: self.age_ms,
        }
    }

    /// Converts from the generated protobuf message, for tests.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn from_wire(message: DiscoverResponse) -> Self {
        Self::of(message)
    }
}

impl_iter! {
    /// Iterates over the instances.
    Discovered.registrations: RegisteredInstance
}

impl_header!(Discovered);
