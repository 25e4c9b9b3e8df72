//! Bytes to puts, deletes and transactions.

use super::{Decoder, refuse, tag};
use crate::{
    command::{
        Compare, DeleteRange, Operand, Put, RangeQuery, Relation, SortOrder, SortTarget, Txn, TxnOp,
    },
    error::Fault,
    range::{KeyRange, RangeEnd},
};

impl Decoder {
    pub(super) fn put(&mut self) -> Result<Put, Fault> {
        let flags = self.put_flags()?;
        Ok(Put {
            key: self.bytes()?,
            value: self.bytes()?,
            lease: self.lease()?,
            want_previous: flags & tag::FLAG_WANT_PREVIOUS != 0,
            ignore_value: flags & tag::FLAG_IGNORE_VALUE != 0,
            ignore_lease: flags & tag::FLAG_IGNORE_LEASE != 0,
        })
    }

    pub(super) fn put_flags(&mut self) -> Result<u8, Fault> {
        self.flags(tag::FLAG_WANT_PREVIOUS | tag::FLAG_IGNORE_VALUE | tag::FLAG_IGNORE_LEASE)
    }

    pub(super) fn delete_range(&mut self) -> Result<DeleteRange, Fault> {
        let flags = self.flags(tag::FLAG_WANT_PREVIOUS)?;
        let want_previous = flags & tag::FLAG_WANT_PREVIOUS != 0;
        Ok(DeleteRange {
            range: self.range()?,
            want_previous,
        })
    }

    pub(super) fn range(&mut self) -> Result<KeyRange, Fault> {
        let start = self.bytes()?;
        let end = match self.byte()? {
            tag::END_SINGLE => RangeEnd::Single,
            tag::END_BEFORE => RangeEnd::Before(self.bytes()?),
            tag::END_UNBOUNDED => RangeEnd::Unbounded,
            _ => return refuse("unknown range end"),
        };
        Ok(KeyRange { start, end })
    }

    pub(super) fn query(&mut self) -> Result<RangeQuery, Fault> {
        let flags = self.flags(tag::FLAG_KEYS_ONLY | tag::FLAG_COUNT_ONLY | tag::FLAG_FILTERS)?;
        let mut query = RangeQuery::latest(self.range()?);
        query.keys_only = flags & tag::FLAG_KEYS_ONLY != 0;
        query.count_only = flags & tag::FLAG_COUNT_ONLY != 0;
        query.limit = self.signed()?;
        query.revision = self.revision()?;
        query.sort_order = match self.byte()? {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            _ => return refuse("unknown sort order"),
        };
        query.sort_target = match self.byte()? {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            _ => return refuse("unknown sort target"),
        };
        if flags & tag::FLAG_FILTERS != 0 {
            query.min_mod_revision = self.revision()?;
            query.max_mod_revision = self.revision()?;
            query.min_create_revision = self.revision()?;
            query.max_create_revision = self.revision()?;
        }
        Ok(query)
    }

    /// `depth` is how many transactions may lie within each other from here on, this one included.
    pub(super) fn txn(&mut self, depth: usize) -> Result<Txn, Fault> {
        let Some(within) = depth.checked_sub(1) else {
            return refuse("nested too deep");
        };
        Ok(Txn {
            compare: self.list(Self::compare)?,
            success: self.list(|input| input.txn_op(within))?,
            failure: self.list(|input| input.txn_op(within))?,
        })
    }

    pub(super) fn txn_op(&mut self, depth: usize) -> Result<TxnOp, Fault> {
        Ok(match self.byte()? {
            tag::OP_RANGE => TxnOp::Range(self.query()?),
            tag::OP_PUT => TxnOp::Put(self.put()?),
            tag::OP_DELETE_RANGE => TxnOp::DeleteRange(self.delete_range()?),
            tag::OP_TXN => TxnOp::Txn(self.txn(depth)?),
            _ => return refuse("unknown operation"),
        })
    }

    pub(super) fn compare(&mut self) -> Result<Compare, Fault> {
        let range = self.range()?;
        let relation = match self.byte()? {
            0 => Relation::Equal,
            1 => Relation::Greater,
            2 => Relation::Less,
            3 => Relation::NotEqual,
            _ => return refuse("unknown relation"),
        };
        let operand = match self.byte()? {
            tag::OPERAND_VERSION => Operand::Version(self.signed()?),
            tag::OPERAND_CREATE => Operand::Create(self.revision()?),
            tag::OPERAND_MOD => Operand::Mod(self.revision()?),
            tag::OPERAND_VALUE => Operand::Value(self.bytes()?),
            tag::OPERAND_LEASE => Operand::Lease(self.lease()?),
            _ => return refuse("unknown operand"),
        };
        Ok(Compare {
            range,
            relation,
            operand,
        })
    }
}
