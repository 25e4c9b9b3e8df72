//! Descriptions of instances, and selectors of instances.
//!
//! Descriptions only; the server validates names, sizes and weights.

use tenure_proto::v1;

use crate::response::Readiness;

/// Description of an instance of a service.
///
/// ```
/// use tenure::{Instance, Readiness};
///
/// let instance = Instance::new("billing", "billing-7")
///     .endpoint("grpc", "10.0.0.7", 8443)
///     .zone("eu-1a")
///     .weight(200)
///     .tag("canary")
///     .metadata("shard", "7")
///     .readiness(Readiness::Starting);
/// assert_eq!(instance.service(), "billing");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Instance(pub(crate) v1::Instance);

impl Instance {
    /// The instance `id` of `service`, ready for traffic.
    #[must_use]
    pub fn new(service: impl Into<String>, id: impl Into<String>) -> Self {
        Self(v1::Instance {
            service: service.into(),
            id: id.into(),
            readiness: v1::Readiness::Ready.into(),
            ..v1::Instance::default()
        })
    }

    /// Adds an endpoint of the instance; `protocol` is for example `grpc` or `http`.
    #[must_use]
    pub fn endpoint(
        mut self,
        protocol: impl Into<String>,
        host: impl Into<String>,
        port: u16,
    ) -> Self {
        self.0.endpoints.push(v1::Endpoint {
            protocol: protocol.into(),
            host: host.into(),
            port: u32::from(port),
        });
        self
    }

    /// Adds a metadata entry; replaces one with the same name.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.metadata.insert(name.into(), value.into());
        self
    }

    /// Adds a tag, which a [`Selector`] can require.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.0.tags.push(tag.into());
        self
    }

    /// Sets the zone, so that callers can prefer instances of their own zone.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.0.zone = zone.into();
        self
    }

    /// Share of the traffic relative to other instances; 100 unless set, and when zero.
    #[must_use]
    pub fn weight(mut self, weight: u16) -> Self {
        self.0.weight = u32::from(weight);
        self
    }

    /// Version of the program.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.0.version = version.into();
        self
    }

    /// Sets the initial readiness; [`Readiness::Ready`] unless set.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.0.readiness = readiness.to_message().into();
        self
    }

    /// The name of the service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// The name of the instance within its service.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> v1::Instance {
        self.0
    }
}

/// Selects instances of a service; all conditions that are set must hold. The default selects ready
/// instances.
///
/// ```
/// use tenure::Selector;
///
/// let nearby = Selector::default().zone("eu-1a").tag("canary").passing_or_all();
/// # let _ = nearby;
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector(pub(crate) v1::Selector);

impl Selector {
    /// Selects instances of every readiness.
    #[must_use]
    pub fn any() -> Self {
        let all = Readiness::ALL.into_iter();
        all.fold(Self::default(), Self::readiness)
    }

    /// Selects instances of this readiness; may be repeated. [`Readiness::Ready`] unless set.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.0.readiness.push(readiness.to_message().into());
        self
    }

    /// Selects only instances with this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.0.tags.push(tag.into());
        self
    }

    /// Selects only instances of this zone.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.0.zone = zone.into();
        self
    }

    /// Selects only instances with this metadata entry.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.metadata.insert(name.into(), value.into());
        self
    }

    /// Selects only instances of this version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.0.version = version.into();
        self
    }

    /// Selects all instances when fewer than half pass on readiness: a health check that fails
    /// everywhere at once is more likely wrong than the instances are.
    #[must_use]
    pub fn passing_or_all(mut self) -> Self {
        self.0.passing_or_all = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_ready_unless_it_says_otherwise() {
        let ready = Instance::new("s", "a");
        assert_eq!(ready.0.readiness(), v1::Readiness::Ready);
        let starting = ready.readiness(Readiness::Starting);
        assert_eq!(starting.0.readiness(), v1::Readiness::Starting);
    }

    #[test]
    fn any_selects_every_readiness_there_is() {
        let Selector(wire) = Selector::any();
        let all: Vec<_> = wire.readiness().collect();
        assert_eq!(all.len(), 4);
        assert!(
            v1::Readiness::try_from(4).is_err(),
            "a new readiness is missing above"
        );
    }
}
