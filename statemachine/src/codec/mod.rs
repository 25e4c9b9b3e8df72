//! The bytes of commands and outcomes: what a log entry carries, what members say of themselves,
//! and what a mutation came to, for when it is repeated.
//!
//! A node encodes the commands it took as one *group*, once; an *entry* carries groups verbatim,
//! under the leader's stamp. Both open with a version byte. Numbers are little-endian base-128
//! (LEB128), signed ones zigzagged; byte strings are preceded by their length.
//!
//! Invariant: decoding inverts encoding; bytes from outside are refused, without panic and without
//! allocating more than a small multiple of their length. Tags are stored and never reused.

mod decode;
mod encode;
mod tag;

use crate::command::{Command, Txn, TxnOp};

pub use self::{
    decode::{check_entry, check_group, decode_entry, decode_group, decode_outcome},
    encode::{encode_entry, encode_group, encode_outcome, encode_repeatable_group},
};
pub(crate) use self::{
    decode::{decode_member, decode_will},
    encode::{encode_member, encode_request, encode_will},
};

/// How many transactions may lie within each other. A request can hold fewer: etcd's own decoder
/// stops at a hundred nested messages, and a transaction takes two.
pub const TXN_DEPTH_MAX: usize = 64;

/// Longest entry or group, in bytes. Far above what a proposal may hold (a few requests of 1.5 MiB
/// each), and low enough that no length computed from it overflows.
pub const ENTRY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most elements a list reserves space for before they are seen; a longer list grows as its
/// elements turn out to be there.
pub(crate) const RESERVE_MAX: usize = 256;

/// First byte of an entry.
pub(crate) const ENTRY_VERSION: u8 = 1;
/// First byte of a group.
pub(crate) const GROUP_VERSION: u8 = 1;
/// First byte of a group that may be proposed more than once.
pub(crate) const REPEATABLE_GROUP_VERSION: u8 = 2;
/// First byte of a member's attributes.
pub(crate) const MEMBER_VERSION: u8 = 1;
/// First byte of a remembered outcome.
pub(crate) const OUTCOME_VERSION: u8 = 1;
/// First byte of a will.
pub(crate) const WILL_VERSION: u8 = 1;

/// Commands of one node, in the order it took them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Names the node and its present life, as the node chose.
    pub origin: u64,
    /// Numbers the origin's groups.
    pub sequence: u64,
    /// An index that the origin had applied before it made the group, in groups that may be
    /// proposed more than once.
    pub since: Option<u64>,
    /// The commands.
    pub commands: Vec<Command>,
}

/// What one log entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The leader's stamp.
    pub now: crate::types::ClusterTime,
    /// The groups, in the order their commands apply.
    pub groups: Vec<Group>,
}

/// Whether `command` nests transactions no deeper than [`TXN_DEPTH_MAX`], and so can be decoded
/// again. The border must ask before it proposes.
#[must_use]
pub fn is_encodable(command: &Command) -> bool {
    match command {
        Command::Txn(txn) => fits(txn, TXN_DEPTH_MAX),
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
            .is_none_or(|will| fits(&will.txn, TXN_DEPTH_MAX)),
        Command::Conditional(conditional) => {
            !matches!(conditional.command, Command::Conditional(_))
                && is_encodable(&conditional.command)
        }
    }
}

fn fits(txn: &Txn, depth: usize) -> bool {
    let Some(within) = depth.checked_sub(1) else {
        return false;
    };
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        TxnOp::Txn(txn) => fits(txn, within),
        TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::DeleteRange(_) => true,
    })
}
