//! Instances of a service as the registry tells them.

use std::{collections::BTreeMap, fmt, time::Duration};

use tenure_proto::v1::{self, DiscoverResponse};

use super::{Header, headed, iterable};
use crate::id::{LeaseId, Revision, Token};

/// Share of the traffic of an instance that names none.
const WEIGHT_DEFAULT: u32 = 100;

/// Whether an instance wants traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Readiness {
    /// It is alive and not to be used yet.
    Starting,
    /// It wants traffic.
    Ready,
    /// It finishes what is under way; nothing new is to be sent.
    Draining,
    /// It wants no traffic for now.
    NotReady,
}

impl Readiness {
    /// Every readiness there is.
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

/// An instance as the registry knows it: what it says of itself, and which life of it that is.
#[derive(Clone, PartialEq)]
pub struct RegisteredInstance {
    instance: v1::Instance,
    incarnation: i64,
    lease: i64,
    revision: i64,
}

/// A place where an instance is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServedAt<'a> {
    /// The protocol, for example `grpc` or `http`.
    pub protocol: &'a str,
    /// The name or the address of the host.
    pub host: &'a str,
    /// The port.
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

    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.instance.service
    }

    /// The name of the instance within its service.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.instance.id
    }

    /// Where the instance is served.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = ServedAt<'_>> {
        self.instance.endpoints.iter().map(|endpoint| ServedAt {
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

    /// Where the instance is; empty when it does not say.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.instance.zone
    }

    /// The version of the program; empty when it does not say.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.instance.version
    }

    /// The share of the traffic relative to other instances; 100 unless it was set.
    #[must_use]
    pub fn weight(&self) -> u32 {
        match self.instance.weight {
            0 => WEIGHT_DEFAULT,
            weight => weight,
        }
    }

    /// Whether the instance wants traffic.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::of(self.instance.readiness())
    }

    /// Whether its lease ran out, and it is kept only because those of too many instances did at
    /// once.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.instance.suspect
    }

    /// Which life of the instance this is: greater than that of every life before.
    #[must_use]
    pub fn incarnation(&self) -> Token {
        Token::new(self.incarnation)
    }

    /// The lease that it is registered with.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        LeaseId::new(self.lease)
    }

    /// The revision of its latest change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision::new(self.revision)
    }

    /// The message of the wire.
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

    /// The instance that a message of the wire describes, for tests of how it is printed.
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

/// The instances of a service that were selected. Made by
/// [`Registry::discover`](crate::Registry::discover).
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

    /// The instances.
    #[must_use]
    pub fn registrations(&self) -> &[RegisteredInstance] {
        &self.registrations
    }

    /// Takes the instances out.
    #[must_use]
    pub fn into_registrations(self) -> Vec<RegisteredInstance> {
        self.registrations
    }

    /// Whether all instances are there because too few were ready, see
    /// [`Selector::passing_or_all`](crate::Selector::passing_or_all).
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// How old the answer may be; zero when it is the latest.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }

    /// The message of the wire.
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

    /// The response that a message of the wire describes, for tests of how it is printed.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn from_wire(message: DiscoverResponse) -> Self {
        Self::of(message)
    }
}

iterable! {
    /// The instances, one after the other.
    Discovered.registrations: RegisteredInstance
}

headed!(Discovered);
