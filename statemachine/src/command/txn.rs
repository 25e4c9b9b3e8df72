//! Transactions: compare, then run one of two lists of operations.

use bytes::Bytes;

use super::{Command, DeleteRange, Put, RangeQuery, operation};
use crate::{
    encoding::{self, Decoder, Encoded, Encoder, Malformed},
    outcome::TxnReply,
    value::{KeyRange, LeaseId, Revision},
};

/// Compares, then runs one of two lists of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold for `success` to be chosen.
    pub compare: Vec<Compare>,
    /// Operations to run if every comparison holds.
    pub success: Vec<TxnOp>,
    /// Operations to run otherwise.
    pub failure: Vec<TxnOp>,
}

operation! { Txn: it => Command::Txn(it); TxnReply: Txn(reply) => reply }

impl Encoded for Txn {
    fn write(&self, out: &mut Encoder) {
        out.value(&self.compare);
        out.value(&self.success);
        out.value(&self.failure);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.nested(|input| {
            Ok(Self {
                compare: input.value()?,
                success: input.value()?,
                failure: input.value()?,
            })
        })
    }
}

impl Txn {
    /// Whether any list, nested transactions included, stores a value.
    #[must_use]
    pub fn contains_put(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match op {
            TxnOp::Put(_) => true,
            TxnOp::Txn(within) => within.contains_put(),
            TxnOp::Range(_) | TxnOp::DeleteRange(_) => false,
        })
    }

    /// Whether both lists only read. A nested transaction counts as a write, as in etcd.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Put(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) => false,
        })
    }

    /// Whether transactions are nested at most `depth` deep, this one included.
    pub(super) fn fits(&self, depth: usize) -> bool {
        let Some(within) = depth.checked_sub(1) else {
            return false;
        };
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Txn(txn) => txn.fits(within),
            TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::DeleteRange(_) => true,
        })
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOp {
    /// Reads.
    Range(RangeQuery),
    /// Writes.
    Put(Put),
    /// Deletes.
    DeleteRange(DeleteRange),
    /// A nested transaction; its comparisons are evaluated with all others, on the state before.
    Txn(Txn),
}

encoding::choice! {
    TxnOp { 1 = Range(query), 2 = Put(put), 3 = DeleteRange(delete), 4 = Txn(txn) }
    "unknown operation"
}

/// One comparison of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key or range. For a range, every key in it must satisfy the comparison.
    pub range: KeyRange,
    /// The relation of the present value to the operand.
    pub relation: Relation,
    /// The field to compare, and the value to compare it with.
    pub operand: Operand,
}

encoding::record! { Compare { range, relation, operand } }

/// How a present value must relate to the operand of a [`Compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `present == operand`
    Equal,
    /// `present > operand`
    Greater,
    /// `present < operand`
    Less,
    /// `present != operand`
    NotEqual,
}

encoding::choice! {
    Relation { 0 = Equal, 1 = Greater, 2 = Less, 3 = NotEqual } "unknown relation"
}

/// The field that a [`Compare`] looks at, and the value to compare it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The version of the key; zero when it does not exist.
    Version(i64),
    /// The create revision; zero when the key does not exist.
    Create(Revision),
    /// The mod revision; zero when the key does not exist.
    Mod(Revision),
    /// The value. Never satisfied by a key that does not exist.
    Value(Bytes),
    /// The lease; zero when there is none, or no key.
    Lease(LeaseId),
}

encoding::choice! {
    Operand { 1 = Version(version), 2 = Create(revision), 3 = Mod(revision), 4 = Value(value),
        5 = Lease(lease) } "unknown operand"
}
