//! etcd's `Lock` against a node of one process.

use futures::poll;
use tenure_statemachine::{ClaimCommand, Command, LeaseGrant, Put};
use tonic::Code;

use super::*;
use crate::rpc::{Limits, fake::FakeNode};

fn service() -> (Arc<FakeNode>, EtcdLockService) {
    let node = FakeNode::leading();
    for id in 1..5 {
        node.apply(&Command::LeaseGrant(LeaseGrant {
            id: LeaseId(id),
            ttl: Ttl::from_secs(9),
        }));
    }
    let services = node.services(Limits::standard());
    (node, EtcdLockService(services))
}

async fn lock(service: &EtcdLockService, lease: i64) -> Result<wire::LockResponse, Status> {
    let request = wire::LockRequest {
        name: "a".into(),
        lease,
    };
    let response = Lock::lock(service, Request::new(request)).await;
    response.map(Response::into_inner)
}

async fn unlock(service: &EtcdLockService, key: Bytes) -> Result<wire::UnlockResponse, Status> {
    let response = Lock::unlock(service, Request::new(wire::UnlockRequest { key })).await;
    response.map(Response::into_inner)
}

#[tokio::test]
async fn a_free_lock_is_the_key_of_name_and_lease() {
    let (node, service) = service();
    let held = lock(&service, 3).await.expect("free");
    assert_eq!(held.key, "a/3");
    let header = held.header.expect("a header");
    assert_eq!((header.revision, header.raft_term), (2, 3));
    assert_eq!(node.keys(), ["a/3"]);
}

#[tokio::test]
async fn without_a_lease_one_of_sixty_seconds_is_made() {
    let (node, service) = service();
    let held = lock(&service, 0).await.expect("free");
    let lease = node.keys_of_leases(Ttl::from_secs(60));
    assert_eq!(lease, [held.key]);
}

#[tokio::test]
async fn the_same_lease_gets_the_same_key_again() {
    let (_node, service) = service();
    let first = lock(&service, 3).await.expect("free");
    let again = lock(&service, 3).await.expect("its own");
    assert_eq!(first.key, again.key);
    // A second request that is cancelled does not withdraw the claim of the first.
    let mut dropped = Box::pin(lock(&service, 3));
    drop(poll!(&mut dropped));
    drop(dropped);
    tokio::task::yield_now().await;
    assert_eq!(lock(&service, 3).await.expect("its own").key, first.key);
}

#[tokio::test]
async fn a_lock_is_waited_for_until_its_key_is_deleted() {
    let (_node, service) = service();
    let first = lock(&service, 1).await.expect("free");
    let mut second = Box::pin(lock(&service, 2));
    assert!(poll!(&mut second).is_pending());
    unlock(&service, first.key).await.expect("deleted");
    assert_eq!(second.await.expect("its turn").key, "a/2");
}

#[tokio::test]
async fn keys_that_etcds_clients_put_exclude_too() {
    let (node, service) = service();
    let put = Put {
        key: "a/1".into(),
        lease: LeaseId(1),
        ..Put::default()
    };
    node.apply(&Command::Put(put));
    let mut second = Box::pin(lock(&service, 2));
    assert!(poll!(&mut second).is_pending());
    unlock(&service, "a/1".into()).await.expect("deleted");
    assert_eq!(second.await.expect("its turn").key, "a/2");
}

#[tokio::test]
async fn a_caller_that_leaves_is_taken_out_of_the_queue() {
    let (node, service) = service();
    lock(&service, 1).await.expect("free");
    let mut second = Box::pin(lock(&service, 2));
    while node.keys().len() < 2 {
        assert!(poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    drop(second);
    while node.keys().len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.keys(), ["a/1"]);
}

#[tokio::test]
async fn a_waiter_whose_lease_ends_fails_with_etcds_text() {
    let (node, service) = service();
    lock(&service, 1).await.expect("free");
    let mut second = Box::pin(lock(&service, 2));
    while node.keys().len() < 2 {
        assert!(poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    node.apply(&Command::LeaseRevoke(LeaseId(2)));
    let status = second.await.expect_err("expired");
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(status.message(), "mutex: session is expired");
}

#[tokio::test]
async fn a_lease_that_does_not_exist_gets_no_lock_and_an_empty_key_is_no_key() {
    let (_node, service) = service();
    let status = lock(&service, 77).await.expect_err("no such lease");
    assert_eq!(status.message(), "etcdserver: requested lease not found");
    let status = unlock(&service, Bytes::new()).await.expect_err("no key");
    assert_eq!(status.message(), "etcdserver: key is not provided");
    unlock(&service, "never/1".into())
        .await
        .expect("as in etcd");
}

#[tokio::test]
async fn a_stopping_node_lets_its_waiters_go_elsewhere() {
    let (node, service) = service();
    lock(&service, 1).await.expect("free");
    let mut second = Box::pin(lock(&service, 2));
    while node.keys().len() < 2 {
        assert!(poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    service.0.drain();
    let status = second.await.expect_err("stopped");
    assert_eq!(status.message(), "etcdserver: server stopped");
    let withdrawn =
        |command: &Command| matches!(command, Command::Claim(ClaimCommand::Withdraw(_)));
    while !node.proposals.lock().iter().any(withdrawn) {
        tokio::task::yield_now().await;
    }
}
