//! Commands and feature levels: from which level on a command may be proposed, and in which form.

use super::{Command, RequestId};
use crate::feature::FeatureLevel;

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
