//! Commands: valid requests, one variant per replicated operation.
//!
//! A request that is invalid regardless of the state is refused at the border, before a command
//! exists. A request that the state forbids is refused in `apply`, as a [`crate::Refusal`]. A
//! released variant never changes meaning.

mod auth;
mod claim;
mod cluster;
mod condition;
mod kv;
mod lease;
mod level;
mod operation;
mod registry;
mod txn;

pub use self::{
    auth::{AuthChange, By, Principal, by_system},
    claim::{
        Acquire, ClaimCommand, ForceRelease, HandOver, Proclaim, Release, Transfer, Wait, Withdraw,
    },
    cluster::{AlarmChange, MemberAttributes},
    condition::{
        Conditional, FenceCommand, FencePolicy, Guard, RequestId, SessionOpen, Will, WillSet,
    },
    kv::{Compact, DeleteRange, Put, RangeQuery, SortOrder, SortTarget},
    lease::{LeaseExpire, LeaseExpiry, LeaseGrant, LeaseRenew, LeaseRevoke},
    level::{level_lowest, level_needed, worded_for},
    operation::{Operation, OtherReply},
    registry::{Deregister, Drain, Readiness, Register, RegistryCommand, SetReadiness},
    txn::{Compare, Operand, Relation, Txn, TxnOp},
};
pub(crate) use self::{condition::encode_request, operation::operation};
use crate::{
    encoding::{self, Decoder, Encoded, Malformed, TXN_DEPTH_MAX},
    feature::FeatureLevel,
    value::{LeaseId, Revision},
};

/// One replicated operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stores a value under a key.
    Put(Put),
    /// Deletes the keys of a range, in one revision.
    DeleteRange(DeleteRange),
    /// Compares, then runs one of two lists of operations, in one revision.
    Txn(Txn),
    /// Moves the floor, below which history cannot be read.
    Compact(Revision),
    /// Grants a lease.
    LeaseGrant(LeaseGrant),
    /// Revokes a lease and deletes its keys, in one revision.
    LeaseRevoke(LeaseId),
    /// Renews leases: each that exists gets its full TTL from the time of the entry.
    LeaseRenew(Vec<LeaseId>),
    /// Expires those of these leases that are due and whose generation is unchanged.
    LeaseExpire(Vec<LeaseExpiry>),
    /// Raises or clears an alarm.
    Alarm(AlarmChange),
    /// Publishes the attributes of a member.
    MemberPublish(MemberAttributes),
    /// Executes a command only if its guards hold, and only once.
    Conditional(Box<Conditional>),
    /// Operates on a lock or an election.
    Claim(ClaimCommand),
    /// Operates on a registration.
    Registry(RegistryCommand),
    /// Opens a session.
    SessionOpen(SessionOpen),
    /// Changes the fence policies.
    Fence(FenceCommand),
    /// Sets or removes a will.
    WillSet(WillSet),
    /// Runs the timers that are due at the time of the entry: claims whose wait is over, lock
    /// delays and drains that end, idempotency keys to forget.
    Wake,
    /// Puts the rules up to this feature level in force.
    RaiseLevel(FeatureLevel),
    /// Changes users, roles or permissions.
    Auth(AuthChange),
    /// Executes a command for a principal.
    By(Box<By>),
}

/// The tag of a put.
const PUT: u8 = 1;
/// The tag of a conditional command.
const CONDITIONAL: u8 = 11;
/// The tag of a command with its principal.
const BY: u8 = 31;

encoding::choice! {
    Command {
        PUT = Put(put),
        2 = DeleteRange(delete),
        3 = Txn(txn),
        4 = Compact(revision),
        5 = LeaseGrant(grant),
        6 = LeaseRevoke(id),
        7 = LeaseRenew(ids),
        8 = LeaseExpire(expiries),
        9 = Alarm(change),
        10 = MemberPublish(attributes),
        CONDITIONAL = Conditional(conditional),
        12 = Claim(command),
        13 = Registry(command),
        14 = SessionOpen(open),
        15 = Fence(command),
        16 = WillSet(set),
        17 = Wake,
        18 = RaiseLevel(level),
        30 = Auth(change),
        BY = By(by),
    } tag => Malformed::UnknownCommand(tag)
}

impl Command {
    /// Checks an encoding. Most commands are puts, which are checked without decoding them.
    pub(crate) fn check(input: &mut Decoder<'_>) -> Result<(), Malformed> {
        if input.is_next(PUT) {
            Put::check(input)
        } else if input.is_next(BY) {
            By::check(input)
        } else {
            Self::read(input).map(drop)
        }
    }
}

/// Whether `command` nests transactions at most [`TXN_DEPTH_MAX`] deep, so that it can be decoded.
/// The border must check this before it proposes the command.
#[must_use]
pub fn is_encodable(command: &Command) -> bool {
    match command {
        Command::Txn(txn) => txn.fits(TXN_DEPTH_MAX),
        Command::Put(_)
        | Command::DeleteRange(_)
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
        | Command::Wake
        | Command::RaiseLevel(_)
        | Command::Auth(_) => true,
        Command::WillSet(set) => set
            .will
            .as_ref()
            .is_none_or(|will| will.txn.fits(TXN_DEPTH_MAX)),
        Command::Conditional(conditional) => {
            let command = &conditional.command;
            !matches!(command, Command::Conditional(_) | Command::By(_)) && is_encodable(command)
        }
        Command::By(by) => !matches!(by.command, Command::By(_)) && is_encodable(&by.command),
    }
}
