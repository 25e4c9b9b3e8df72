//! The `KV` service against a node of one process: refusals, headers, the quota.

mod chunks;
mod conditions;
mod far_walks;
mod listing;
mod refusals;

use std::{future::poll_fn, sync::atomic::Ordering, task::Poll, time::Duration};

use tenure_proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse,
    RequestOp, TxnRequest,
    compare::{CompareTarget, TargetUnion},
    request_op::Request as Op,
    response_op::Response as OpReply,
};
use tenure_statemachine::{AlarmChange, AlarmKind, Command, LeaseGrant, LeaseId, MemberId, Ttl};
use tokio_stream::StreamExt;

use super::*;
use crate::{
    node::{ProposeError, ReadIndexError},
    rpc::{
        Limits,
        answer::status::{Reason, reason_of},
        fake::{CLUSTER, FakeNode, MEMBER, TERM},
    },
};

fn service() -> (Arc<FakeNode>, KvService) {
    service_with(Limits::standard())
}

fn service_with(limits: Limits) -> (Arc<FakeNode>, KvService) {
    let node = FakeNode::leading();
    let services = node.services(limits);
    (node, KvService(services))
}

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.into(),
        ..PutRequest::default()
    }
}

fn all() -> RangeRequest {
    RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..RangeRequest::default()
    }
}

fn op(op: Op) -> RequestOp {
    RequestOp { request: Some(op) }
}

fn success(ops: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        success: ops,
        ..TxnRequest::default()
    }
}

fn within(txn: TxnRequest) -> TxnRequest {
    success(vec![op(Op::RequestTxn(txn))])
}

async fn refused_put(service: &KvService, request: PutRequest) -> Reason {
    let status = Kv::put(service, Request::new(request))
        .await
        .expect_err("refused");
    reason_of(&status).expect("a status of ours")
}

async fn refused_range(service: &KvService, request: RangeRequest) -> Reason {
    let status = Kv::range(service, Request::new(request))
        .await
        .expect_err("refused");
    reason_of(&status).expect("a status of ours")
}

async fn refused_txn(service: &KvService, request: TxnRequest) -> Reason {
    let status = Kv::txn(service, Request::new(request))
        .await
        .expect_err("refused");
    reason_of(&status).expect("a status of ours")
}

#[tokio::test]
async fn what_was_put_is_read_with_a_full_header() {
    let (_node, service) = service();
    let reply = Kv::put(&service, Request::new(put("a", "1")))
        .await
        .expect("put")
        .into_inner();
    let header = reply.header.expect("a header");
    assert_eq!((header.cluster_id, header.member_id), (CLUSTER, MEMBER.0));
    assert_eq!((header.revision, header.raft_term), (2, TERM));
    let reply = Kv::range(&service, Request::new(all()))
        .await
        .expect("range")
        .into_inner();
    assert_eq!(reply.kvs.len(), 1);
    assert_eq!(
        (reply.kvs[0].value.as_ref(), reply.kvs[0].mod_revision),
        (&b"1"[..], 2)
    );
    let point = RangeRequest {
        key: "a".into(),
        ..RangeRequest::default()
    };
    let found = Kv::range(&service, Request::new(point))
        .await
        .expect("range")
        .into_inner();
    assert_eq!(found.kvs, reply.kvs);
    let delete = DeleteRangeRequest {
        key: "a".into(),
        prev_kv: true,
        ..Default::default()
    };
    let reply = Kv::delete_range(&service, Request::new(delete))
        .await
        .expect("delete");
    assert_eq!(reply.get_ref().deleted, 1);
    assert_eq!(reply.get_ref().prev_kvs, found.kvs);
    assert_eq!(
        reply
            .get_ref()
            .header
            .as_ref()
            .map(|header| header.revision),
        Some(3)
    );
}

