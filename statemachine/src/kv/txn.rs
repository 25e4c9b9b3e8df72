//! Transactions: compare, check, then run.
//!
//! Invariant: every comparison, including nested ones, sees the state before the transaction; every
//! check of the chosen path is made before its first write, so that a refusal changes nothing.

use std::cmp::Ordering;

use super::{
    Change,
    check::{check_put, check_room},
};
use crate::{
    command::{Compare, Operand, RangeQuery, Relation, Txn, TxnOp},
    error::{Fault, ReadError, Refusal},
    outcome::{TxnOpReply, TxnReply},
    price::Budget,
    read::Reader,
    rows::{Record, Row},
    transition::Transition,
    value::{KeyRange, Revision},
};

/// The choices of a transaction and of those nested in the chosen lists, outermost first.
#[derive(Debug)]
struct Path(Vec<bool>);

impl Path {
    /// Evaluates the comparisons on the chosen path, then checks the chosen operations.
    fn choose(reader: &Reader<'_>, txn: &Txn, budget: &mut Budget) -> Result<Self, ReadError> {
        let mut choices = Vec::new();
        compare_all(reader, txn, &mut choices, budget)?;
        check(reader, txn, &mut choices.iter().copied())?;
        Ok(Self(choices))
    }
}

impl Transition<'_> {
    /// Executes a transaction as one revision. Its cost is known only once it has run, so a refusal
    /// for its cost undoes its writes.
    pub(crate) fn execute_txn(&mut self, txn: &Txn) -> Result<TxnReply, ReadError> {
        let mut budget = Budget::of_txn(self.meta);
        self.execute_txn_within(txn, &mut budget)
    }

    /// As [`Transition::execute_txn`], within `budget`.
    pub(crate) fn execute_txn_within(
        &mut self,
        txn: &Txn,
        budget: &mut Budget,
    ) -> Result<TxnReply, ReadError> {
        let path = Path::choose(&self.reader(), txn, budget)?;
        let mut change = self.change().undoable();
        let mut choices = path.0.into_iter();
        match run(&mut change, txn, &mut choices, budget) {
            Ok(reply) => {
                debug_assert_eq!(choices.next(), None, "every choice was used");
                change.finish();
                Ok(reply)
            }
            Err(error) => {
                change.abandon();
                Err(error)
            }
        }
    }
}

impl Reader<'_> {
    /// Runs a read-only transaction.
    ///
    /// # Errors
    /// Refused like a range, when the chosen operations read compacted or future revisions, or when
    /// they read too much. A write among them is a fault: such a transaction is a command.
    pub fn read_txn(&self, txn: &Txn) -> Result<TxnReply, ReadError> {
        execute_read(self, txn)
    }
}

fn execute_read(reader: &Reader<'_>, txn: &Txn) -> Result<TxnReply, ReadError> {
    let mut budget = Budget::of_txn(reader.meta());
    let path = Path::choose(reader, txn, &mut budget)?;
    let mut choices = path.0.into_iter();
    let reply = read(reader, txn, &mut choices, &mut budget)?;
    debug_assert_eq!(choices.next(), None, "every choice was used");
    Ok(reply)
}

fn chosen<'t>(txn: &'t Txn, choices: &mut dyn Iterator<Item = bool>) -> (bool, &'t [TxnOp]) {
    let succeeded = choices
        .next()
        .expect("there is one choice for every transaction reached");
    (
        succeeded,
        if succeeded {
            &txn.success
        } else {
            &txn.failure
        },
    )
}

/// Returns the range that an operation walks, if it walks one.
const fn walked(op: &TxnOp) -> Option<&KeyRange> {
    match op {
        TxnOp::Range(query) => Some(&query.range),
        TxnOp::DeleteRange(delete) => Some(&delete.range),
        TxnOp::Put(_) | TxnOp::Txn(_) => None,
    }
}

fn compare_all(
    reader: &Reader<'_>,
    txn: &Txn,
    choices: &mut Vec<bool>,
    budget: &mut Budget,
) -> Result<(), ReadError> {
    let mut succeeded = true;
    for compare in &txn.compare {
        budget.operation(Some(&compare.range))?;
        if !holds(reader, compare, budget)? {
            succeeded = false;
            break;
        }
    }
    choices.push(succeeded);
    for op in if succeeded {
        &txn.success
    } else {
        &txn.failure
    } {
        if let TxnOp::Txn(within) = op {
            compare_all(reader, within, choices, budget)?;
        }
    }
    Ok(())
}

