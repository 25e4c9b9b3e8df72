//! Requests, said briefly.

use tenure_proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    range_request::{SortOrder, SortTarget},
    request_op::Request,
};

pub(crate) fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.into(),
        ..PutRequest::default()
    }
}

pub(crate) fn put_on_lease(key: &'static str, value: &'static str, lease: i64) -> PutRequest {
    PutRequest {
        lease,
        ..put(key, value)
    }
}

pub(crate) fn get(key: &'static str) -> RangeRequest {
    range(key, "")
}

pub(crate) fn get_at(key: &'static str, revision: i64) -> RangeRequest {
    RangeRequest {
        revision,
        ..get(key)
    }
}

pub(crate) fn range(key: &'static str, range_end: &'static str) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..RangeRequest::default()
    }
}

/// Every key, sorted.
pub(crate) fn sorted(order: SortOrder, target: SortTarget) -> RangeRequest {
    RangeRequest {
        sort_order: order as i32,
        sort_target: target as i32,
        ..everything()
    }
}

pub(crate) fn everything() -> RangeRequest {
    range("\0", "\0")
}

pub(crate) fn delete(key: &'static str, range_end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        prev_kv: true,
    }
}

pub(crate) fn compact(revision: i64) -> CompactionRequest {
    CompactionRequest {
        revision,
        physical: true,
    }
}

pub(crate) fn hash(revision: i64) -> HashKvRequest {
    HashKvRequest { revision }
}

pub(crate) fn grant(id: i64, ttl: i64) -> LeaseGrantRequest {
    LeaseGrantRequest { ttl, id }
}

pub(crate) fn revoke(id: i64) -> LeaseRevokeRequest {
    LeaseRevokeRequest { id }
}

pub(crate) fn time_to_live(id: i64) -> LeaseTimeToLiveRequest {
    LeaseTimeToLiveRequest { id, keys: true }
}

pub(crate) fn watch(key: &'static str, range_end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..WatchCreateRequest::default()
    }
}

pub(crate) fn txn(
    compare: Vec<Compare>,
    success: Vec<RequestOp>,
    failure: Vec<RequestOp>,
) -> TxnRequest {
    TxnRequest {
        compare,
        success,
        failure,
    }
}

/// A transaction without conditions.
pub(crate) fn all_of(success: Vec<RequestOp>) -> TxnRequest {
    txn(Vec::new(), success, Vec::new())
}

/// An operation of a transaction.
pub(crate) fn op(request: impl IntoOp) -> RequestOp {
    RequestOp {
        request: Some(request.into_op()),
    }
}

/// What can be an operation of a transaction.
pub(crate) trait IntoOp {
    fn into_op(self) -> Request;
}

macro_rules! into_op {
    ($($request:ident => $variant:ident),+) => {
        $(
            impl IntoOp for $request {
                fn into_op(self) -> Request {
                    Request::$variant(self)
                }
            }
        )+
    };
}

into_op! {
    RangeRequest => RequestRange,
    PutRequest => RequestPut,
    DeleteRangeRequest => RequestDeleteRange,
    TxnRequest => RequestTxn
}

/// A comparison of one key with `operand`.
pub(crate) fn is(key: &'static str, relation: CompareResult, operand: TargetUnion) -> Compare {
    let target = match operand {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: relation as i32,
        target: target as i32,
        key: key.into(),
        target_union: Some(operand),
        ..Compare::default()
    }
}

/// Whether a key is absent.
pub(crate) fn absent(key: &'static str) -> Compare {
    is(key, CompareResult::Equal, TargetUnion::Version(0))
}
