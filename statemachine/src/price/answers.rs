//! The total size of the replies to the commands of one log entry.
//!
//! Invariant: every replica counts the same, and a command that is refused here changes nothing.

use super::budget::{claim_bytes, record_bytes};
use crate::{
    command::{ClaimCommand, Command, Txn, TxnOp},
    error::Refusal,
    feature::FeatureLevel,
    meta::Meta,
    outcome::{AcquireReply, ClaimState, Reply, TxnOpReply, TxnReply},
    value::KeyValue,
};

/// Most bytes of the replies to the commands of one log entry; once reached, the entry's other
/// commands that would read are refused. A node keeps the replies of an entry in memory at once.
pub(crate) const ENTRY_ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The size of the replies to the commands of one entry so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EntryAnswers {
    index: u64,
    /// Bytes that count against [`ENTRY_ANSWER_BYTES_MAX`].
    priced: u64,
    /// Bytes that a node has in memory. Not replicated.
    bytes: u64,
}

impl EntryAnswers {
    /// Enters the entry at `index`, which contains the next command.
    pub(crate) const fn enter(&mut self, index: u64) {
        if self.index != index {
            *self = Self {
                index,
                priced: 0,
                bytes: 0,
            };
        }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts the reply to a command.
    pub(crate) fn add(&mut self, meta: &Meta, reply: &Reply) {
        let bytes = answer_bytes(reply);
        self.bytes = self.bytes.saturating_add(bytes);
        if meta.level >= FeatureLevel::PRICED || !tells_claims(reply) {
            self.priced = self.priced.saturating_add(bytes);
        }
        debug_assert!(self.priced <= self.bytes, "what is priced is held");
    }

    /// Refuses a command that would read once the entry's replies have reached the bound.
    pub(crate) fn admit(&self, meta: &Meta, command: &Command) -> Result<(), Refusal> {
        let bounded = meta.level >= FeatureLevel::BOUNDED;
        if bounded && self.priced >= ENTRY_ANSWER_BYTES_MAX && command.may_read(meta.level) {
            Err(Refusal::EntryFull)
        } else {
            Ok(())
        }
    }
}

impl Command {
    /// Whether the reply may contain records or, from [`FeatureLevel::PRICED`] on, claims.
    #[must_use]
    pub fn may_read(&self, level: FeatureLevel) -> bool {
        match self {
            Command::Put(put) => put.want_previous,
            Command::DeleteRange(delete) => delete.want_previous,
            Command::Txn(txn) => txn_may_read(txn),
            // A repeat gets the reply of the first, which may contain records.
            Command::Conditional(conditional) => {
                conditional.request.is_some() || conditional.command.may_read(level)
            }
            Command::By(by) => by.command.may_read(level),
            Command::Claim(
                ClaimCommand::Acquire(_)
                | ClaimCommand::Transfer(_)
                | ClaimCommand::HandOver(_)
                | ClaimCommand::ForceRelease(_),
            ) => level >= FeatureLevel::PRICED,
            Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::LeaseRevoke(_)
            | Command::LeaseRenew(_)
            | Command::LeaseExpire(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_)
            | Command::Claim(
                ClaimCommand::Release(_) | ClaimCommand::Withdraw(_) | ClaimCommand::Proclaim(_),
            )
            | Command::Registry(_)
            | Command::SessionOpen(_)
            | Command::Fence(_)
            | Command::WillSet(_)
            | Command::Wake
            | Command::RaiseLevel(_)
            | Command::Auth(_) => false,
        }
    }
}

fn txn_may_read(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        TxnOp::Range(_) => true,
        TxnOp::Put(put) => put.want_previous,
        TxnOp::DeleteRange(delete) => delete.want_previous,
        TxnOp::Txn(within) => txn_may_read(within),
    })
}

/// Whether a reply is counted only from [`FeatureLevel::PRICED`] on.
const fn tells_claims(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Acquire(_) | Reply::Claim(_) | Reply::ForceRelease(_)
    )
}

/// Returns the size of the records and claims in a reply.
fn answer_bytes(reply: &Reply) -> u64 {
    match reply {
        Reply::Put(previous) => previous.as_ref().map_or(0, record_bytes),
        Reply::DeleteRange(reply) => sum(&reply.previous),
        Reply::Txn(reply) => txn_bytes(reply),
        Reply::Acquire(AcquireReply {
            claims, blocker, ..
        }) => sum_claims(claims.iter().chain(blocker)),
        Reply::Claim(claim) => claim_bytes(claim),
        Reply::ForceRelease(claims) => sum_claims(claims),
        Reply::Compact
        | Reply::LeaseGrant(..)
        | Reply::LeaseRevoke
        | Reply::LeaseRenew(_)
        | Reply::LeaseExpire(_)
        | Reply::Alarm(_)
        | Reply::MemberPublish
        | Reply::Done
        | Reply::Withdraw(_)
        | Reply::Register(..)
        | Reply::SessionOpen(..)
        | Reply::Wake(_) => 0,
    }
}

fn txn_bytes(reply: &TxnReply) -> u64 {
    let bytes = reply.replies.iter().map(|reply| match reply {
        TxnOpReply::Range(_, reply) => sum(&reply.kvs),
        TxnOpReply::Put(_, previous) => previous.as_ref().map_or(0, record_bytes),
        TxnOpReply::DeleteRange(_, reply) => sum(&reply.previous),
        TxnOpReply::Txn(_, reply) => txn_bytes(reply),
    });
    bytes.fold(0, u64::saturating_add)
}

fn sum(kvs: &[KeyValue]) -> u64 {
    kvs.iter().map(record_bytes).fold(0, u64::saturating_add)
}

fn sum_claims<'c>(claims: impl IntoIterator<Item = &'c ClaimState>) -> u64 {
    let bytes = claims.into_iter().map(claim_bytes);
    bytes.fold(0, u64::saturating_add)
}
