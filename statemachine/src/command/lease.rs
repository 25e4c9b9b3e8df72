//! Commands on leases.

use super::{Command, operation};
use crate::{
    encoding,
    value::{LeaseId, Ttl},
};

/// Grants a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Chosen by the client or by the node that received the request; never [`LeaseId::NONE`].
    pub id: LeaseId,
    /// The time to live, already raised to the minimum.
    pub ttl: Ttl,
}

encoding::record! { LeaseGrant { id, ttl } }

// The reply is the lease and its time to live.
operation! {
    LeaseGrant: it => Command::LeaseGrant(it);
    (LeaseId, Ttl): LeaseGrant(id, ttl) => (id, ttl)
}

/// Revokes a lease and deletes its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRevoke(pub LeaseId);

operation! { LeaseRevoke: LeaseRevoke(id) => Command::LeaseRevoke(id); (): LeaseRevoke => () }

/// Renews many leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRenew(pub Vec<LeaseId>);

// The reply has a time to live per lease, in request order; `None` where the lease does not exist.
operation! {
    LeaseRenew: LeaseRenew(ids) => Command::LeaseRenew(ids);
    Vec<Option<Ttl>>: LeaseRenew(renewed) => renewed
}

/// Expires those of these leases that are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseExpire(pub Vec<LeaseExpiry>);

// The reply holds those that expired.
operation! {
    LeaseExpire: LeaseExpire(expiries) => Command::LeaseExpire(expiries);
    Vec<LeaseId>: LeaseExpire(ended) => ended
}

/// A lease to expire, as the leader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseExpiry {
    /// The lease.
    pub id: LeaseId,
    /// Its renewal generation. A concurrent renewal changes it, and takes precedence.
    pub generation: u64,
    /// The term of the leader that saw it. A new leader first gives leases time to renew.
    pub term: u64,
}

encoding::record! { LeaseExpiry { id, generation, term } }
