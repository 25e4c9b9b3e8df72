//! The `Fence` service against a node of one process, and the writes that policies refuse.

use tenure_proto::{
    etcdserverpb::{PutRequest, kv_server::Kv},
    metadata::{CURRENT_TOKEN_METADATA, GUARD_TEXT_METADATA},
};
use tenure_statemachine::{Acquire, ClaimCommand, Command, LeaseGrant, LeaseId, Reply, Ttl};

use super::*;
use crate::rpc::{Limits, answer::status::reason_of, etcd::kv::KvService, fake::FakeNode};

fn service() -> (Arc<FakeNode>, FenceService) {
    let node = FakeNode::leading();
    let services = node.services(Limits::standard());
    (node, FenceService(services))
}

fn policy(prefix: &'static str, lock: &'static str) -> wire::Policy {
    wire::Policy {
        prefix: prefix.into(),
        lock: lock.into(),
    }
}

async fn set(service: &FenceService, policy: Option<wire::Policy>) -> Result<(), Status> {
    let request = wire::SetPolicyRequest {
        policy,
        options: None,
    };
    let response = Fence::set_policy(service, Request::new(request)).await;
    response.map(|_| ())
}

async fn remove(service: &FenceService, prefix: &'static str) -> Result<(), Status> {
    let request = wire::RemovePolicyRequest {
        prefix: prefix.into(),
        options: None,
    };
    let response = Fence::remove_policy(service, Request::new(request)).await;
    response.map(|_| ())
}

async fn list(service: &FenceService) -> Vec<wire::Policy> {
    let request = Request::new(wire::ListPoliciesRequest {});
    let response = Fence::list_policies(service, request).await;
    response.expect("answered").into_inner().policies
}

async fn put(service: &FenceService, guard: Option<i64>) -> Result<(), Status> {
    let mut request = Request::new(PutRequest {
        key: "data/1".into(),
        ..PutRequest::default()
    });
    if let Some(token) = guard {
        let guard = format!("jobs={token}").parse().expect("ascii");
        request.metadata_mut().insert(GUARD_TEXT_METADATA, guard);
    }
    let kv = KvService(Arc::clone(&service.0));
    Kv::put(&kv, request).await.map(|_| ())
}

#[tokio::test]
async fn policies_are_set_replaced_listed_and_removed() {
    let (_node, service) = service();
    set(&service, Some(policy("b/", "y"))).await.expect("set");
    set(&service, Some(policy("a/", "x"))).await.expect("set");
    set(&service, Some(policy("b/", "z")))
        .await
        .expect("replaced");
    assert_eq!(list(&service).await, [policy("a/", "x"), policy("b/", "z")]);
    remove(&service, "a/").await.expect("removed");
    let status = remove(&service, "a/").await.expect_err("gone");
    assert_eq!(reason_of(&status), Some(Reason::PolicyNotFound));
    assert_eq!(list(&service).await, [policy("b/", "z")]);
}

#[tokio::test]
async fn writes_below_a_prefix_need_a_live_guard_of_its_lock() {
    let (node, service) = service();
    put(&service, None).await.expect("there is no policy");
    set(&service, Some(policy("data/", "jobs")))
        .await
        .expect("set");
    let status = put(&service, None).await.expect_err("unguarded");
    assert_eq!(
        status.message(),
        "tenure: guard is missing: keys under \"data/\" need one of lock \"jobs\""
    );
    node.apply(&Command::LeaseGrant(LeaseGrant {
        id: LeaseId(1),
        ttl: Ttl::from_secs(9),
    }));
    let acquire = Acquire {
        names: vec!["jobs".into()],
        lease: LeaseId(1),
        ..Acquire::default()
    };
    let outcome = node.apply(&Command::Claim(ClaimCommand::Acquire(acquire)));
    let Ok(Reply::Acquire(reply)) = outcome.reply else {
        panic!("it was free");
    };
    let token = reply.claims.first().expect("a claim").token.0;
    put(&service, Some(token)).await.expect("the holder writes");
    let status = put(&service, Some(token + 1)).await.expect_err("stale");
    assert_eq!(
        status.message(),
        format!(
            "tenure: guard is stale: lock \"jobs\": your token {}, current {token}",
            token + 1
        )
    );
    let current = status.metadata().get(CURRENT_TOKEN_METADATA);
    let current = current.and_then(|value| value.to_str().ok());
    assert_eq!(current, Some(token.to_string().as_str()));
}

#[tokio::test]
async fn policies_that_cannot_be_are_refused() {
    let (_node, service) = service();
    for (policy, expected) in [
        (None, "tenure: policy is not provided"),
        (Some(policy("", "x")), "tenure: prefix is not provided"),
        (Some(policy("a/", "")), "tenure: name is not provided"),
    ] {
        let status = set(&service, policy).await.expect_err("refused");
        assert_eq!(status.message(), expected);
    }
    let status = remove(&service, "").await.expect_err("refused");
    assert_eq!(status.message(), "tenure: prefix is not provided");
}
