//! Responses about leases.

use std::time::Duration;

use bytes::Bytes;
use tenure_proto::etcdserverpb::{
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseTimeToLiveResponse,
};

use super::headed;
use crate::id::LeaseId;

/// A TTL as it travels: whole seconds, below zero for a lease that does not exist.
fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

/// Declares a response that wraps a message with the id and the TTL of a lease.
macro_rules! lease_term {
    (
        $(#[doc = $doc:literal])+
        $response:ident($message:ident),
        $(#[doc = $ttl:literal])+
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $response($message);

        impl $response {
            pub(crate) fn of(message: $message) -> Self {
                Self(message)
            }

            /// The lease.
            #[must_use]
            pub fn id(&self) -> LeaseId {
                LeaseId::new(self.0.id)
            }

            $(#[doc = $ttl])+
            #[must_use]
            pub fn ttl(&self) -> Duration {
                seconds(self.0.ttl)
            }

            /// The message of the wire.
            #[cfg(feature = "wire")]
            #[must_use]
            pub fn into_wire(self) -> $message {
                self.0
            }
        }
    };
}

lease_term! {
    /// A lease that was granted. Made by [`Leases::grant`](crate::Leases::grant). It
    /// expires unless it is renewed: dropping this does nothing.
    Lease(LeaseGrantResponse),
    /// The TTL in effect, in whole seconds: the server raises one that is too short.
}

lease_term! {
    /// A lease that was renewed.
    LeaseRenewal(LeaseKeepAliveResponse),
    /// The TTL that the lease has from this renewal, in whole seconds, rounded up.
}

impl Copy for LeaseRenewal {}

impl LeaseRenewal {
    /// For a lease that was adopted and is not renewed yet.
    pub(crate) fn none() -> Self {
        Self(LeaseKeepAliveResponse::default())
    }
}

/// How long a lease has left. Made by
/// [`Leases::time_to_live`](crate::Leases::time_to_live).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTimeToLive(LeaseTimeToLiveResponse);

impl LeaseTimeToLive {
    pub(crate) fn of(message: LeaseTimeToLiveResponse) -> Self {
        Self(message)
    }

    /// The lease.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        LeaseId::new(self.0.id)
    }

    /// The time that is left unless the lease is renewed, in whole seconds; nothing when there is
    /// no such lease.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        (self.0.ttl >= 0).then(|| seconds(self.0.ttl))
    }

    /// The TTL that the lease was granted with, in whole seconds; zero when there is no such
    /// lease.
    #[must_use]
    pub fn granted_ttl(&self) -> Duration {
        seconds(self.0.granted_ttl)
    }

    /// The keys attached to the lease, if they were asked for.
    #[must_use]
    pub fn keys(&self) -> &[Bytes] {
        &self.0.keys
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> LeaseTimeToLiveResponse {
        self.0
    }
}

/// All leases. Made by [`Leases::list`](crate::Leases::list).
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseList(LeaseLeasesResponse);

impl LeaseList {
    pub(crate) fn of(message: LeaseLeasesResponse) -> Self {
        Self(message)
    }

    /// The leases, by id.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = LeaseId> {
        self.0.leases.iter().map(|lease| LeaseId::new(lease.id))
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> LeaseLeasesResponse {
        self.0
    }
}

headed!(in message: Lease, LeaseRenewal, LeaseTimeToLive, LeaseList);

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
