//! What a command may carry beside itself: guards, and a name by which a repeat is known.

use bytes::Bytes;

use super::{Command, Txn};
use crate::types::{LeaseId, Revision};

/// Holds while `name`, a lock or an election, is held under `token`; or while `name` is a key that
/// was created in revision `token`. If that key is itself a claim, it must hold; if it is none,
/// nobody may claim a lock or an election of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The name.
    pub name: Bytes,
    /// The token.
    pub token: Revision,
}

/// Names a mutation so that a repeat of it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// The mutation of a session.
    Session {
        /// The session, which is a lease.
        session: LeaseId,
        /// Counts the session's mutations, from 1.
        sequence: u64,
        /// Everything up to here was answered and is forgotten.
        answered: u64,
    },
    /// Any other string.
    Key(Bytes),
    /// Any other string, and who sent it. From [`crate::FeatureLevel::BOUNDED`] on.
    ClientKey {
        /// Tells clients apart, so that each has its share of what is remembered; not part of the
        /// name.
        client: u64,
        /// The string.
        key: Bytes,
    },
}

/// A command that is executed only if its guards hold, and only once under its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditional {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// When this id was seen before, the first outcome is the answer.
    pub request: Option<RequestId>,
    /// Never itself conditional.
    pub command: Command,
}

/// Open a session on a lease of its own, or say that one is open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOpen {
    /// The lease; never [`LeaseId::NONE`]. With `grant` a node chose it, and never chose it for
    /// another session.
    pub lease: LeaseId,
    /// Make the lease, with this time to live; refused when it exists. Without it the lease must
    /// have a session.
    pub grant: Option<crate::types::Ttl>,
}

/// Writes below a prefix need a live guard of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FencePolicy {
    /// Applies to every key that begins with this; never empty.
    pub prefix: Bytes,
    /// The name of the lock or election.
    pub lock: Bytes,
}

/// A change to the fence policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceCommand {
    /// Set the policy of a prefix.
    Set(FencePolicy),
    /// Remove the policy of a prefix.
    Remove(Bytes),
}

/// What is to happen when a lease expires, or when a claim of it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillSet {
    /// The lease.
    pub lease: LeaseId,
    /// If given: the name that the lease claims; the will runs when that claim is lost.
    pub lock: Option<Bytes>,
    /// The will; `None` removes it.
    pub will: Option<Will>,
}

/// A transaction that runs later, unless a guard does not hold then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// All must hold when it runs.
    pub guards: Vec<Guard>,
    /// What runs.
    pub txn: Txn,
}
