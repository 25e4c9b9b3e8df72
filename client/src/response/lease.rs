//! Responses about leases.

use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "wire")]
use tenure_proto::etcdserverpb::LeaseStatus;
use tenure_proto::etcdserverpb::{
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseTimeToLiveResponse,
};

use super::{Header, List, impl_header};
use crate::id::LeaseId;

/// Converts a TTL of a message: whole seconds, negative for a lease that does not exist.
fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

/// A lease as a grant or a renewal left it. Made by [`Leases::grant`](crate::Leases::grant) and
/// [`Leases::keep_alive_once`](crate::Leases::keep_alive_once). It expires unless it is renewed:
/// dropping this does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    header: Option<Header>,
    id: LeaseId,
    /// Whole seconds, as on the wire; zero or less when the lease does not exist.
    ttl_seconds: i64,
}

impl Lease {
    pub(crate) fn granted(message: LeaseGrantResponse) -> Self {
        Self {
            header: Header::of(message.header),
            id: LeaseId::new(message.id),
            ttl_seconds: message.ttl,
        }
    }

    pub(crate) fn renewed(message: LeaseKeepAliveResponse) -> Self {
        Self {
            header: Header::of(message.header),
            id: LeaseId::new(message.id),
            ttl_seconds: message.ttl,
        }
    }

    /// The id under which keys are attached and the lease is renewed.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The TTL in effect from this grant or renewal on, in whole seconds, rounded up. It is greater
    /// than the requested TTL when that was below the server's minimum.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        seconds(self.ttl_seconds)
    }

    /// Converts into the generated message of a grant.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> LeaseGrantResponse {
        LeaseGrantResponse {
            header: self.header.map(Header::into_wire),
            id: self.id.get(),
            ttl: self.ttl_seconds,
            error: String::new(),
        }
    }
}

/// The remaining time of a lease. Made by [`Leases::time_to_live`](crate::Leases::time_to_live).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTimeToLive(LeaseTimeToLiveResponse);

impl LeaseTimeToLive {
    pub(crate) fn of(message: LeaseTimeToLiveResponse) -> Self {
        Self(message)
    }

    /// The id of the lease.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        LeaseId::new(self.0.id)
    }

    /// The remaining time unless the lease is renewed, in whole seconds; `None` when the lease does
    /// not exist.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        (self.0.ttl >= 0).then(|| seconds(self.0.ttl))
    }

    /// The TTL of the grant, in whole seconds; zero when the lease does not exist.
    #[must_use]
    pub fn granted_ttl(&self) -> Duration {
        seconds(self.0.granted_ttl)
    }

    /// The keys attached to the lease, if requested by
    /// [`TimeToLive::keys`](crate::TimeToLive::keys).
    #[must_use]
    pub fn keys(&self) -> &[Bytes] {
        &self.0.keys
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> LeaseTimeToLiveResponse {
        self.0
    }
}

impl List<LeaseId> {
    pub(crate) fn leases(message: LeaseLeasesResponse) -> Self {
        let ids = message.leases.iter().map(|lease| LeaseId::new(lease.id));
        Self::of(Header::of(message.header), ids.collect())
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> LeaseLeasesResponse {
        let (header, leases) =
            self.into_messages(Header::into_wire, |id| LeaseStatus { id: id.get() });
        LeaseLeasesResponse { header, leases }
    }
}

impl_header!(Lease);
impl_header!(in message: LeaseTimeToLive);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_does_not_exist_has_no_time_left_and_one_about_to_end_has() {
        let of = |ttl| {
            LeaseTimeToLive::of(LeaseTimeToLiveResponse {
                ttl,
                ..LeaseTimeToLiveResponse::default()
            })
        };
        assert_eq!(of(-1).remaining(), None);
        assert_eq!(of(0).remaining(), Some(Duration::ZERO));
        assert_eq!(of(7).remaining(), Some(Duration::from_secs(7)));
    }
}
