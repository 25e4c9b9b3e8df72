//! One lock that everybody wants: each client acquires it, gives it back, and queues up again.
//!
//! An operation is one turn, from asking to having given back, so operations per second are
//! hand-overs per second. tenure queues clients in the server. etcd's clients queue themselves, by
//! the recipe of its client library: a key each, and a watch on the key before one's own.

use bytes::Bytes;
use tenure_proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
        RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        kv_client::KvClient,
        lease_client::LeaseClient,
        range_request::{SortOrder, SortTarget},
        request_op, response_op,
        watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    mvccpb::event::EventType,
    v1::{AcquireRequest, ReleaseRequest, acquire_response, lock_client::LockClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};

use std::time::Instant;

use super::{Step, Work, broken};
use crate::cluster::System;

/// Seconds a lease lives: longer than any run, so that none expires under the load.
const TTL_SECONDS: i64 = 24 * 60 * 60;
/// The lock.
const NAME: &str = "bench-lock";

/// A client that wants the lock.
#[derive(Debug)]
pub(crate) struct Locker {
    system: System,
    channel: Channel,
    lease: i64,
}

impl Locker {
    pub(crate) fn new(system: System, channel: Channel) -> Self {
        Self {
            system,
            channel,
            lease: 0,
        }
    }

    async fn turn_of_tenure(&self) -> Result<(), Status> {
        let mut service = LockClient::new(self.channel.clone());
        let request = AcquireRequest {
            names: vec![NAME.into()],
            lease: self.lease,
            ..AcquireRequest::default()
        };
        let mut states = service.acquire(request).await?.into_inner();
        let token = loop {
            let answer = states.message().await?;
            match answer.and_then(|answer| answer.state) {
                Some(acquire_response::State::Queued(_)) => {}
                Some(acquire_response::State::Granted(granted)) => {
                    break granted.claims.first().map(|claim| claim.token);
                }
                None => return Err(broken("an acquisition ended without a grant")),
            }
        };
        let release = ReleaseRequest {
            name: NAME.into(),
            token: token.ok_or_else(|| broken("a grant without a claim"))?,
            options: None,
        };
        service.release(release).await?;
        Ok(())
    }

    /// The recipe of etcd's client library.
    async fn turn_of_etcd(&self) -> Result<(), Status> {
        let mut kv = KvClient::new(self.channel.clone());
        let own: Bytes = format!("{NAME}/{:x}", self.lease).into();
        let created = self.enter(&mut kv, own.clone()).await?;
        while let Some(before) = self.before(&mut kv, created).await? {
            self.deletion(before.0, before.1).await?;
        }
        // The holder makes sure that its own key is still there.
        let mine = RangeRequest {
            key: own.clone(),
            ..RangeRequest::default()
        };
        if kv.range(mine).await?.into_inner().kvs.is_empty() {
            return Err(broken("the key of the holder is gone"));
        }
        let leave = DeleteRangeRequest {
            key: own,
            ..DeleteRangeRequest::default()
        };
        kv.delete_range(leave).await?;
        Ok(())
    }

    /// Puts the own key, and returns the revision that created it.
    async fn enter(&self, kv: &mut KvClient<Channel>, own: Bytes) -> Result<i64, Status> {
        let missing = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Create.into(),
            key: own.clone(),
            target_union: Some(TargetUnion::CreateRevision(0)),
            ..Compare::default()
        };
        let put = PutRequest {
            key: own.clone(),
            lease: self.lease,
            ..PutRequest::default()
        };
        let get = RangeRequest {
            key: own,
            ..RangeRequest::default()
        };
        let first = RangeRequest {
            key: format!("{NAME}/").into(),
            range_end: format!("{NAME}0").into(),
            limit: 1,
            sort_order: SortOrder::Ascend.into(),
            sort_target: SortTarget::Create.into(),
            ..RangeRequest::default()
        };
        let op = |request| RequestOp {
            request: Some(request),
        };
        let read_first = op(request_op::Request::RequestRange(first));
        let txn = TxnRequest {
            compare: vec![missing],
            success: vec![op(request_op::Request::RequestPut(put)), read_first.clone()],
            failure: vec![op(request_op::Request::RequestRange(get)), read_first],
        };
        let done = kv.txn(txn).await?.into_inner();
        if done.succeeded {
            return Ok(done.header.unwrap_or_default().revision);
        }
        match done.responses.into_iter().next().and_then(|op| op.response) {
            Some(response_op::Response::ResponseRange(range)) => range
                .kvs
                .first()
                .map(|kv| kv.create_revision)
                .ok_or_else(|| broken("a key that exists is not there")),
            other => Err(broken(format!("a transaction answered {other:?}"))),
        }
    }

    /// The newest key that was created before `created`, and from which revision to watch it.
    async fn before(
        &self,
        kv: &mut KvClient<Channel>,
        created: i64,
    ) -> Result<Option<(Bytes, i64)>, Status> {
        let last = RangeRequest {
            key: format!("{NAME}/").into(),
            range_end: format!("{NAME}0").into(),
            limit: 1,
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Create.into(),
            max_create_revision: created - 1,
            ..RangeRequest::default()
        };
        let found = kv.range(last).await?.into_inner();
        let revision = found.header.unwrap_or_default().revision;
        Ok(found.kvs.into_iter().next().map(|kv| (kv.key, revision)))
    }

    /// Waits until `key` is deleted after `revision`.
    async fn deletion(&self, key: Bytes, revision: i64) -> Result<(), Status> {
        let create = WatchCreateRequest {
            key,
            start_revision: revision,
            ..WatchCreateRequest::default()
        };
        let (requests, waiting) = mpsc::channel(1);
        requests
            .try_send(WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(create)),
            })
            .map_err(|_| broken("a new channel has no room"))?;
        let mut service = WatchClient::new(self.channel.clone());
        let mut answers = service
            .watch(ReceiverStream::new(waiting))
            .await?
            .into_inner();
        loop {
            let Some(answer) = answers.message().await? else {
                return Err(broken("a watch stream ended"));
            };
            let deleted = |kind: i32| kind == i32::from(EventType::Delete);
            if answer.events.iter().any(|event| deleted(event.r#type)) {
                return Ok(());
            }
        }
    }
}

impl Work for Locker {
    async fn prepare(&mut self, _until: Instant) -> Result<(), Status> {
        let request = LeaseGrantRequest {
            ttl: TTL_SECONDS,
            id: 0,
        };
        let mut service = LeaseClient::new(self.channel.clone());
        self.lease = service.lease_grant(request).await?.into_inner().id;
        Ok(())
    }

    async fn step(&mut self) -> Result<Step, Status> {
        match self.system {
            System::Tenure | System::Before => self.turn_of_tenure().await?,
            System::Etcd => self.turn_of_etcd().await?,
        }
        Ok(Step::Done)
    }

    async fn finish(&mut self) -> Result<(), Status> {
        let mut service = LeaseClient::new(self.channel.clone());
        let request = LeaseRevokeRequest { id: self.lease };
        service.lease_revoke(request).await?;
        Ok(())
    }
}
