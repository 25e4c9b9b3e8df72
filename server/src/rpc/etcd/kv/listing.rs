//! Ranges of many keys as one answer: read and, when large, encoded on a thread of their own.

use tenure_proto::etcdserverpb::{RangeResponse, TxnResponse};
use tenure_statemachine::{RangeQuery, ReadError, Reader, Revision, SortOrder, SortTarget, Txn};
use tonic::Response;

use crate::rpc::{
    admission::Permit,
    answer::{
        bulk::{Held, Start, Turn},
        failure::Failure,
        large::{Answer, RangePieces},
        reply::{self, Headers},
    },
    services::Services,
};

/// The response to `query`. One for which there is no memory is read again when there is.
pub(super) async fn list(
    services: &Services,
    permit: Permit,
    query: RangeQuery,
) -> Result<Response<RangeResponse>, Failure> {
    let start = if is_streamable(&query) {
        Start::Short
    } else {
        Start::Charged
    };
    let headers = services.headers.clone();
    let read = move |reader: &Reader<'_>, turn: &Turn| {
        permit.check(reader)?;
        read(reader, turn, &query, &headers)
    };
    let found = services.bulk_reads.read_when_free(start, read).await??;
    Ok(Answer::response(found))
}

/// The response to a transaction that only reads.
pub(super) async fn read_txn(
    services: &Services,
    permit: Permit,
    txn: Txn,
) -> Result<Response<TxnResponse>, Failure> {
    let headers = services.headers.clone();
    let read = move |reader: &Reader<'_>, turn: &Turn| {
        permit.check(reader)?;
        let header = headers.at(reader.meta().revision);
        let response = reply::txn(header, reader.read_txn(&txn)?);
        Ok(Answer::unless_small(turn, response))
    };
    let bulk_reads = &services.bulk_reads;
    let read = bulk_reads.read_charged(Start::Charged, Held::none(), read);
    read.await?.map(Answer::response)
}

/// Whether records can be sent in the order in which they are read, all of them.
fn is_streamable(query: &RangeQuery) -> bool {
    let unset = Revision(0);
    let filters = [
        query.min_mod_revision,
        query.max_mod_revision,
        query.min_create_revision,
        query.max_create_revision,
    ];
    query.limit <= 0
        && !query.count_only
        && query.sort_target == SortTarget::Key
        && query.sort_order != SortOrder::Descend
        && filters == [unset; 4]
}

fn read(
    reader: &Reader<'_>,
    turn: &Turn,
    query: &RangeQuery,
    headers: &Headers,
) -> Result<Result<Result<RangeResponse, Answer>, Failure>, ReadError> {
    let mut pieces = RangePieces::default();
    let mut rest = RangeResponse {
        header: Some(headers.at(reader.meta().revision)),
        ..RangeResponse::default()
    };
    if is_streamable(query) {
        reader.visit(query, &mut |kv| {
            rest.count += 1;
            pieces.push(turn, reply::key_value(kv))
        })?;
    } else {
        let reply = reader.range(query)?;
        (rest.more, rest.count) = (reply.more, reply.count);
        for kv in reply.kvs {
            pieces.push(turn, reply::key_value(kv));
        }
    }
    Ok(pieces.finish(turn, rest))
}