#[tokio::test]
async fn a_transaction_compares_writes_and_answers_each_operation() {
    let (_node, service) = service();
    let absent = Compare {
        key: "a".into(),
        target: CompareTarget::Version as i32,
        target_union: Some(TargetUnion::Version(0)),
        ..Compare::default()
    };
    let request = TxnRequest {
        compare: vec![absent],
        success: vec![
            op(Op::RequestPut(put("a", "1"))),
            op(Op::RequestRange(all())),
        ],
        failure: vec![op(Op::RequestRange(all()))],
    };
    let reply = Kv::txn(&service, Request::new(request.clone()))
        .await
        .expect("txn")
        .into_inner();
    assert!(reply.succeeded);
    assert_eq!(reply.header.map(|header| header.revision), Some(2));
    let Some(OpReply::ResponseRange(range)) = &reply.responses[1].response else {
        panic!("a range's reply, not {reply:?}", reply = reply.responses)
    };
    let header = range.header.expect("a header");
    assert_eq!(
        (header.revision, header.cluster_id, header.raft_term),
        (2, 0, 0)
    );
    assert_eq!(range.kvs.len(), 1);
    let again = Kv::txn(&service, Request::new(request))
        .await
        .expect("txn")
        .into_inner();
    assert!(!again.succeeded);
    assert_eq!(again.responses.len(), 1);
}

#[tokio::test]
async fn reads_are_not_proposed_and_serializable_reads_ask_no_quorum() {
    let (node, service) = service();
    *node.barrier_error.lock() = Some(ReadIndexError::NoLeader);
    let serializable = RangeRequest {
        serializable: true,
        ..all()
    };
    let read = success(vec![op(Op::RequestRange(all()))]);
    let local = success(vec![op(Op::RequestRange(serializable.clone()))]);
    assert_eq!(refused_range(&service, all()).await, Reason::NoLeader);
    assert_eq!(refused_txn(&service, read.clone()).await, Reason::NoLeader);
    assert!(
        Kv::range(&service, Request::new(serializable))
            .await
            .is_ok()
    );
    assert!(Kv::txn(&service, Request::new(local)).await.is_ok());
    for (error, reason) in [
        (ReadIndexError::LeaderChanged, Reason::LeaderChanged),
        (ReadIndexError::TimedOut, Reason::TimedOut),
        (ReadIndexError::Stopping, Reason::Stopped),
    ] {
        *node.barrier_error.lock() = Some(error);
        assert_eq!(refused_range(&service, all()).await, reason);
    }
    *node.barrier_error.lock() = None;
    assert!(Kv::txn(&service, Request::new(read.clone())).await.is_ok());
    assert!(node.proposals.lock().is_empty());
    // A nested transaction counts as a write.
    assert!(Kv::txn(&service, Request::new(within(read))).await.is_ok());
    assert_eq!(node.proposals.lock().len(), 1);
}

#[tokio::test]
async fn a_write_that_left_and_failed_says_that_its_outcome_is_unknown() {
    let (node, service) = service();
    for (error, reason) in [
        (ProposeError::NoLeader, Reason::NoLeader),
        (ProposeError::Overloaded, Reason::TooManyRequests),
        (ProposeError::TooLarge, Reason::RequestTooLarge),
        (ProposeError::Stopping, Reason::Stopped),
        (ProposeError::TimedOut, Reason::WriteTimedOut),
        (ProposeError::LeaderLost, Reason::WriteLostLeader),
    ] {
        *node.propose_error.lock() = Some(error);
        assert_eq!(refused_put(&service, put("a", "")).await, reason);
    }
}

