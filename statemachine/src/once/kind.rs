//! Which reply is to which command.

use crate::{
    command::{ClaimCommand, Command, RegistryCommand},
    outcome::Reply,
};

/// Whether `reply` is of the kind that `command` is answered with. Whoever asked takes the reply
/// apart and relies on that.
pub(super) fn answers(reply: &Reply, command: &Command) -> bool {
    match command {
        Command::Put(_) => matches!(reply, Reply::Put(_)),
        Command::DeleteRange(_) => matches!(reply, Reply::DeleteRange(_)),
        Command::Txn(_) => matches!(reply, Reply::Txn(_)),
        Command::Compact(_) => matches!(reply, Reply::Compact),
        Command::LeaseGrant(_) => matches!(reply, Reply::LeaseGrant(..)),
        Command::LeaseRevoke(_) => matches!(reply, Reply::LeaseRevoke),
        Command::LeaseRenew(_) => matches!(reply, Reply::LeaseRenew(_)),
        Command::LeaseExpire(_) => matches!(reply, Reply::LeaseExpire(_)),
        Command::Alarm(_) => matches!(reply, Reply::Alarm(_)),
        Command::MemberPublish(_) => matches!(reply, Reply::MemberPublish),
        Command::Claim(command) => answers_claim(reply, command),
        Command::Registry(RegistryCommand::Register(_)) => matches!(reply, Reply::Register(..)),
        Command::Registry(
            RegistryCommand::SetReadiness { .. }
            | RegistryCommand::Drain { .. }
            | RegistryCommand::Deregister { .. },
        )
        | Command::Fence(_)
        | Command::WillSet(_)
        | Command::RaiseLevel(_) => matches!(reply, Reply::Done),
        Command::SessionOpen(_) => matches!(reply, Reply::SessionOpen(..)),
        Command::Wake => matches!(reply, Reply::Wake(_)),
        // What is conditional is taken apart before it has a reply.
        Command::Conditional(_) => false,
    }
}

fn answers_claim(reply: &Reply, command: &ClaimCommand) -> bool {
    match command {
        ClaimCommand::Acquire(_) => matches!(reply, Reply::Acquire(_)),
        ClaimCommand::Release { .. } | ClaimCommand::Proclaim { .. } => {
            matches!(reply, Reply::Done)
        }
        ClaimCommand::Withdraw { .. } => matches!(reply, Reply::Withdraw(_)),
        ClaimCommand::Transfer { .. } | ClaimCommand::HandOver { .. } => {
            matches!(reply, Reply::Claim(_))
        }
        ClaimCommand::ForceRelease { .. } => matches!(reply, Reply::ForceRelease(_)),
    }
}
