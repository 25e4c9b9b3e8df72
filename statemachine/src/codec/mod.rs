//! The bytes of commands: what a log entry carries, and what members say of themselves.
//!
//! A node encodes the commands it took as one *group*, once; an *entry* carries groups verbatim,
//! under the leader's stamp. Both open with a version byte. Numbers are little-endian base-128
//! (LEB128), signed ones zigzagged; byte strings are preceded by their length.
//!
//! Invariant: decoding inverts encoding; bytes from outside are refused, without panic and without
//! allocating more than a small multiple of their length. Tags are stored and never reused.

mod decode;
mod encode;

use crate::command::{Command, Txn, TxnOp};

pub(crate) use self::{decode::decode_member, encode::encode_member};
pub use self::{
    decode::{decode_entry, decode_group},
    encode::{encode_entry, encode_group},
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
/// First byte of a member's attributes.
pub(crate) const MEMBER_VERSION: u8 = 1;

/// Commands of one node, in the order it took them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Names the node and its present life, as the node chose.
    pub origin: u64,
    /// Numbers the origin's groups.
    pub sequence: u64,
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
        | Command::MemberPublish(_) => true,
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

/// Tags of [`Command`]'s variants.
pub(crate) mod tag {
    pub(crate) const PUT: u8 = 1;
    pub(crate) const DELETE_RANGE: u8 = 2;
    pub(crate) const TXN: u8 = 3;
    pub(crate) const COMPACT: u8 = 4;
    pub(crate) const LEASE_GRANT: u8 = 5;
    pub(crate) const LEASE_REVOKE: u8 = 6;
    pub(crate) const LEASE_RENEW: u8 = 7;
    pub(crate) const LEASE_EXPIRE: u8 = 8;
    pub(crate) const ALARM: u8 = 9;
    pub(crate) const MEMBER_PUBLISH: u8 = 10;

    pub(crate) const OP_RANGE: u8 = 1;
    pub(crate) const OP_PUT: u8 = 2;
    pub(crate) const OP_DELETE_RANGE: u8 = 3;
    pub(crate) const OP_TXN: u8 = 4;

    pub(crate) const END_SINGLE: u8 = 0;
    pub(crate) const END_BEFORE: u8 = 1;
    pub(crate) const END_UNBOUNDED: u8 = 2;

    pub(crate) const OPERAND_VERSION: u8 = 1;
    pub(crate) const OPERAND_CREATE: u8 = 2;
    pub(crate) const OPERAND_MOD: u8 = 3;
    pub(crate) const OPERAND_VALUE: u8 = 4;
    pub(crate) const OPERAND_LEASE: u8 = 5;

    pub(crate) const FLAG_WANT_PREVIOUS: u8 = 1;
    pub(crate) const FLAG_IGNORE_VALUE: u8 = 2;
    pub(crate) const FLAG_IGNORE_LEASE: u8 = 4;

    pub(crate) const FLAG_KEYS_ONLY: u8 = 1;
    pub(crate) const FLAG_COUNT_ONLY: u8 = 2;
    pub(crate) const FLAG_FILTERS: u8 = 4;

    pub(crate) const ALARM_ANY: u8 = 0;
    pub(crate) const ALARM_NO_SPACE: u8 = 1;
    pub(crate) const ALARM_CORRUPT: u8 = 2;
}
