//! The feature level: which rules of later versions are in force.
//!
//! A rule that changes the effect of a command, and a command that older versions cannot read,
//! belong to a level. They apply from the entry that raises the replicated level to theirs, on
//! every replica alike. When to propose the raise is not decided here: the leader proposes it once
//! it knows that every member supports the level.
//!
//! Invariant: the level never decreases, and a machine never has a level that it does not know.

use std::fmt;

use crate::encoding;

/// A feature level. Numbers are stored and never change meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeatureLevel(pub u16);

encoding::newtype!(FeatureLevel);

impl FeatureLevel {
    /// The rules of the versions before feature levels.
    pub const FIRST: Self = Self(0);
    /// Transactions have budgets for rows and for the bytes of their replies; each client has a
    /// share of the remembered idempotency keys.
    pub const BOUNDED: Self = Self(1);
    /// Groups of commands name an index applied before they were made, and take effect once,
    /// however often they are proposed.
    pub const REPEATABLE_GROUPS: Self = Self(2);
    /// Every walk, stored item and reply has a cost and a bound: queues of claims, the ends of
    /// leases, wills, and ranges over deleted keys.
    pub const PRICED: Self = Self(3);
    /// The membership changes. The state machine does the same as before; members below this level
    /// would refuse those that are added.
    pub const RECONFIGURABLE: Self = Self(4);
    /// Alarms are cleared one by one, and a `Corrupt` alarm that names a member stops neither the
    /// ends of leases nor what falls due.
    pub const ALARMED: Self = Self(5);
    /// Users, roles and permissions: commands name the user that they are of.
    pub const AUTHENTICATED: Self = Self(6);
    /// The highest level that this version knows.
    pub const NEWEST: Self = Self::AUTHENTICATED;
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
