//! etcd's `Election` against a node of one process.

use futures::{StreamExt, poll};
use tenure_statemachine::{Command, LeaseGrant, LeaseId, Ttl};
use tonic::Code;

use super::*;
use crate::rpc::{Limits, fake::FakeNode};

fn service() -> (Arc<FakeNode>, EtcdElectionService) {
    let node = FakeNode::leading();
    for id in 1..5 {
        node.apply(&Command::LeaseGrant(LeaseGrant {
            id: LeaseId(id),
            ttl: Ttl::from_secs(9),
        }));
    }
    let services = node.services(Limits::standard());
    (node, EtcdElectionService(services))
}

async fn campaign(
    service: &EtcdElectionService,
    lease: i64,
    value: &'static str,
) -> Result<wire::LeaderKey, Status> {
    let request = wire::CampaignRequest {
        name: "e".into(),
        lease,
        value: value.into(),
    };
    let response = Election::campaign(service, Request::new(request)).await?;
    Ok(response.into_inner().leader.expect("a leader key"))
}

async fn proclaim(
    service: &EtcdElectionService,
    leader: Option<wire::LeaderKey>,
    value: &'static str,
) -> Result<(), Status> {
    let request = wire::ProclaimRequest {
        leader,
        value: value.into(),
    };
    let response = Election::proclaim(service, Request::new(request)).await;
    response.map(|_| ())
}

async fn resign(
    service: &EtcdElectionService,
    leader: Option<wire::LeaderKey>,
) -> Result<(), Status> {
    let response = Election::resign(service, Request::new(wire::ResignRequest { leader })).await;
    response.map(|_| ())
}

async fn leads(service: &EtcdElectionService) -> Result<(Bytes, Bytes), Status> {
    let request = wire::LeaderRequest { name: "e".into() };
    let response = Election::leader(service, Request::new(request)).await?;
    let kv = response.into_inner().kv.expect("a record");
    Ok((kv.key, kv.value))
}

fn code_and_text(status: Status) -> (Code, String) {
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn the_first_candidate_leads_and_proclaims() {
    let (_node, service) = service();
    let leaderless = code_and_text(leads(&service).await.expect_err("nobody leads"));
    assert_eq!(
        leaderless,
        (Code::Unknown, "election: no leader".to_owned())
    );
    let leader = campaign(&service, 1, "one").await.expect("elected");
    assert_eq!(
        (leader.key.as_ref(), leader.rev, leader.lease),
        (&b"e/1"[..], 2, 1)
    );
    assert_eq!(
        leads(&service).await.expect("it leads"),
        ("e/1".into(), "one".into())
    );
    proclaim(&service, Some(leader.clone()), "new")
        .await
        .expect("it leads");
    assert_eq!(
        leads(&service).await.expect("it leads"),
        ("e/1".into(), "new".into())
    );
    let again = campaign(&service, 1, "third")
        .await
        .expect("it leads already");
    assert_eq!(again, leader);
    assert_eq!(
        leads(&service).await.expect("it leads"),
        ("e/1".into(), "third".into())
    );
}

#[tokio::test]
async fn the_next_candidate_waits_for_the_leader_to_resign() {
    let (_node, service) = service();
    let first = campaign(&service, 1, "one").await.expect("elected");
    let mut second = Box::pin(campaign(&service, 2, "two"));
    assert!(poll!(&mut second).is_pending());
    resign(&service, Some(first.clone()))
        .await
        .expect("resigned");
    let second = second.await.expect("elected");
    assert!(second.rev > first.rev);
    let late = code_and_text(
        proclaim(&service, Some(first.clone()), "late")
            .await
            .expect_err("stale"),
    );
    assert_eq!(late, (Code::Unknown, "election: not leader".to_owned()));
    resign(&service, Some(first))
        .await
        .expect("as in etcd, no error");
    assert_eq!(
        leads(&service).await.expect("it leads"),
        ("e/2".into(), "two".into())
    );
}

#[tokio::test]
async fn an_observer_sees_leaders_and_values_and_nothing_without_a_leader() {
    let (_node, service) = service();
    let request = wire::LeaderRequest { name: "e".into() };
    let stream = Election::observe(&service, Request::new(request)).await;
    let mut stream = stream.expect("opened").into_inner();
    assert!(poll!(stream.next()).is_pending());
    let leader = campaign(&service, 1, "one").await.expect("elected");
    let mut next = async || {
        let response = stream
            .next()
            .await
            .expect("a response")
            .expect("no failure");
        let kv = response.kv.expect("a record");
        (kv.value, kv.create_revision, kv.mod_revision, kv.version)
    };
    assert_eq!(next().await, ("one".into(), 2, 2, 1));
    proclaim(&service, Some(leader.clone()), "new")
        .await
        .expect("it leads");
    assert_eq!(next().await, ("new".into(), 2, 3, 2));
    resign(&service, Some(leader)).await.expect("resigned");
    campaign(&service, 2, "two").await.expect("elected");
    assert_eq!(next().await, ("two".into(), 5, 5, 1));
}

#[tokio::test]
async fn a_call_without_the_leaders_key_is_refused_in_etcds_words() {
    let (_node, service) = service();
    for refused in [
        proclaim(&service, None, "").await,
        resign(&service, None).await,
    ] {
        let expected = (
            Code::Unknown,
            "\"leader\" field must be provided".to_owned(),
        );
        assert_eq!(code_and_text(refused.expect_err("refused")), expected);
    }
}

#[tokio::test]
async fn a_candidate_whose_lease_ends_fails() {
    let (node, service) = service();
    campaign(&service, 1, "one").await.expect("elected");
    let mut second = Box::pin(campaign(&service, 2, "two"));
    while node.keys().len() < 2 {
        assert!(poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    node.apply(&Command::LeaseRevoke(LeaseId(2)));
    let status = second.await.expect_err("ended");
    assert_eq!(status.message(), "etcdserver: requested lease not found");
}
