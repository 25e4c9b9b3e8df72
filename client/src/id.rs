//! Identifiers and revisions as types of their own, so that none is passed where another belongs.
//!
//! They carry no meaning beyond the number the server gave. Lease and member ids are written in
//! hexadecimal, as every tool that speaks etcd v3 writes them.

use std::fmt;

/// A lease, as numbered by the server or chosen by the caller. Zero means *no lease*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseId(i64);

impl LeaseId {
    /// The absence of a lease; in a grant, the request that the server chooses the id.
    pub const NONE: Self = Self(0);

    /// The number on the wire.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl From<i64> for LeaseId {
    fn from(id: i64) -> Self {
        Self(id)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A member of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

impl MemberId {
    /// The number on the wire.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for MemberId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A point in the history of the whole store. Zero means *the latest* where a request takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(i64);

impl Revision {
    /// Whatever is newest when the request is answered.
    pub const LATEST: Self = Self(0);

    /// The number on the wire.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<i64> for Revision {
    fn from(revision: i64) -> Self {
        Self(revision)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
