//! Data that an attack needs, written before it.

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use tenure_proto::etcdserverpb::{
    LeaseGrantRequest, PutRequest, RequestOp, TxnRequest, kv_client::KvClient,
    lease_client::LeaseClient, request_op::Request,
};

use crate::{cell::Aim, cluster::Cluster};

/// Operations of one transaction; the most that etcd takes unless it is told otherwise.
const OPERATIONS_MAX: usize = 128;
/// Bytes of one transaction's values: below what either system takes in one request.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Transactions under way at once.
const CONCURRENCY: usize = 8;
/// Tries of one transaction, on a machine that may be busy.
const TRIES_MAX: usize = 5;
/// The lease that keys are attached to, when they are, and its time to live, which no run lasts.
pub(super) const LEASE: i64 = 4711;
const LEASE_TTL_S: i64 = 3600;

/// Keys below one prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    pub(super) keys: usize,
    pub(super) value_bytes: usize,
    /// Whether they are attached to [`LEASE`].
    pub(super) leased: bool,
}

/// Writes the data through the leader.
pub(super) async fn fill(cluster: &Cluster, leader: usize, data: Data) -> Result<()> {
    if data.keys == 0 {
        return Ok(());
    }
    let by_bytes = REQUEST_BYTES_MAX / data.value_bytes.max(1);
    let step = by_bytes.clamp(1, OPERATIONS_MAX);
    let channel = cluster.connections().of_client(0, Aim::Leader, leader);
    if data.leased {
        let request = LeaseGrantRequest {
            ttl: LEASE_TTL_S,
            id: LEASE,
        };
        let granted = LeaseClient::new(channel.clone()).lease_grant(request).await;
        granted.context("granting the lease of the data")?;
    }
    let writes = (0..data.keys).step_by(step).map(|first| {
        let mut kv = KvClient::new(channel.clone());
        async move {
            let success = (first..data.keys.min(first + step))
                .map(|number| put(data, number))
                .collect();
            let request = TxnRequest {
                success,
                ..TxnRequest::default()
            };
            // The same keys with the same values: a write whose outcome is unknown is repeated.
            let mut tries = TRIES_MAX;
            loop {
                tries -= 1;
                match kv.txn(request.clone()).await {
                    Ok(answer) if answer.get_ref().succeeded => return Ok(()),
                    Ok(_) => bail!("a transaction without conditions did not succeed"),
                    Err(status) if tries == 0 => return Err(status.into()),
                    Err(_) => {}
                }
            }
        }
    });
    stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

fn put(data: Data, number: usize) -> RequestOp {
    let request = PutRequest {
        key: format!("data/{number:09}").into(),
        value: vec![b'v'; data.value_bytes].into(),
        lease: if data.leased { LEASE } else { 0 },
        ..PutRequest::default()
    };
    RequestOp {
        request: Some(Request::RequestPut(request)),
    }
}
