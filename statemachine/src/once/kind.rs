//! The kind of reply to each command that is remembered.

use crate::{
    command::{
        Acquire, AlarmChange, AuthChange, ClaimCommand, Command, Compact, DeleteRange, Deregister,
        Drain, FenceCommand, ForceRelease, HandOver, LeaseExpire, LeaseGrant, LeaseRenew,
        LeaseRevoke, MemberAttributes, Operation, Proclaim, Put, Register, RegistryCommand,
        Release, SessionOpen, SetReadiness, Transfer, Txn, WillSet, Withdraw,
    },
    outcome::Reply,
};

/// Whether `reply` is of the kind that `command` gets.
pub(super) fn answers(reply: &Reply, command: &Command) -> bool {
    match command {
        Command::Put(_) => Put::is_answered_by(reply),
        Command::DeleteRange(_) => DeleteRange::is_answered_by(reply),
        Command::Txn(_) => Txn::is_answered_by(reply),
        Command::Compact(_) => Compact::is_answered_by(reply),
        Command::LeaseGrant(_) => LeaseGrant::is_answered_by(reply),
        Command::LeaseRevoke(_) => LeaseRevoke::is_answered_by(reply),
        Command::LeaseRenew(_) => LeaseRenew::is_answered_by(reply),
        Command::LeaseExpire(_) => LeaseExpire::is_answered_by(reply),
        Command::Alarm(_) => AlarmChange::is_answered_by(reply),
        Command::MemberPublish(_) => MemberAttributes::is_answered_by(reply),
        Command::Claim(command) => match command {
            ClaimCommand::Acquire(_) => Acquire::is_answered_by(reply),
            ClaimCommand::Release(_) => Release::is_answered_by(reply),
            ClaimCommand::Withdraw(_) => Withdraw::is_answered_by(reply),
            ClaimCommand::Transfer(_) => Transfer::is_answered_by(reply),
            ClaimCommand::HandOver(_) => HandOver::is_answered_by(reply),
            ClaimCommand::Proclaim(_) => Proclaim::is_answered_by(reply),
            ClaimCommand::ForceRelease(_) => ForceRelease::is_answered_by(reply),
        },
        Command::Registry(command) => match command {
            RegistryCommand::Register(_) => Register::is_answered_by(reply),
            RegistryCommand::SetReadiness(_) => SetReadiness::is_answered_by(reply),
            RegistryCommand::Drain(_) => Drain::is_answered_by(reply),
            RegistryCommand::Deregister(_) => Deregister::is_answered_by(reply),
        },
        Command::SessionOpen(_) => SessionOpen::is_answered_by(reply),
        Command::Fence(_) => FenceCommand::is_answered_by(reply),
        Command::WillSet(_) => WillSet::is_answered_by(reply),
        Command::Wake => matches!(reply, Reply::Wake(_)),
        Command::RaiseLevel(_) => matches!(reply, Reply::Done),
        Command::Auth(_) => AuthChange::is_answered_by(reply),
        // Conditions and principals are removed before a command gets a reply.
        Command::Conditional(_) | Command::By(_) => false,
    }
}
