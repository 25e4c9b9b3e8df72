//! Commands on leases.

use super::{Command, operation};
use crate::{
    encoding,
    value::{LeaseId, Ttl},
};

/// Create a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Chosen by the client or by the node that took the request; never [`LeaseId::NONE`].
    pub id: LeaseId,
    /// Already raised to the minimum.
    pub ttl: Ttl,
}

encoding::record! { LeaseGrant { id, ttl } }

// Answered with the lease and its time to live.
operation! {
    LeaseGrant: it => Command::LeaseGrant(it);
    (LeaseId, Ttl): LeaseGrant(id, ttl) => (id, ttl)
}

/// End a lease and delete its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRevoke(pub LeaseId);

operation! { LeaseRevoke: LeaseRevoke(id) => Command::LeaseRevoke(id); (): LeaseRevoke => () }

/// Renew many leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRenew(pub Vec<LeaseId>);

// Answered in the order asked; `None` where there is no such lease.
operation! {
    LeaseRenew: LeaseRenew(ids) => Command::LeaseRenew(ids);
    Vec<Option<Ttl>>: LeaseRenew(renewed) => renewed
}

/// End those of these leases whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseExpire(pub Vec<LeaseExpiry>);

// Answered with those that ended.
operation! {
    LeaseExpire: LeaseExpire(expiries) => Command::LeaseExpire(expiries);
    Vec<LeaseId>: LeaseExpire(ended) => ended
}

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

encoding::record! { LeaseExpiry { id, generation, term } }
