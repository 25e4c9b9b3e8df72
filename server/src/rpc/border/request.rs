//! etcd's requests as commands: refusals that need no state, with etcd's reasons in etcd's order.
//! The resulting commands are valid.
//!
//! Bytes are moved, not copied. Nothing here reads the state.

use tenure_proto::etcdserverpb::{
    self as wire,
    compare::{CompareResult, CompareTarget, TargetUnion},
    range_request,
    request_op::Request,
};
use tenure_statemachine::{
    Compare, DeleteRange, KeyRange, LeaseId, Operand, Put, RangeQuery, Relation, Revision,
    SortOrder, SortTarget, Txn, TxnOp,
};

use super::{
    nesting::{self, TXN_DEPTH_MAX},
    overlap,
};
use crate::rpc::answer::{failure::Failure, status::Reason};

/// Bytes that a put is charged against the quota beside its key and value; etcd's value.
pub(in crate::rpc) const PUT_OVERHEAD_BYTES: u64 = 256;
/// Bytes that a lease is charged against the quota; etcd's value.
pub(in crate::rpc) const LEASE_COST_BYTES: u64 = 64;

/// Memory of an operation, however small its message: as etcd's request and as a command.
const OPERATION_BYTES: usize = 512;

pub(in crate::rpc) fn put(request: wire::PutRequest) -> Result<Put, Failure> {
    if request.key.is_empty() {
        return Err(Reason::EmptyKey.into());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Reason::ValueProvided.into());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Reason::LeaseProvided.into());
    }
    Ok(Put {
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        want_previous: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

pub(in crate::rpc) fn delete_range(
    request: wire::DeleteRangeRequest,
) -> Result<DeleteRange, Failure> {
    if request.key.is_empty() {
        return Err(Reason::EmptyKey.into());
    }
    Ok(DeleteRange {
        range: KeyRange::from_wire(request.key, request.range_end),
        want_previous: request.prev_kv,
    })
}

pub(in crate::rpc) fn range(request: wire::RangeRequest) -> Result<RangeQuery, Failure> {
    if request.key.is_empty() {
        return Err(Reason::EmptyKey.into());
    }
    let order = range_request::SortOrder::try_from(request.sort_order)
        .map_err(|_| Reason::InvalidSortOption)?;
    let target = range_request::SortTarget::try_from(request.sort_target)
        .map_err(|_| Reason::InvalidSortOption)?;
    Ok(RangeQuery {
        range: KeyRange::from_wire(request.key, request.range_end),
        limit: request.limit,
        revision: Revision(request.revision),
        sort_order: match order {
            range_request::SortOrder::None => SortOrder::None,
            range_request::SortOrder::Ascend => SortOrder::Ascend,
            range_request::SortOrder::Descend => SortOrder::Descend,
        },
        sort_target: match target {
            range_request::SortTarget::Key => SortTarget::Key,
            range_request::SortTarget::Version => SortTarget::Version,
            range_request::SortTarget::Create => SortTarget::Create,
            range_request::SortTarget::Mod => SortTarget::Mod,
            range_request::SortTarget::Value => SortTarget::Value,
        },
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: Revision(request.min_mod_revision),
        max_mod_revision: Revision(request.max_mod_revision),
        min_create_revision: Revision(request.min_create_revision),
        max_create_revision: Revision(request.max_create_revision),
    })
}

/// A range that can be streamed: ordered by key, without revision filters.
pub(in crate::rpc) fn range_stream(request: wire::RangeRequest) -> Result<RangeQuery, Failure> {
    let query = range(request)?;
    let by_key = match query.sort_order {
        SortOrder::None => true,
        SortOrder::Ascend => query.sort_target == SortTarget::Key,
        SortOrder::Descend => false,
    };
    if !by_key {
        return Err(Reason::StreamSorted.into());
    }
    let filters = [
        query.min_mod_revision,
        query.max_mod_revision,
        query.min_create_revision,
        query.max_create_revision,
    ];
    if filters.iter().any(|filter| filter.0 != 0) {
        return Err(Reason::StreamFiltered.into());
    }
    Ok(query)
}

pub(in crate::rpc) fn txn(
    request: wire::TxnRequest,
    operations_max: usize,
) -> Result<Txn, Failure> {
    if operations(&request) > nesting::operations_in_all(operations_max) {
        return Err(Reason::TooManyOperations.into());
    }
    let txn = txn_within(request, operations_max, TXN_DEPTH_MAX)?;
    overlap::check(&txn)?;
    Ok(txn)
}

/// Memory of the operations and comparisons of a transaction, and of those within it, beside their
/// message.
pub(in crate::rpc) fn operations_bytes(request: &wire::TxnRequest) -> usize {
    operations(request).saturating_mul(OPERATION_BYTES)
}

/// Operations and comparisons of a transaction, those of transactions within included.
fn operations(request: &wire::TxnRequest) -> usize {
    let mut count = 0_usize;
    let mut open = vec![request];
    while let Some(txn) = open.pop() {
        count += txn.compare.len() + txn.success.len() + txn.failure.len();
        let operations = txn.success.iter().chain(&txn.failure);
        open.extend(operations.filter_map(|op| match &op.request {
            Some(Request::RequestTxn(within)) => Some(within),
            _ => None,
        }));
    }
    count
}

/// A nested transaction shares the operation budget of its parents. `depth` is how many levels may
/// follow, this one included.
fn txn_within(
    request: wire::TxnRequest,
    operations_max: usize,
    depth: usize,
) -> Result<Txn, Failure> {
    let Some(within) = depth.checked_sub(1) else {
        return Err(nesting::too_deep());
    };
    let operations = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let Some(budget) = operations_max.checked_sub(operations) else {
        return Err(Reason::TooManyOperations.into());
    };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Reason::EmptyKey.into());
    }
    let convert = |list: Vec<wire::RequestOp>| {
        list.into_iter()
            .map(|op| operation(op, budget, within))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Txn {
        success: convert(request.success)?,
        failure: convert(request.failure)?,
        compare: request
            .compare
            .into_iter()
            .map(compare)
            .collect::<Result<_, _>>()?,
    })
}

