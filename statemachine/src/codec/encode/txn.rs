//! Puts, deletes and transactions to bytes.

use super::{Encoder, flags, tag};
use crate::{
    command::{
        Compare, DeleteRange, Operand, Put, RangeQuery, Relation, SortOrder, SortTarget, Txn, TxnOp,
    },
    range::{KeyRange, RangeEnd},
    types::Revision,
};

impl Encoder {
    pub(super) fn put(&mut self, put: &Put) {
        self.byte(flags(&[
            (put.want_previous, tag::FLAG_WANT_PREVIOUS),
            (put.ignore_value, tag::FLAG_IGNORE_VALUE),
            (put.ignore_lease, tag::FLAG_IGNORE_LEASE),
        ]));
        self.bytes(&put.key);
        self.bytes(&put.value);
        self.signed(put.lease.0);
    }

    pub(super) fn delete_range(&mut self, delete: &DeleteRange) {
        self.byte(flags(&[(delete.want_previous, tag::FLAG_WANT_PREVIOUS)]));
        self.range(&delete.range);
    }

    pub(super) fn range(&mut self, range: &KeyRange) {
        self.bytes(&range.start);
        match &range.end {
            RangeEnd::Single => self.byte(tag::END_SINGLE),
            RangeEnd::Before(end) => {
                self.byte(tag::END_BEFORE);
                self.bytes(end);
            }
            RangeEnd::Unbounded => self.byte(tag::END_UNBOUNDED),
        }
    }

    pub(super) fn query(&mut self, query: &RangeQuery) {
        let filters = [
            query.min_mod_revision,
            query.max_mod_revision,
            query.min_create_revision,
            query.max_create_revision,
        ];
        let has_filters = filters != [Revision(0); 4];
        self.byte(flags(&[
            (query.keys_only, tag::FLAG_KEYS_ONLY),
            (query.count_only, tag::FLAG_COUNT_ONLY),
            (has_filters, tag::FLAG_FILTERS),
        ]));
        self.range(&query.range);
        self.signed(query.limit);
        self.revision(query.revision);
        self.byte(match query.sort_order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        });
        self.byte(match query.sort_target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        });
        if has_filters {
            for filter in filters {
                self.revision(filter);
            }
        }
    }

    pub(super) fn txn(&mut self, txn: &Txn) {
        self.list(&txn.compare, Self::compare);
        self.list(&txn.success, Self::txn_op);
        self.list(&txn.failure, Self::txn_op);
    }

    pub(super) fn txn_op(&mut self, op: &TxnOp) {
        match op {
            TxnOp::Range(query) => {
                self.byte(tag::OP_RANGE);
                self.query(query);
            }
            TxnOp::Put(put) => {
                self.byte(tag::OP_PUT);
                self.put(put);
            }
            TxnOp::DeleteRange(delete) => {
                self.byte(tag::OP_DELETE_RANGE);
                self.delete_range(delete);
            }
            TxnOp::Txn(txn) => {
                self.byte(tag::OP_TXN);
                self.txn(txn);
            }
        }
    }

    pub(super) fn compare(&mut self, compare: &Compare) {
        self.range(&compare.range);
        self.byte(match compare.relation {
            Relation::Equal => 0,
            Relation::Greater => 1,
            Relation::Less => 2,
            Relation::NotEqual => 3,
        });
        match &compare.operand {
            Operand::Version(version) => {
                self.byte(tag::OPERAND_VERSION);
                self.signed(*version);
            }
            Operand::Create(revision) => {
                self.byte(tag::OPERAND_CREATE);
                self.revision(*revision);
            }
            Operand::Mod(revision) => {
                self.byte(tag::OPERAND_MOD);
                self.revision(*revision);
            }
            Operand::Value(value) => {
                self.byte(tag::OPERAND_VALUE);
                self.bytes(value);
            }
            Operand::Lease(lease) => {
                self.byte(tag::OPERAND_LEASE);
                self.signed(lease.0);
            }
        }
    }
}
