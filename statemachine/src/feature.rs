//! The feature level: which of the rules that later versions added are in force.
//!
//! A rule that changes what a command does, and a command that older versions cannot read, belong
//! to a level. They apply from the entry that raises the replicated level to theirs, on every
//! replica alike. Who proposes the raise, and when, is not decided here: the leader does, once it
//! knows that every member can follow.
//!
//! Invariant: the level never goes down, and a machine never holds one that it does not know.

use std::fmt;

use crate::encoding;

/// A feature level. Numbers are stored and never change meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeatureLevel(pub u16);

encoding::newtype!(FeatureLevel);

impl FeatureLevel {
    /// The rules of the versions before there were levels.
    pub const FIRST: Self = Self(0);
    /// Transactions have budgets for rows and for the bytes of their answers; of idempotency keys
    /// the oldest give way.
    pub const BOUNDED: Self = Self(1);
    /// Groups of commands say when they were made, and take effect once however often they are
    /// proposed.
    pub const REPEATABLE_GROUPS: Self = Self(2);
    /// Whatever a command walks, keeps or is answered with is paid for: queues of claims, the ends
    /// of leases, their wills, and ranges over what was deleted.
    pub const PRICED: Self = Self(3);
    /// The highest level that this version knows.
    pub const NEWEST: Self = Self::PRICED;
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
