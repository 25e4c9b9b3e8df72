//! The budget of one command: rows that it looks at or changes, and bytes of its reply.
//!
//! Every replica computes every reply, so a request that is too large for one node would end them
//! all. Budgets apply from [`FeatureLevel::BOUNDED`], those of claims and of walks from
//! [`FeatureLevel::PRICED`]. Invariant: every replica counts the same, because rows of the logical
//! state are counted and not the engine's work to find them; and a command beyond its budget is
//! refused and changes nothing.

use crate::{
    error::Refusal,
    feature::FeatureLevel,
    meta::Meta,
    outcome::ClaimState,
    value::{KeyRange, KeyValue},
};

/// Most rows that one transaction may look at or change, including nested transactions, and one for
/// each operation. A tenth of a second or two of work, which blocks every later write.
pub(crate) const TXN_ROWS_MAX: u64 = 200_000;

/// Most rows that the wills of one lease may look at or change together when it ends, and those of
/// one command that ends claims. As many as for one transaction, so a command with many wills
/// blocks other writes no longer than one with a transaction.
pub(crate) const WILL_ROWS_MAX: u64 = TXN_ROWS_MAX;

/// Least cost in rows of an operation over a range. The engine also walks over deleted rows that
/// are not cleared yet; their number differs between replicas and cannot be counted. So one
/// transaction makes at most 195 such walks, and one of 128 operations has rows left.
const WALK_ROWS_MIN: u64 = 1_024;

/// Most keys that one delete outside of a transaction may delete: such a write takes a kilobyte of
/// memory for each key, which leaves room on a small node.
pub(crate) const DELETE_ROWS_MAX: u64 = 500_000;

/// Most bytes of keys and values in the reply to one write: ten of the largest values.
pub(crate) const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Size of a record in a reply beside its key and value.
const RECORD_BYTES: u64 = 64;

/// The remaining budget of a command.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    rows_max: u64,
    rows: u64,
    bytes: u64,
    /// Least cost of a walk; zero below [`FeatureLevel::PRICED`].
    walk_rows_min: u64,
    /// Rows of the current walk that are paid for.
    prepaid: u64,
    /// The ranges that the transaction deleted, each with its number of deleted keys, which every
    /// later walk over them passes. No more than there may be walks.
    deleted: Vec<(KeyRange, u64)>,
    /// Keys that the transaction deleted one by one.
    deleted_alone: u64,
}

impl Budget {
    /// Creates a budget for work that is not replicated, or is bounded elsewhere.
    pub(crate) const fn unlimited() -> Self {
        Self::of(u64::MAX, u64::MAX)
    }

    const fn of(rows_max: u64, bytes: u64) -> Self {
        Self {
            rows_max,
            rows: rows_max,
            bytes,
            walk_rows_min: 0,
            prepaid: 0,
            deleted: Vec::new(),
            deleted_alone: 0,
        }
    }

    /// Creates the budget of a transaction.
    pub(crate) fn of_txn(meta: &Meta) -> Self {
        let is_priced = meta.level >= FeatureLevel::PRICED;
        Self {
            walk_rows_min: if is_priced { WALK_ROWS_MIN } else { 0 },
            ..Self::at_level(meta, TXN_ROWS_MAX)
        }
    }

    /// Creates the budget of a delete outside of a transaction.
    pub(crate) fn of_delete(meta: &Meta) -> Self {
        Self::at_level(meta, DELETE_ROWS_MAX)
    }

    /// Creates the budget of a command whose reply contains claims.
    pub(crate) fn of_claims(meta: &Meta) -> Self {
        if meta.level >= FeatureLevel::PRICED {
            Self::of(u64::MAX, ANSWER_BYTES_MAX)
        } else {
            Self::unlimited()
        }
    }

    /// Creates the budget of a will; `rows` are left of the budget of the wills of one command.
    pub(crate) fn of_wills(rows: u64) -> Self {
        Self {
            rows,
            walk_rows_min: WALK_ROWS_MIN,
            ..Self::of(TXN_ROWS_MAX, ANSWER_BYTES_MAX)
        }
    }

    /// Returns the number of rows left.
    pub(crate) const fn rows_left(&self) -> u64 {
        self.rows
    }

    fn at_level(meta: &Meta, rows_max: u64) -> Self {
        if meta.level >= FeatureLevel::BOUNDED {
            Self::of(rows_max, ANSWER_BYTES_MAX)
        } else {
            Self::unlimited()
        }
    }

    /// Pays for an operation, and for the walk that it begins if `range` is walked.
    pub(crate) fn operation(&mut self, range: Option<&KeyRange>) -> Result<(), Refusal> {
        self.prepaid = 0;
        self.row()?;
        let Some(range) = range.filter(|range| range.is_walked()) else {
            return Ok(());
        };
        if self.walk_rows_min == 0 {
            return Ok(());
        }
        let within = self.deleted.iter().filter(|(gone, _)| gone.overlaps(range));
        let gone = within.fold(self.deleted_alone, |sum, (_, keys)| {
            sum.saturating_add(*keys)
        });
        self.rows(gone.saturating_add(self.walk_rows_min))?;
        self.prepaid = self.walk_rows_min;
        Ok(())
    }

    /// Records the keys that an operation deleted.
    pub(crate) fn deleted(&mut self, range: &KeyRange, keys: u64) {
        if self.walk_rows_min == 0 || keys == 0 {
            return;
        }
        if range.is_walked() {
            self.deleted.push((range.clone(), keys));
        } else {
            self.deleted_alone = self.deleted_alone.saturating_add(keys);
        }
    }

    /// Pays for a row that is looked at or changed.
    pub(crate) fn row(&mut self) -> Result<(), Refusal> {
        if let Some(left) = self.prepaid.checked_sub(1) {
            self.prepaid = left;
            return Ok(());
        }
        self.rows(1)
    }

    fn rows(&mut self, rows: u64) -> Result<(), Refusal> {
        let left = self.rows.checked_sub(rows);
        let max = self.rows_max;
        self.rows = left.ok_or(Refusal::TooManyRows { max })?;
        Ok(())
    }

    /// Pays for a record in the reply.
    pub(crate) fn record(&mut self, kv: &KeyValue) -> Result<(), Refusal> {
        self.answer(record_bytes(kv))
    }

    /// Pays for a claim in the reply.
    pub(crate) fn claim(&mut self, claim: &ClaimState) -> Result<(), Refusal> {
        self.answer(claim_bytes(claim))
    }

    /// Pays for bytes of the reply.
    pub(crate) fn answer(&mut self, bytes: u64) -> Result<(), Refusal> {
        let left = self.bytes.checked_sub(bytes);
        let max = ANSWER_BYTES_MAX;
        self.bytes = left.ok_or(Refusal::AnswerOverLimit { max })?;
        Ok(())
    }
}

pub(super) fn record_bytes(kv: &KeyValue) -> u64 {
    let bytes = kv.key.len().saturating_add(kv.value.len()) as u64;
    bytes.saturating_add(RECORD_BYTES)
}

/// Returns the size of a claim in a reply; `value_and_principal` is the length of both together.
pub(crate) fn claim_bytes_of(key: &[u8], value_and_principal: usize) -> u64 {
    // The key begins with the name, which is in the reply once more.
    let bytes = key
        .len()
        .saturating_mul(2)
        .saturating_add(value_and_principal);
    (bytes as u64).saturating_add(RECORD_BYTES)
}

pub(super) fn claim_bytes(claim: &ClaimState) -> u64 {
    let rest = claim.value.len().saturating_add(claim.principal.len());
    claim_bytes_of(&claim.key, rest)
}
