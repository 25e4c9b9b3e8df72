//! Commands on leases.

use crate::{
    codec,
    types::{LeaseId, Ttl},
};

/// Create a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Chosen by the client or by the node that took the request; never [`LeaseId::NONE`].
    pub id: LeaseId,
    /// Already raised to the minimum.
    pub ttl: Ttl,
}

codec::record! { LeaseGrant { id, ttl } }

/// A lease to end, as the leader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseExpiry {
    /// The lease.
    pub id: LeaseId,
    /// Its renewal generation. A renewal that got in between moves it, and wins.
    pub generation: u64,
    /// The term of the leader that saw it. Under the next leader leases first get time to renew.
    pub term: u64,
}

codec::record! { LeaseExpiry { id, generation, term } }
