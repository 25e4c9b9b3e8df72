//! Estimates how many keys a transaction walks over in the present state, before it is proposed.
//!
//! For the node that received it: a far walk is work on every replica, so a node limits how many
//! are in progress. Not replicated: the state may have changed when the transaction is applied, and
//! its budget decides then.

use crate::{
    command::{RangeQuery, Txn, TxnOp},
    engine::Table,
    error::Fault,
    lease::KeyCount,
    read::Reader,
    value::{KeyRange, LeaseId},
};

impl Txn {
    /// Whether it walks at all: whether it names a range of several keys anywhere. Reads nothing
    /// but the transaction.
    #[must_use]
    pub fn walks(&self) -> bool {
        let compares = self.compare.iter().any(|it| it.range.is_walked());
        let mut operations = self.success.iter().chain(&self.failure);
        compares
            || operations.any(|operation| match operation {
                TxnOp::Range(query) => query.range.is_walked(),
                TxnOp::DeleteRange(delete) => delete.range.is_walked(),
                TxnOp::Put(_) => false,
                TxnOp::Txn(within) => within.walks(),
            })
    }
}

impl Reader<'_> {
    /// Whether the ranges of a transaction, including both branches and nested transactions, hold
    /// more than `rows_max` keys. Looks at no more than `rows_max`. A range at a past revision is
    /// not looked up, and counts as far.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn walks_further_than(&self, txn: &Txn, rows_max: usize) -> Result<bool, Fault> {
        let mut left = rows_max;
        Ok(!self.txn_walks_within(txn, &mut left)?)
    }

    /// As [`Reader::walks_further_than`], of one range.
    ///
    /// # Errors
    /// As [`Reader::walks_further_than`].
    pub fn range_walks_further_than(
        &self,
        range: &KeyRange,
        rows_max: usize,
    ) -> Result<bool, Fault> {
        let mut left = rows_max;
        Ok(!self.range_walks_within(range, &mut left)?)
    }

    /// Whether a lease has more than `keys_max` keys, which are deleted when it ends.
    ///
    /// # Errors
    /// As [`Reader::walks_further_than`].
    pub fn lease_holds_more_than(&self, id: LeaseId, keys_max: usize) -> Result<bool, Fault> {
        let Some(lease) = self.lease(id)? else {
            return Ok(false);
        };
        Ok(match lease.keys {
            Some(KeyCount::Exact(keys)) => keys > keys_max as u64,
            // Not counted, or too many to count.
            Some(KeyCount::Beyond) | None => true,
        })
    }

    fn txn_walks_within(&self, txn: &Txn, left: &mut usize) -> Result<bool, Fault> {
        for compare in &txn.compare {
            if !self.range_walks_within(&compare.range, left)? {
                return Ok(false);
            }
        }
        for operation in txn.success.iter().chain(&txn.failure) {
            let is_within = match operation {
                TxnOp::Range(query) => self.query_walks_within(query, left)?,
                TxnOp::DeleteRange(delete) => self.range_walks_within(&delete.range, left)?,
                TxnOp::Put(_) => true,
                TxnOp::Txn(within) => self.txn_walks_within(within, left)?,
            };
            if !is_within {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn query_walks_within(&self, query: &RangeQuery, left: &mut usize) -> Result<bool, Fault> {
        if query.range.is_walked() && query.revision.0 > 0 {
            return Ok(false);
        }
        self.range_walks_within(&query.range, left)
    }

    fn range_walks_within(&self, range: &KeyRange, left: &mut usize) -> Result<bool, Fault> {
        if !range.is_walked() {
            return Ok(true);
        }
        let mut cursor = self.view.scan(Table::Current, &range.start)?;
        while let Some(key) = cursor.next_key()? {
            if !range.contains(&key) {
                break;
            }
            let Some(rest) = left.checked_sub(1) else {
                return Ok(false);
            };
            *left = rest;
        }
        Ok(true)
    }
}
