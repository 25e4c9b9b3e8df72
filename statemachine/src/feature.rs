//! The feature level: which of the rules that later versions added are in force.
//!
//! A rule that changes what a command does, and a command that older versions cannot read, belong
//! to a level. They apply from the entry that raises the replicated level to theirs, on every
//! replica alike. Who proposes the raise, and when, is not decided here: the leader does, once it
//! knows that every member can follow.
//!
//! Invariant: the level never goes down, and a machine never holds one that it does not know.

use std::fmt;

use crate::{
    codec,
    command::{Command, RequestId},
    error::Fault,
    meta::Meta,
};

/// A feature level. Numbers are stored and never change meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeatureLevel(pub u16);

codec::newtype!(FeatureLevel);

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

    /// Refuses a level that this version does not know.
    pub(crate) fn known(self) -> Result<Self, Fault> {
        if self <= Self::NEWEST {
            Ok(self)
        } else {
            Err(Fault::TooOld {
                level: self,
                newest: Self::NEWEST,
            })
        }
    }
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The level that must be in force before `command` may be proposed: below it, some member may not
/// be able to read the command.
///
/// A raise needs none: it is proposed when every member knows the level that it names.
#[must_use]
pub fn level_needed(command: &Command) -> FeatureLevel {
    match command {
        Command::Conditional(conditional) => match &conditional.request {
            Some(RequestId::ClientKey { .. }) => FeatureLevel::BOUNDED,
            Some(RequestId::Session { .. } | RequestId::Key(_)) | None => FeatureLevel::FIRST,
        },
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact(_)
        | Command::LeaseGrant(_)
        | Command::LeaseRevoke(_)
        | Command::LeaseRenew(_)
        | Command::LeaseExpire(_)
        | Command::Alarm(_)
        | Command::MemberPublish(_)
        | Command::Claim(_)
        | Command::Registry(_)
        | Command::SessionOpen(_)
        | Command::Fence(_)
        | Command::WillSet(_)
        | Command::Wake
        | Command::RaiseLevel(_) => FeatureLevel::FIRST,
    }
}

/// The command in the words that every member understands at `level`, where it has such words.
#[must_use]
pub fn worded_for(mut command: Command, level: FeatureLevel) -> Command {
    if level < FeatureLevel::BOUNDED
        && let Command::Conditional(conditional) = &mut command
        && let Some(RequestId::ClientKey { key, .. }) = &mut conditional.request
    {
        let key = std::mem::take(key);
        conditional.request = Some(RequestId::Key(key));
    }
    command
}

/// Raises the level. One that is in force already changes nothing.
pub(crate) fn raise(meta: &mut Meta, level: FeatureLevel) -> Result<(), Fault> {
    meta.level = meta.level.max(level.known()?);
    Ok(())
}
