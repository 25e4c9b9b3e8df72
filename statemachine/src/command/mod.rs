//! Commands: valid requests, one variant per replicated operation.
//!
//! Whatever can be refused by looking at the request alone is refused at the border, before a
//! command exists. What depends on state is refused in `apply`, as a [`crate::Refusal`].
//! A released variant never changes meaning.

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
    claim::{
        Acquire, ClaimCommand, ForceRelease, HandOver, Proclaim, Release, Transfer, Wait, Withdraw,
    },
    cluster::{AlarmChange, MemberAttributes},
    condition::{
        Conditional, FenceCommand, FencePolicy, Guard, RequestId, SessionOpen, Will, WillSet,
    },
    kv::{Compact, DeleteRange, Put, RangeQuery, SortOrder, SortTarget},
    lease::{LeaseExpire, LeaseExpiry, LeaseGrant, LeaseRenew, LeaseRevoke},
    level::{level_needed, worded_for},
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
    /// Store a value under a key.
    Put(Put),
    /// Delete the keys of a range, in one revision.
    DeleteRange(DeleteRange),
    /// Compare, then one of two lists of operations, in one revision.
    Txn(Txn),
    /// Move the floor below which history cannot be read.
    Compact(Revision),
    /// Create a lease.
    LeaseGrant(LeaseGrant),
    /// End a lease and delete its keys, in one revision.
    LeaseRevoke(LeaseId),
    /// Renew many leases: those that exist get their full TTL from the entry's time.
    LeaseRenew(Vec<LeaseId>),
    /// End those of these leases whose time has come and whose generation has not moved.
    LeaseExpire(Vec<LeaseExpiry>),
    /// Raise or clear an alarm.
    Alarm(AlarmChange),
    /// Make known what a member says of itself.
    MemberPublish(MemberAttributes),
    /// Execute a command only if guards hold, and only once.
    Conditional(Box<Conditional>),
    /// Operate on a lock or an election.
    Claim(ClaimCommand),
    /// Operate on a registration.
    Registry(RegistryCommand),
    /// Open a session.
    SessionOpen(SessionOpen),
    /// Change the fence policies.
    Fence(FenceCommand),
    /// Set or remove a last will.
    WillSet(WillSet),
    /// Do what has fallen due by the entry's time: claims whose wait is over, lock delays and
    /// drains that end, idempotency keys to forget.
    Wake,
    /// Put the rules up to this feature level in force.
    RaiseLevel(FeatureLevel),
}

/// Tag of a put.
const PUT: u8 = 1;
/// Tag of a command with conditions.
const CONDITIONAL: u8 = 11;

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
    } tag => Malformed::UnknownCommand(tag)
}

impl Command {
    /// Checks an encoding. Most are of puts, which are not taken apart for it.
    pub(crate) fn check(input: &mut Decoder<'_>) -> Result<(), Malformed> {
        if input.is_next(PUT) {
            Put::check(input)
        } else {
            Self::read(input).map(drop)
        }
    }
}

/// Whether `command` nests transactions no deeper than [`TXN_DEPTH_MAX`], and so can be decoded
/// again. The border must ask before it proposes.
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
        | Command::RaiseLevel(_) => true,
        Command::WillSet(set) => set
            .will
            .as_ref()
            .is_none_or(|will| will.txn.fits(TXN_DEPTH_MAX)),
        Command::Conditional(conditional) => {
            !matches!(conditional.command, Command::Conditional(_))
                && is_encodable(&conditional.command)
        }
    }
}
