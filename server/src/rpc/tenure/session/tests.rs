//! The `Session` service against a node of one process.

use std::sync::atomic::Ordering;

use tenure_proto::{
    etcdserverpb::{self as etcd, PutRequest, kv_server::Kv, request_op::Request as Op},
    metadata::REQUEST_METADATA,
};
use tenure_statemachine::{Command, LeaseExpiry, LeaseGrant, Ttl};

use super::*;
use crate::rpc::{
    Limits,
    answer::status::reason_of,
    etcd::kv::KvService,
    fake::{FakeNode, TERM},
};

fn service() -> (Arc<FakeNode>, SessionService) {
    let node = FakeNode::leading();
    let services = node.services(Limits::standard());
    (node, SessionService(services))
}

async fn open(service: &SessionService, lease: i64, ttl_ms: u64) -> Result<i64, Status> {
    let request = wire::OpenSessionRequest { lease, ttl_ms };
    let response = Session::open(service, Request::new(request)).await;
    response.map(|response| response.into_inner().session)
}

async fn close(service: &SessionService, session: i64) -> Result<(), Status> {
    let request = wire::CloseSessionRequest { session };
    let response = Session::close(service, Request::new(request)).await;
    response.map(|_| ())
}

async fn inspect(
    service: &SessionService,
    session: i64,
) -> Result<wire::InspectSessionResponse, Status> {
    let request = wire::InspectSessionRequest { session };
    let response = Session::inspect(service, Request::new(request)).await;
    response.map(Response::into_inner)
}

fn put_named(session: i64, sequence: u64, answered: u64) -> Request<PutRequest> {
    let mut request = Request::new(PutRequest {
        key: "k".into(),
        ..PutRequest::default()
    });
    let id = format!("{session:x}.{sequence}.{answered}");
    let value = id.parse().expect("ascii");
    request.metadata_mut().insert(REQUEST_METADATA, value);
    request
}

fn delete(key: &'static str) -> etcd::TxnRequest {
    let op = Op::RequestDeleteRange(etcd::DeleteRangeRequest {
        key: key.into(),
        ..etcd::DeleteRangeRequest::default()
    });
    etcd::TxnRequest {
        success: vec![etcd::RequestOp { request: Some(op) }],
        ..etcd::TxnRequest::default()
    }
}

#[tokio::test]
async fn a_session_is_opened_on_a_lease_of_its_own_and_no_other() {
    let (node, service) = service();
    let session = open(&service, 0, 1500).await.expect("opened");
    assert!(session > 0);
    node.now.fetch_add(500, Ordering::SeqCst);
    let state = inspect(&service, session).await.expect("it is open");
    assert_eq!((state.ttl_ms, state.remaining_ms), (1500, 1000));
    assert_eq!((state.remembered, state.forgotten), (0, 0));
    let status = open(&service, 77, 0).await.expect_err("no such lease");
    assert_eq!(reason_of(&status), Some(Reason::LeaseNotFound));
    node.apply(&Command::LeaseGrant(LeaseGrant {
        id: LeaseId(77),
        ttl: Ttl::from_secs(9),
    }));
    let status = open(&service, 77, 0).await.expect_err("no session's");
    assert_eq!(reason_of(&status), Some(Reason::SessionNotFound));
    assert_eq!(
        open(&service, session, 0).await.expect("it is open"),
        session
    );
}

#[tokio::test]
async fn what_a_session_asked_for_takes_effect_once() {
    let (_node, service) = service();
    let kv = KvService(Arc::clone(&service.0));
    let session = open(&service, 0, 60_000).await.expect("opened");
    let revision = |response: Response<etcd::PutResponse>| {
        response.into_inner().header.map(|header| header.revision)
    };
    for _ in 0..3 {
        let response = Kv::put(&kv, put_named(session, 1, 0)).await;
        assert_eq!(revision(response.expect("done")), Some(2));
    }
    let response = Kv::put(&kv, put_named(session, 2, 1)).await;
    assert_eq!(revision(response.expect("done")), Some(3));
    let state = inspect(&service, session).await.expect("it is open");
    assert_eq!((state.remembered, state.forgotten), (1, 1));
    let status = Kv::put(&kv, put_named(session, 1, 0)).await;
    let status = status.expect_err("forgotten");
    assert_eq!(
        status.message(),
        "tenure: request is forgotten: your request 1, those up to 1 are"
    );
}

