//! The first check of a command that is applied: whose it is, and whether it may be theirs still.
//!
//! Permissions were checked by the node that received the command, at an auth revision. They are a
//! function of that revision, so the verdict holds exactly as long as the revision does. Invariant:
//! while authentication is enabled, a client's command is applied at the revision at which it was
//! checked, or refused.

use super::{PermissionCache, rows::AuthState};
use crate::{
    command::{Command, Principal},
    error::Refusal,
    feature::FeatureLevel,
    meta::Meta,
};

/// Whose command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller<'a> {
    /// A client's without a user, while authentication is disabled; or one that only members make.
    Unnamed,
    /// A member's.
    System,
    /// A user's.
    User(&'a str),
}

/// Who makes a command, and what decides what it may do.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    /// The state of authentication, with the pending writes.
    pub(crate) state: &'a mut AuthState,
    /// The permissions of users.
    pub(crate) cache: &'a mut PermissionCache,
    /// Who makes the command.
    pub(crate) caller: Caller<'a>,
}

impl Gate<'_> {
    /// Returns the user whose permissions the command is bound by.
    pub(crate) const fn user(&self) -> Option<&str> {
        match self.caller {
            Caller::User(name) if self.state.enabled => Some(name),
            Caller::User(_) | Caller::System | Caller::Unnamed => None,
        }
    }
}

impl AuthState {
    /// Returns who makes a command, and the command without its principal.
    pub(crate) fn admit<'c>(
        &self,
        meta: &Meta,
        command: &'c Command,
    ) -> Result<(Caller<'c>, &'c Command), Refusal> {
        let Command::By(by) = command else {
            return if self.enabled && !is_of_members(command) {
                Err(Refusal::UserEmpty)
            } else {
                Ok((Caller::Unnamed, command))
            };
        };
        let needed = FeatureLevel::AUTHENTICATED;
        if meta.level < needed {
            return Err(Refusal::LevelTooLow { needed });
        }
        let caller = match &by.principal {
            Principal::System => Caller::System,
            Principal::User {
                name,
                auth_revision,
            } => {
                if self.enabled && *auth_revision != self.revision {
                    return Err(Refusal::AuthOldRevision);
                }
                Caller::User(name)
            }
        };
        Ok((caller, &by.command))
    }
}

/// Whether no client can make such a command. Others that members make name the system.
const fn is_of_members(command: &Command) -> bool {
    match command {
        Command::LeaseExpire(_)
        | Command::MemberPublish(_)
        | Command::Wake
        | Command::RaiseLevel(_) => true,
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact(_)
        | Command::LeaseGrant(_)
        | Command::LeaseRevoke(_)
        | Command::LeaseRenew(_)
        | Command::Alarm(_)
        | Command::Conditional(_)
        | Command::Claim(_)
        | Command::Registry(_)
        | Command::SessionOpen(_)
        | Command::Fence(_)
        | Command::WillSet(_)
        | Command::Auth(_)
        | Command::By(_) => false,
    }
}