fn holds(reader: &Reader<'_>, compare: &Compare, budget: &mut Budget) -> Result<bool, ReadError> {
    let mut any = false;
    let mut all = true;
    reader.visit_latest(&compare.range, &mut |_, row| {
        any = true;
        budget.row()?;
        all = record_satisfies(&Record::decode(&row)?, compare);
        Ok(all)
    })?;
    Ok(if any { all } else { absence_satisfies(compare) })
}

/// A missing key has no value to compare, and zero in every other field.
fn absence_satisfies(compare: &Compare) -> bool {
    let operand = match &compare.operand {
        Operand::Version(version) => *version,
        Operand::Create(revision) | Operand::Mod(revision) => revision.0,
        Operand::Lease(lease) => lease.0,
        Operand::Value(_) => return false,
    };
    relates(0.cmp(&operand), compare.relation)
}

fn record_satisfies(record: &Record, compare: &Compare) -> bool {
    let ordering = match &compare.operand {
        Operand::Version(version) => record.version.cmp(version),
        Operand::Create(revision) => record.create.cmp(revision),
        Operand::Mod(revision) => record.stamp.main.cmp(revision),
        Operand::Value(value) => record.value.cmp(value),
        Operand::Lease(lease) => record.lease.cmp(lease),
    };
    relates(ordering, compare.relation)
}

const fn relates(ordering: Ordering, relation: Relation) -> bool {
    match relation {
        Relation::Equal => ordering.is_eq(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
    }
}

fn check(
    reader: &Reader<'_>,
    txn: &Txn,
    choices: &mut dyn Iterator<Item = bool>,
) -> Result<(), ReadError> {
    let (_, ops) = chosen(txn, choices);
    for op in ops {
        match op {
            TxnOp::Range(query) => check_range(reader, query)?,
            TxnOp::Put(put) => check_put(reader, put)?,
            TxnOp::DeleteRange(_) => {}
            TxnOp::Txn(within) => check(reader, within, choices)?,
        }
    }
    Ok(())
}

/// Stricter than a separate read: here etcd checks a negative revision against the floor, where a
/// read takes it for "the latest".
fn check_range(reader: &Reader<'_>, query: &RangeQuery) -> Result<(), Refusal> {
    let (latest, floor) = (reader.meta().revision, reader.meta().floor);
    if query.revision == Revision(0) {
        Ok(())
    } else if query.revision > latest {
        Err(Refusal::FutureRevision { latest })
    } else if query.revision < floor {
        Err(Refusal::Compacted { floor })
    } else {
        Ok(())
    }
}

fn run(
    change: &mut Change<'_, '_>,
    txn: &Txn,
    choices: &mut dyn Iterator<Item = bool>,
    budget: &mut Budget,
) -> Result<TxnReply, ReadError> {
    let (succeeded, ops) = chosen(txn, choices);
    let mut replies = Vec::with_capacity(ops.len());
    for op in ops {
        budget.operation(walked(op))?;
        replies.push(match op {
            TxnOp::Range(query) => {
                let reader = change.reader();
                let reply = reader.range_within(query, budget)?;
                TxnOpReply::Range(reader.meta().revision, reply)
            }
            TxnOp::Put(put) => {
                check_room(&change.reader(), put)?;
                let previous = change.put(put)?.filter(|_| put.want_previous);
                if let Some(previous) = &previous {
                    budget.record(previous)?;
                }
                TxnOpReply::Put(change.seen(), previous)
            }
            TxnOp::DeleteRange(delete) => {
                let reply = change.delete_range(delete, budget)?;
                let keys = u64::try_from(reply.deleted).unwrap_or(0);
                budget.deleted(&delete.range, keys);
                TxnOpReply::DeleteRange(change.seen(), reply)
            }
            TxnOp::Txn(within) => {
                let reply = run(change, within, choices, budget)?;
                TxnOpReply::Txn(change.seen(), reply)
            }
        });
    }
    Ok(TxnReply { succeeded, replies })
}

fn read(
    reader: &Reader<'_>,
    txn: &Txn,
    choices: &mut dyn Iterator<Item = bool>,
    budget: &mut Budget,
) -> Result<TxnReply, ReadError> {
    let (succeeded, ops) = chosen(txn, choices);
    let revision = reader.meta().revision;
    let mut replies = Vec::with_capacity(ops.len());
    for op in ops {
        budget.operation(walked(op))?;
        replies.push(match op {
            TxnOp::Range(query) => TxnOpReply::Range(revision, reader.range_within(query, budget)?),
            TxnOp::Txn(within) => TxnOpReply::Txn(revision, read(reader, within, choices, budget)?),
            TxnOp::Put(_) | TxnOp::DeleteRange(_) => {
                let what = "a write inside a transaction that was to be only read";
                return Err(Fault::Command(what.to_owned()).into());
            }
        });
    }
    Ok(TxnReply { succeeded, replies })
}
