//! Writes of a few kilobytes, or bytes, that cost every node much.

use anyhow::Result;
use bytes::Bytes;
use tenure_proto::etcdserverpb::{
    DeleteRangeRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    kv_client::KvClient, lease_client::LeaseClient, request_op::Request,
};

use super::{fill::LEASE, raw};

/// Ranges in the transaction with the large answer.
const RANGES: usize = 127;
/// Nested transactions, and counts in each, of the transaction with much work.
const NESTED: usize = 63;
const COUNTS: usize = 64;

/// The whole of the data.
pub(super) fn everything() -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(b"data/"),
        range_end: Bytes::from_static(b"data0"),
        ..RangeRequest::default()
    }
}

fn operation(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

/// A put, so that the transaction is a write and not a read.
fn put() -> RequestOp {
    operation(Request::RequestPut(PutRequest {
        key: Bytes::from_static(b"attack"),
        value: Bytes::from_static(b"x"),
        ..PutRequest::default()
    }))
}

async fn commit(url: &str, success: Vec<RequestOp>) -> Result<String> {
    let request = TxnRequest {
        success,
        ..TxnRequest::default()
    };
    let channel = raw::connect(url).await?;
    Ok(raw::said(raw::whole(channel, raw::TXN, request).await))
}

/// A transaction whose ranges all answer with the whole data.
pub(super) async fn answers(url: &str) -> Result<String> {
    let mut success = vec![put()];
    success.extend((0..RANGES).map(|_| operation(Request::RequestRange(everything()))));
    commit(url, success).await
}

/// A transaction of transactions of counts.
pub(super) async fn counts(url: &str) -> Result<String> {
    let count = RangeRequest {
        count_only: true,
        ..everything()
    };
    let inner = TxnRequest {
        success: vec![operation(Request::RequestRange(count)); COUNTS],
        ..TxnRequest::default()
    };
    let mut success = vec![put()];
    success.extend((0..NESTED).map(|_| operation(Request::RequestTxn(inner.clone()))));
    commit(url, success).await
}

/// Deletes everything by its prefix.
pub(super) async fn delete(url: &str) -> Result<String> {
    let RangeRequest { key, range_end, .. } = everything();
    let request = DeleteRangeRequest {
        key,
        range_end,
        ..DeleteRangeRequest::default()
    };
    let mut kv = KvClient::new(raw::connect(url).await?);
    let answer = kv.delete_range(request).await;
    Ok(match answer {
        Ok(answer) => format!("{} keys deleted", answer.into_inner().deleted),
        Err(status) => raw::said::<()>(Err(status)),
    })
}

/// Revokes the lease that everything is attached to.
pub(super) async fn revoke(url: &str) -> Result<String> {
    let mut lease = LeaseClient::new(raw::connect(url).await?);
    let request = LeaseRevokeRequest { id: LEASE };
    Ok(raw::said(lease.lease_revoke(request).await))
}
