//! Feature levels of commands: the level that a command needs, and its form below that level.

use super::{Command, RequestId};
use crate::feature::FeatureLevel;

/// Returns the level that must be in force before `command` may be proposed: below it, some member
/// may be unable to decode the command.
///
/// Raising the level needs no level: it is proposed once every member knows the new level.
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
        Command::Auth(_) => FeatureLevel::AUTHENTICATED,
        Command::By(by) => level_needed(&by.command).max(FeatureLevel::AUTHENTICATED),
    }
}

/// Returns the lowest level at which `command` has a form that every member can decode: the one
/// from which [`worded_for`] finds it.
#[must_use]
pub fn level_lowest(command: &Command) -> FeatureLevel {
    if let Command::By(by) = command {
        level_lowest(&by.command)
    } else if matches!(command, Command::Conditional(_)) {
        FeatureLevel::FIRST
    } else {
        level_needed(command)
    }
}

/// Returns the command in a form that every member can decode at `level`, if it has one. Below
/// [`FeatureLevel::AUTHENTICATED`] there are no users, and no command has a principal.
#[must_use]
pub fn worded_for(mut command: Command, level: FeatureLevel) -> Command {
    if level < FeatureLevel::AUTHENTICATED
        && let Command::By(by) = command
    {
        command = by.command;
    }
    if level < FeatureLevel::BOUNDED
        && let Command::Conditional(conditional) = &mut command
        && let Some(RequestId::ClientKey { key, .. }) = &mut conditional.request
    {
        let key = std::mem::take(key);
        conditional.request = Some(RequestId::Key(key));
    }
    command
}
