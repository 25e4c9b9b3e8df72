//! Keys.

use futures::{StreamExt, stream};
use tenure_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, Compare as WireCompare, DeleteRangeRequest,
    DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
    RequestOp, ResponseOp, TxnRequest, TxnResponse,
    compare::{CompareResult, TargetUnion},
    kv_server::Kv,
    request_op::Request as Op,
    response_op::Response as OpAnswer,
};
use tenure_statemachine::{
    Compact, Compare, DeleteRange, DeleteReply, KeyRange, LeaseId, Operand, Put, RangeQuery,
    RangeReply, Relation, Revision, Txn, TxnOp, TxnOpReply, TxnReply,
};
use tonic::{Request, Response, Status};

use super::{
    arrival::Arrival,
    message::{header, key_value, refused},
    node::{Answer, Answers, Service},
    store::Store,
};

fn put(put: PutRequest) -> Put {
    Put {
        key: put.key,
        value: put.value,
        lease: LeaseId(put.lease),
        want_previous: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

fn delete(delete: DeleteRangeRequest) -> DeleteRange {
    DeleteRange {
        range: KeyRange::from_wire(delete.key, delete.range_end),
        want_previous: delete.prev_kv,
    }
}

/// Ignores sorting and bounds on revisions.
fn range(range: RangeRequest) -> RangeQuery {
    RangeQuery {
        limit: range.limit,
        revision: Revision(range.revision),
        keys_only: range.keys_only,
        count_only: range.count_only,
        ..RangeQuery::latest(KeyRange::from_wire(range.key, range.range_end))
    }
}

fn compare(compare: WireCompare) -> Compare {
    let relation = match compare.result() {
        CompareResult::Equal => Relation::Equal,
        CompareResult::NotEqual => Relation::NotEqual,
        CompareResult::Greater => Relation::Greater,
        CompareResult::Less => Relation::Less,
    };
    let operand = match compare.target_union.expect("a comparison has a target") {
        TargetUnion::Version(version) => Operand::Version(version),
        TargetUnion::CreateRevision(revision) => Operand::Create(Revision(revision)),
        TargetUnion::ModRevision(revision) => Operand::Mod(Revision(revision)),
        TargetUnion::Value(value) => Operand::Value(value),
        TargetUnion::Lease(lease) => Operand::Lease(LeaseId(lease)),
    };
    Compare {
        range: KeyRange::from_wire(compare.key, compare.range_end),
        relation,
        operand,
    }
}

fn operation(op: RequestOp) -> TxnOp {
    match op.request.expect("an operation is one") {
        Op::RequestRange(request) => TxnOp::Range(range(request)),
        Op::RequestPut(request) => TxnOp::Put(put(request)),
        Op::RequestDeleteRange(request) => TxnOp::DeleteRange(delete(request)),
        Op::RequestTxn(request) => TxnOp::Txn(txn(request)),
    }
}

fn txn(txn: TxnRequest) -> Txn {
    let operations = |ops: Vec<RequestOp>| ops.into_iter().map(operation).collect();
    Txn {
        compare: txn.compare.into_iter().map(compare).collect(),
        success: operations(txn.success),
        failure: operations(txn.failure),
    }
}

fn range_answer(revision: Revision, reply: RangeReply) -> RangeResponse {
    RangeResponse {
        header: header(revision.0),
        kvs: reply.kvs.into_iter().map(key_value).collect(),
        more: reply.more,
        count: reply.count,
    }
}

fn delete_answer(revision: Revision, reply: DeleteReply) -> DeleteRangeResponse {
    DeleteRangeResponse {
        header: header(revision.0),
        deleted: reply.deleted,
        prev_kvs: reply.previous.into_iter().map(key_value).collect(),
    }
}

fn operation_answer(reply: TxnOpReply) -> ResponseOp {
    let answer = match reply {
        TxnOpReply::Range(at, reply) => OpAnswer::ResponseRange(range_answer(at, reply)),
        TxnOpReply::Put(at, previous) => OpAnswer::ResponsePut(PutResponse {
            header: header(at.0),
            prev_kv: previous.map(key_value),
        }),
        TxnOpReply::DeleteRange(at, reply) => {
            OpAnswer::ResponseDeleteRange(delete_answer(at, reply))
        }
        TxnOpReply::Txn(at, reply) => OpAnswer::ResponseTxn(txn_answer(at, reply)),
    };
    ResponseOp {
        response: Some(answer),
    }
}

fn txn_answer(revision: Revision, reply: TxnReply) -> TxnResponse {
    TxnResponse {
        header: header(revision.0),
        succeeded: reply.succeeded,
        responses: reply.replies.into_iter().map(operation_answer).collect(),
    }
}

/// Returns the revision for the header of a response.
fn revision(store: &Store) -> Revision {
    Revision(store.revision())
}

fn execute_txn(
    store: &mut Store,
    arrival: &Arrival,
    request: TxnRequest,
) -> Result<TxnResponse, Status> {
    let txn = txn(request);
    if txn.is_read_only() {
        let reply = store
            .reader()
            .read_txn(&txn)
            .expect("tests read what is there");
        return Ok(txn_answer(revision(store), reply));
    }
    let reply = store.write(arrival, txn)?;
    Ok(txn_answer(revision(store), reply))
}

#[tonic::async_trait]
impl Kv for Service {
    type RangeStreamStream = Answers<RangeStreamResponse>;

    async fn range(&self, request: Request<RangeRequest>) -> Answer<RangeResponse> {
        self.take("range", request, |store, _, request| {
            let reply = store.reader().range(&range(request));
            let reply = reply.map_err(|error| match error {
                tenure_statemachine::ReadError::Refused(refusal) => refused(refusal),
                tenure_statemachine::ReadError::Fault(fault) => panic!("{fault}"),
            })?;
            Ok(range_answer(revision(store), reply))
        })
        .await
    }

    /// Sends the complete response in one piece, on a stream that stays open.
    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        let piece = RangeStreamResponse {
            range_response: Some(self.range(request).await?.into_inner()),
        };
        let pieces = stream::iter([Ok(piece)]).chain(stream::pending());
        Ok(Response::new(pieces.boxed()))
    }

    async fn put(&self, request: Request<PutRequest>) -> Answer<PutResponse> {
        self.take("put", request, |store, arrival, request| {
            let previous = store.write(arrival, put(request))?;
            Ok(PutResponse {
                header: header(store.revision()),
                prev_kv: previous.map(key_value),
            })
        })
        .await
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Answer<DeleteRangeResponse> {
        self.take("delete", request, |store, arrival, request| {
            let reply = store.write(arrival, delete(request))?;
            Ok(delete_answer(revision(store), reply))
        })
        .await
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Answer<TxnResponse> {
        self.take("txn", request, execute_txn).await
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Answer<CompactionResponse> {
        self.take("compact", request, |store, arrival, request| {
            store.write(arrival, Compact(Revision(request.revision)))?;
            Ok(CompactionResponse {
                header: header(store.revision()),
            })
        })
        .await
    }
}
