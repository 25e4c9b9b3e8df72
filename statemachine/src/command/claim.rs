//! Commands on locks and elections. Both are queues of claims on a name.

use bytes::Bytes;

use crate::{
    codec,
    types::{LeaseId, Revision, Ttl},
};

/// How much of a lock a claim asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Alone.
    #[default]
    Exclusive,
    /// Together with other shared claims.
    Shared,
    /// So many of the lock's permits.
    Permits {
        /// How many; from 1 to `limit`.
        count: u32,
        /// How many there are in all.
        limit: u32,
    },
}

codec::choice! {
    Mode { 0 = Exclusive, 1 = Shared, 2 = Permits { count, limit } } "unknown mode"
}

/// What a claim does when it cannot be granted at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: no claim is made.
    Never,
    /// Waits until so much cluster time has passed.
    Within(Ttl),
    /// Waits for as long as its lease lives.
    #[default]
    Always,
}

codec::choice! {
    Wait { 0 = Never, 1 = Within(ttl), 2 = Always } "unknown wait"
}

/// Claim one name, or several: all are granted together, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acquire {
    /// Sorted, without repetition, none empty; never empty itself.
    pub names: Vec<Bytes>,
    /// How much of each.
    pub mode: Mode,
    /// The lease to claim with; never [`LeaseId::NONE`].
    pub lease: LeaseId,
    /// Make the lease first, with this time to live; refused when it exists.
    pub grant: Option<Ttl>,
    /// What to do when the claim cannot be granted at once.
    pub wait: Wait,
    /// For how long nobody is granted the lock after this claim was lost while it held.
    pub lock_delay: Ttl,
    /// What whoever claims says of itself.
    pub principal: String,
    /// The value of the claim's key.
    pub value: Bytes,
    /// A claim that the lease has on the name already is the answer, its value replaced by this
    /// one's if that differs (as etcd's campaign does). Otherwise a second claim is refused.
    pub rejoin: bool,
    /// Drawn at random by the node that took the call, to take back what the call made and nothing
    /// else; zero for a request with an id, which is never taken back so.
    pub call: u64,
}

codec::record! {
    Acquire { names, mode, lease, grant, wait, lock_delay, principal, value, rejoin, call }
}

/// One operation on a queue of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimCommand {
    /// Claim.
    Acquire(Acquire),
    /// Give back what `token` holds.
    Release {
        /// The name.
        name: Bytes,
        /// Must hold.
        token: Revision,
    },
    /// Take the claim of a lease out of the queue, whether it waits or holds.
    Withdraw {
        /// The name.
        name: Bytes,
        /// Whose claim.
        lease: LeaseId,
        /// Only if it is that call's to take back; zero for whosever it is.
        call: u64,
    },
    /// Hand what `token` holds to another lease, under a greater token.
    Transfer {
        /// The name.
        name: Bytes,
        /// Must hold.
        token: Revision,
        /// Who holds it then; has no claim on the name yet.
        to: LeaseId,
        /// What the new holder says of itself.
        principal: String,
    },
    /// End what `token` holds in favour of a claim that waits.
    HandOver {
        /// The name.
        name: Bytes,
        /// Must hold.
        token: Revision,
        /// Whose claim is granted.
        to: LeaseId,
    },
    /// Replace the value of the claim that `token` holds.
    Proclaim {
        /// The name.
        name: Bytes,
        /// Must hold.
        token: Revision,
        /// The value.
        value: Bytes,
    },
    /// End claims that are not the caller's.
    ForceRelease {
        /// The name.
        name: Bytes,
        /// Which claim; zero means every claim that holds.
        token: Revision,
        /// Why, for the audit log of every member.
        why: String,
    },
}

codec::choice! {
    ClaimCommand {
        1 = Acquire(acquire),
        2 = Release { name, token },
        3 = Withdraw { name, lease, call },
        4 = Transfer { name, token, to, principal },
        5 = HandOver { name, token, to },
        6 = Proclaim { name, token, value },
        7 = ForceRelease { name, token, why },
    } "unknown operation on a claim"
}
