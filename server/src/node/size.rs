//! About how many bytes a command takes, for the bounds of queues and groups.

use tenure_statemachine::{Command, Put, RangeQuery, Txn, TxnOp};

/// What an operation takes besides its keys and values.
const OVERHEAD: usize = 64;

/// About how many bytes `command` takes; never far below the encoded length.
pub(super) fn of(command: &Command) -> usize {
    OVERHEAD
        + match command {
            Command::Put(put) => of_put(put),
            Command::DeleteRange(delete) => {
                delete.range.start.len() + delete.range.wire_end().len()
            }
            Command::Txn(txn) => of_txn(txn),
            Command::LeaseRenew(ids) => ids.len() * 8,
            Command::LeaseExpire(leases) => leases.len() * 16,
            Command::MemberPublish(member) => {
                member.name.len() + member.client_urls.iter().map(String::len).sum::<usize>()
            }
            Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::LeaseRevoke(_)
            | Command::Alarm(_) => 0,
        }
}

fn of_put(put: &Put) -> usize {
    put.key.len() + put.value.len()
}

fn of_range(range: &RangeQuery) -> usize {
    range.range.start.len() + range.range.wire_end().len()
}

fn of_txn(txn: &Txn) -> usize {
    let compares = txn.compare.iter().map(|compare| {
        let value = match &compare.operand {
            tenure_statemachine::Operand::Value(value) => value.len(),
            _ => 0,
        };
        OVERHEAD + compare.range.start.len() + compare.range.wire_end().len() + value
    });
    let ops = txn.success.iter().chain(&txn.failure).map(|op| {
        OVERHEAD
            + match op {
                TxnOp::Range(range) => of_range(range),
                TxnOp::Put(put) => of_put(put),
                TxnOp::DeleteRange(delete) => {
                    delete.range.start.len() + delete.range.wire_end().len()
                }
                TxnOp::Txn(txn) => of_txn(txn),
            }
    });
    compares.sum::<usize>() + ops.sum::<usize>()
}
