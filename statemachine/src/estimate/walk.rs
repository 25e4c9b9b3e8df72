//! How far a transaction walks through the present state, before anyone proposes it.
//!
//! For the node that took it: what walks far is work on every replica, and a node lets little of
//! that be under way at once. An estimate, not part of what is replicated: the state may be another
//! when the transaction is applied, and there its budget counts.

use crate::{
    command::{RangeQuery, Txn, TxnOp},
    engine::Table,
    error::Fault,
    lease::KeyCount,
    read::Reader,
    value::{KeyRange, LeaseId},
};

impl Txn {
    /// Whether it walks at all: whether it names a range of several keys anywhere. Looks at nothing
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
    /// Whether the ranges of a transaction, those of both branches and of transactions within it,
    /// hold more than `rows_max` keys. Looks at no more than that many. What a range held in the
    /// past is not looked up, and counts as far.
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
    /// As there.
    pub fn range_walks_further_than(
        &self,
        range: &KeyRange,
        rows_max: usize,
    ) -> Result<bool, Fault> {
        let mut left = rows_max;
        Ok(!self.range_walks_within(range, &mut left)?)
    }

    /// Whether a lease has more than `keys_max` keys, which go with it when it ends.
    ///
    /// # Errors
    /// As [`Reader::walks_further_than`].
    pub fn lease_holds_more_than(&self, id: LeaseId, keys_max: usize) -> Result<bool, Fault> {
        let Some(lease) = self.lease(id)? else {
            return Ok(false);
        };
        Ok(match lease.keys {
            Some(KeyCount::Exact(keys)) => keys > keys_max as u64,
            // Not counted, or too many to be.
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