#[tokio::test]
async fn an_exhausted_quota_raises_the_alarm_once_and_refuses_what_needs_space() {
    let (node, service) = service_with(Limits {
        quota_bytes: Some(1000),
        ..Limits::standard()
    });
    node.logical_bytes.store(742, Ordering::SeqCst);
    assert!(Kv::put(&service, Request::new(put("a", ""))).await.is_ok());
    let puts = success(vec![op(Op::RequestPut(put("b", "1")))]);
    assert_eq!(refused_put(&service, put("b", "1")).await, Reason::NoSpace);
    let raised = AlarmChange {
        member: MEMBER,
        kind: Some(AlarmKind::NoSpace),
        active: true,
    };
    assert_eq!(node.proposals.lock().last(), Some(&Command::Alarm(raised)));
    let proposals = node.proposals.lock().len();
    assert_eq!(refused_txn(&service, puts.clone()).await, Reason::NoSpace);
    assert_eq!(
        refused_txn(&service, within(puts.clone())).await,
        Reason::NoSpace
    );
    assert_eq!(node.proposals.lock().len(), proposals);
    // The alarm stays although there is space again.
    node.logical_bytes.store(0, Ordering::SeqCst);
    assert_eq!(refused_txn(&service, puts).await, Reason::NoSpace);
    let delete = DeleteRangeRequest {
        key: "a".into(),
        ..DeleteRangeRequest::default()
    };
    assert!(
        Kv::delete_range(&service, Request::new(delete))
            .await
            .is_ok()
    );
    assert!(Kv::range(&service, Request::new(all())).await.is_ok());
}

#[tokio::test]
async fn a_member_reads_unless_an_alarm_names_it_or_names_none_and_none_writes() {
    let (node, service) = service();
    for (member, expected) in [
        (MemberId(0xb2), None),
        (MEMBER, Some(Reason::StateDiffers)),
        (MemberId::UNNAMED, Some(Reason::Corrupt)),
    ] {
        let mut alarm = AlarmChange {
            member,
            kind: Some(AlarmKind::Corrupt),
            active: true,
        };
        node.apply(&Command::Alarm(alarm));
        assert_eq!(refused_put(&service, put("a", "")).await, Reason::Corrupt);
        for serializable in [false, true] {
            let query = RangeRequest {
                serializable,
                ..all()
            };
            match expected {
                Some(reason) => assert_eq!(refused_range(&service, query).await, reason),
                None => drop(
                    Kv::range(&service, Request::new(query))
                        .await
                        .expect("it reads"),
                ),
            }
        }
        alarm.active = false;
        node.apply(&Command::Alarm(alarm));
    }
    assert!(Kv::put(&service, Request::new(put("a", ""))).await.is_ok());
}

#[tokio::test]
async fn a_physical_compaction_waits_until_the_space_is_free() {
    let (node, service) = service();
    node.apply(&Command::LeaseGrant(LeaseGrant {
        id: LeaseId(1),
        ttl: Ttl(1),
    }));
    Kv::put(&service, Request::new(put("a", "1")))
        .await
        .expect("put");
    let compact = CompactionRequest {
        revision: 2,
        physical: true,
    };
    let mut waiting = Kv::compact(&service, Request::new(compact));
    let first = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await;
    assert!(first.is_pending());
    node.collected.send_replace(Revision(2));
    assert_eq!(
        waiting
            .await
            .expect("done")
            .get_ref()
            .header
            .map(|it| it.revision),
        Some(2)
    );
    let again = CompactionRequest {
        revision: 9,
        physical: true,
    };
    let status = Kv::compact(&service, Request::new(again))
        .await
        .expect_err("future");
    assert_eq!(reason_of(&status), Some(Reason::FutureRevision));
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_with_its_deadline() {
    let limits = Limits {
        request_timeout: Duration::from_millis(5),
        ..Limits::standard()
    };
    let (_node, service) = service_with(limits);
    Kv::put(&service, Request::new(put("a", "1")))
        .await
        .expect("put");
    let compact = CompactionRequest {
        revision: 2,
        physical: true,
    };
    let status = Kv::compact(&service, Request::new(compact))
        .await
        .expect_err("never collected");
    assert_eq!(reason_of(&status), Some(Reason::WriteTimedOut));
}
