//! Newtypes for the numbers of the service, and the record of a key. No function of this crate
//! takes two bare integers.

use std::fmt;

use bytes::Bytes;

use crate::encoding;

/// A point in the history of the key space; one per successful write, 1 before the first.
///
/// Signed because etcd's wire is; never negative inside the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

encoding::newtype!(Revision);

impl Revision {
    /// The revision of a key space without any write.
    pub const EMPTY: Self = Self(1);

    /// Returns the revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the changes of users, roles and permissions, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthRevision(pub u64);

encoding::newtype!(AuthRevision);

impl AuthRevision {
    /// The revision before the first change.
    pub const FIRST: Self = Self(1);

    /// Returns the revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Default for AuthRevision {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for AuthRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies a lease. Zero, [`LeaseId::NONE`], is "no lease".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

encoding::newtype!(LeaseId);

impl LeaseId {
    /// The id that stands for "no lease".
    pub const NONE: Self = Self(0);

    /// Whether this is a lease, not [`LeaseId::NONE`].
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for LeaseId {
    /// Sixteen hexadecimal digits, as the command line prints lease ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Milliseconds of cluster time: the greatest stamp of leaders on entries, which never decreases.
///
/// Not wall-clock time. Only differences are meaningful.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterTime(pub u64);

encoding::newtype!(ClusterTime);

impl ClusterTime {
    /// Returns this time plus `ttl`.
    #[must_use]
    pub const fn after(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_add(ttl.0))
    }

    /// Returns the milliseconds from this time until `later`, or zero if it has passed.
    #[must_use]
    pub const fn until(self, later: Self) -> Ttl {
        Ttl(later.0.saturating_sub(self.0))
    }
}

/// A time to live, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(pub u64);

encoding::newtype!(Ttl);

impl Ttl {
    /// Creates a time to live of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Returns whole seconds, rounded up.
    #[must_use]
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// Returns whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

/// Identifies a member of the quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

encoding::newtype!(MemberId);

impl MemberId {
    /// No member: the id of an alarm that cannot tell which members are wrong.
    pub const UNNAMED: Self = Self(0);
}

impl fmt::Display for MemberId {
    /// Hexadecimal without leading zeros, as etcd's tools print member ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// The record of a key at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Revision in which the key's present life began; zero in a delete event.
    pub create_revision: Revision,
    /// Revision of this record.
    pub mod_revision: Revision,
    /// Number of puts in the present life of the key, from 1; zero in a delete event.
    pub version: i64,
    /// The value.
    pub value: Bytes,
    /// The lease that deletes the key when it ends.
    pub lease: LeaseId,
}

encoding::record! {
    KeyValue { key, create_revision, mod_revision, version, value, lease }
}
