//! The `Election` service against a node of one process.

use futures::{StreamExt, poll};
use tenure_statemachine::{Command, LeaseGrant, LeaseId, Ttl};

use super::*;
use crate::rpc::{
    Limits,
    answer::status::{Reason, reason_of},
    fake::FakeNode,
};

fn service() -> (Arc<FakeNode>, ElectionService) {
    let node = FakeNode::leading();
    for id in 1..10 {
        node.apply(&Command::LeaseGrant(LeaseGrant {
            id: LeaseId(id),
            ttl: Ttl::from_secs(1000),
        }));
    }
    let services = node.services(Limits::standard());
    (node, ElectionService(services))
}

async fn campaign(
    service: &ElectionService,
    lease: i64,
    value: &'static str,
) -> Responses<wire::CampaignResponse> {
    let request = wire::CampaignRequest {
        name: "e".into(),
        lease,
        value: value.into(),
        ..wire::CampaignRequest::default()
    };
    let response = Election::campaign(service, Request::new(request)).await;
    response.expect("admitted").into_inner()
}

async fn next(stream: &mut Responses<wire::CampaignResponse>) -> State {
    let response = stream
        .next()
        .await
        .expect("a response")
        .expect("no failure");
    response.state.expect("a state")
}

async fn elected(stream: &mut Responses<wire::CampaignResponse>) -> wire::Claim {
    match next(stream).await {
        State::Elected(elected) => elected.leader.expect("a leader"),
        State::Waiting(waiting) => panic!("it leads: {waiting:?}"),
    }
}

async fn waits(stream: &mut Responses<wire::CampaignResponse>) -> wire::Waiting {
    match next(stream).await {
        State::Waiting(waiting) => waiting,
        State::Elected(elected) => panic!("it waits: {elected:?}"),
    }
}

async fn proclaim(
    service: &ElectionService,
    epoch: i64,
    value: &'static str,
) -> Result<(), Status> {
    let request = wire::ProclaimRequest {
        name: "e".into(),
        epoch,
        value: value.into(),
        options: None,
    };
    let response = Election::proclaim(service, Request::new(request)).await;
    response.map(|_| ())
}

async fn resign(service: &ElectionService, epoch: i64) -> Result<(), Status> {
    let request = wire::ResignRequest {
        name: "e".into(),
        epoch,
        options: None,
    };
    let response = Election::resign(service, Request::new(request)).await;
    response.map(|_| ())
}

async fn observe(service: &ElectionService) -> Responses<wire::ObserveResponse> {
    let request = wire::ObserveRequest { name: "e".into() };
    let response = Election::observe(service, Request::new(request)).await;
    response.expect("opened").into_inner()
}

async fn observed(stream: &mut Responses<wire::ObserveResponse>) -> Option<(i64, bytes::Bytes)> {
    let response = stream
        .next()
        .await
        .expect("a response")
        .expect("no failure");
    response.leader.map(|leader| (leader.lease, leader.value))
}

#[tokio::test]
async fn candidates_lead_in_turn_each_in_a_greater_epoch() {
    let (_node, service) = service();
    let first = elected(&mut campaign(&service, 1, "one").await).await;
    let mut second = campaign(&service, 2, "two").await;
    let waiting = waits(&mut second).await;
    assert_eq!(waiting.candidate.map(|claim| claim.lease), Some(2));
    assert_eq!(waiting.leader.map(|claim| claim.lease), Some(1));
    assert!(poll!(second.next()).is_pending());
    resign(&service, first.token).await.expect("it led");
    let second = elected(&mut second).await;
    assert!(second.token > first.token);
    assert_eq!(second.value, "two");
    let status = resign(&service, first.token).await.expect_err("stale");
    assert_eq!(reason_of(&status), Some(Reason::NotHolder));
}

#[tokio::test]
async fn who_observes_sees_every_leader_and_every_value() {
    let (_node, service) = service();
    let mut stream = observe(&service).await;
    assert_eq!(observed(&mut stream).await, None);
    let first = elected(&mut campaign(&service, 1, "one").await).await;
    assert_eq!(observed(&mut stream).await, Some((1, "one".into())));
    let mut second = campaign(&service, 2, "two").await;
    waits(&mut second).await;
    assert!(poll!(stream.next()).is_pending(), "the leader is the same");
    proclaim(&service, first.token, "new")
        .await
        .expect("it leads");
    assert_eq!(observed(&mut stream).await, Some((1, "new".into())));
    resign(&service, first.token).await.expect("it led");
    assert_eq!(observed(&mut stream).await, Some((2, "two".into())));
    let status = proclaim(&service, first.token, "late")
        .await
        .expect_err("stale");
    assert_eq!(reason_of(&status), Some(Reason::NotHolder));
    assert!(poll!(stream.next()).is_pending());
}

#[tokio::test]
async fn leadership_is_handed_to_a_candidate_out_of_turn() {
    let (_node, service) = service();
    let first = elected(&mut campaign(&service, 1, "one").await).await;
    let (mut second, mut third) = (
        campaign(&service, 2, "two").await,
        campaign(&service, 3, "three").await,
    );
    waits(&mut second).await;
    waits(&mut third).await;
    let hand_over = |to_lease| {
        let request = wire::HandOverRequest {
            name: "e".into(),
            epoch: first.token,
            to_lease,
            options: None,
        };
        Election::hand_over(&service, Request::new(request))
    };
    let status = hand_over(9).await.expect_err("no candidate");
    assert_eq!(reason_of(&status), Some(Reason::CandidateUnknown));
    let leader = hand_over(3).await.expect("handed over").into_inner().leader;
    let leader = leader.expect("a leader");
    assert_eq!((leader.lease, leader.held), (3, true));
    let received = elected(&mut third).await;
    assert_eq!(received.token, leader.token);
    resign(&service, leader.token).await.expect("it led");
    assert!(elected(&mut second).await.token > leader.token);
}

#[tokio::test]
async fn a_candidate_that_leaves_is_withdrawn() {
    let (node, service) = service();
    let first = elected(&mut campaign(&service, 1, "one").await).await;
    let mut second = campaign(&service, 2, "two").await;
    waits(&mut second).await;
    let mut third = campaign(&service, 3, "three").await;
    waits(&mut third).await;
    let applied = *node.applied.borrow();
    drop(second);
    let mut changes = node.applied.subscribe();
    changes.wait_for(|now| *now > applied).await.expect("alive");
    resign(&service, first.token).await.expect("it led");
    assert_eq!(elected(&mut third).await.lease, 3);
}

#[tokio::test]
async fn bad_input_is_refused_with_what_is_wrong() {
    let (_node, service) = service();
    for (request, expected) in [
        (
            wire::CampaignRequest {
                lease: 1,
                ..wire::CampaignRequest::default()
            },
            "tenure: name is not provided",
        ),
        (
            wire::CampaignRequest {
                name: "e".into(),
                ..wire::CampaignRequest::default()
            },
            "tenure: neither lease nor ttl is provided",
        ),
    ] {
        let refused = Election::campaign(&service, Request::new(request)).await;
        assert_eq!(
            refused.map(|_| ()).expect_err("refused").message(),
            expected
        );
    }
    for refused in [proclaim(&service, 0, "").await, resign(&service, -1).await] {
        let status = refused.expect_err("refused");
        assert_eq!(status.message(), "tenure: token is not provided");
    }
}