#[tokio::test]
async fn a_closed_session_is_gone_with_its_lease_and_only_a_session_is_closed() {
    let (node, service) = service();
    let session = open(&service, 0, 60_000).await.expect("opened");
    close(&service, session).await.expect("closed");
    for status in [
        close(&service, session).await.expect_err("gone"),
        inspect(&service, session).await.expect_err("gone"),
    ] {
        let expected = format!("tenure: session not found: {session:016x}");
        assert_eq!(status.message(), expected);
    }
    node.apply(&Command::LeaseGrant(LeaseGrant {
        id: LeaseId(77),
        ttl: Ttl::from_secs(9),
    }));
    let status = close(&service, 77)
        .await
        .expect_err("a lease is no session");
    assert_eq!(reason_of(&status), Some(Reason::SessionNotFound));
    let kv = KvService(Arc::clone(&service.0));
    let status = Kv::put(&kv, put_named(session, 1, 0))
        .await
        .expect_err("gone");
    assert_eq!(reason_of(&status), Some(Reason::SessionNotFound));
    let status = close(&service, 0).await.expect_err("which?");
    assert_eq!(status.message(), "tenure: session is not provided");
}

#[tokio::test]
async fn a_will_runs_when_its_lease_expires_unless_it_was_removed() {
    let (node, service) = service();
    for (lease, key, removed) in [(1, "a", false), (2, "b", true)] {
        node.apply(&Command::LeaseGrant(LeaseGrant {
            id: LeaseId(lease),
            ttl: Ttl::from_secs(9),
        }));
        node.apply(&Command::Put(tenure_statemachine::Put {
            key: key.into(),
            ..tenure_statemachine::Put::default()
        }));
        let set = |transaction| {
            let request = wire::SetWillRequest {
                lease,
                transaction,
                ..wire::SetWillRequest::default()
            };
            Session::set_will(&service, Request::new(request))
        };
        set(Some(delete(key))).await.expect("set");
        if removed {
            set(None).await.expect("removed");
        }
    }
    node.now.fetch_add(9000, Ordering::SeqCst);
    let mut keys = node.keys();
    assert_eq!(keys, ["a", "b"]);
    for generation in 0..2 {
        let expired = [1, 2].map(|id| LeaseExpiry {
            id: LeaseId(id),
            generation,
            term: TERM,
        });
        node.apply(&Command::LeaseExpire(expired.to_vec()));
    }
    keys = node.keys();
    assert_eq!(keys, ["b"]);
}

#[tokio::test]
async fn wills_that_cannot_be_are_refused() {
    let (node, service) = service();
    node.apply(&Command::LeaseGrant(LeaseGrant {
        id: LeaseId(1),
        ttl: Ttl::from_secs(9),
    }));
    let guard = |token| wire::Guard {
        name: "a".into(),
        token,
    };
    for (request, expected) in [
        (
            wire::SetWillRequest::default(),
            "tenure: lease is not provided",
        ),
        (
            wire::SetWillRequest {
                lease: 7,
                transaction: Some(delete("a")),
                ..wire::SetWillRequest::default()
            },
            "etcdserver: requested lease not found",
        ),
        (
            wire::SetWillRequest {
                lease: 1,
                lock: "a".into(),
                transaction: Some(delete("a")),
                ..wire::SetWillRequest::default()
            },
            "tenure: lease has no claim: lock \"a\"",
        ),
        (
            wire::SetWillRequest {
                lease: 1,
                guards: vec![guard(0)],
                transaction: Some(delete("a")),
                ..wire::SetWillRequest::default()
            },
            "tenure: guard is malformed: token of \"a\" is 0, tokens are positive",
        ),
        (
            wire::SetWillRequest {
                lease: 1,
                transaction: Some(delete("")),
                ..wire::SetWillRequest::default()
            },
            "etcdserver: key is not provided",
        ),
    ] {
        let refused = Session::set_will(&service, Request::new(request)).await;
        assert_eq!(refused.expect_err("refused").message(), expected);
    }
}