fn operation(op: wire::RequestOp, budget: usize, depth: usize) -> Result<TxnOp, Failure> {
    match op.request {
        Some(Request::RequestRange(request)) => range(request).map(TxnOp::Range),
        Some(Request::RequestPut(request)) => put(request).map(TxnOp::Put),
        Some(Request::RequestDeleteRange(request)) => delete_range(request).map(TxnOp::DeleteRange),
        Some(Request::RequestTxn(request)) => txn_within(request, budget, depth).map(TxnOp::Txn),
        None => Err(Reason::KeyNotFound.into()),
    }
}

fn compare(request: wire::Compare) -> Result<Compare, Failure> {
    let result = CompareResult::try_from(request.result).map_err(|_| Reason::InvalidCompare)?;
    let target = CompareTarget::try_from(request.target).map_err(|_| Reason::InvalidCompare)?;
    // An operand of another kind than the target counts as absent, which is zero.
    let operand = match (target, request.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(version))) => Operand::Version(version),
        (CompareTarget::Version, _) => Operand::Version(0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(revision))) => {
            Operand::Create(Revision(revision))
        }
        (CompareTarget::Create, _) => Operand::Create(Revision(0)),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(revision))) => {
            Operand::Mod(Revision(revision))
        }
        (CompareTarget::Mod, _) => Operand::Mod(Revision(0)),
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => Operand::Value(value),
        (CompareTarget::Value, _) => Operand::Value(bytes::Bytes::new()),
        (CompareTarget::Lease, Some(TargetUnion::Lease(lease))) => Operand::Lease(LeaseId(lease)),
        (CompareTarget::Lease, _) => Operand::Lease(LeaseId::NONE),
    };
    Ok(Compare {
        range: KeyRange::from_wire(request.key, request.range_end),
        relation: match result {
            CompareResult::Equal => Relation::Equal,
            CompareResult::Greater => Relation::Greater,
            CompareResult::Less => Relation::Less,
            CompareResult::NotEqual => Relation::NotEqual,
        },
        operand,
    })
}

/// Whether every operation is a serializable range.
pub(in crate::rpc) fn is_serializable(request: &wire::TxnRequest) -> bool {
    let mut operations = request.success.iter().chain(&request.failure);
    operations.all(|op| match &op.request {
        Some(Request::RequestRange(range)) => range.serializable,
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_) | Request::RequestTxn(_))
        | None => false,
    })
}

/// Whether a transaction only reads. A nested transaction counts as a write, as in etcd.
pub(in crate::rpc) fn is_read_only(txn: &Txn) -> bool {
    txn.success
        .iter()
        .chain(&txn.failure)
        .all(|op| matches!(op, TxnOp::Range(_)))
}

/// The bytes that a put is charged against the quota.
pub(in crate::rpc) fn put_cost(put: &Put) -> u64 {
    key_cost(&put.key, &put.value)
}

/// The bytes that a key with its value is charged against the quota.
pub(in crate::rpc) const fn key_cost(key: &[u8], value: &[u8]) -> u64 {
    PUT_OVERHEAD_BYTES + (key.len() + value.len()) as u64
}

/// The bytes that a transaction is charged against the quota: those of its more expensive branch,
/// zero when neither puts.
pub(in crate::rpc) fn txn_cost(txn: &Txn) -> u64 {
    let cost = |list: &[TxnOp]| -> u64 {
        let costs = list.iter().map(|op| match op {
            TxnOp::Put(put) => put_cost(put),
            TxnOp::Txn(txn) => txn_cost(txn),
            TxnOp::Range(_) | TxnOp::DeleteRange(_) => 0,
        });
        costs.sum()
    };
    cost(&txn.success).max(cost(&txn.failure))
}

#[cfg(test)]
mod tests;
