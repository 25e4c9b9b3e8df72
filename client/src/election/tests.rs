//! Elections against a server in this process that breaks where it is told to.

use std::{future::IntoFuture, time::Duration};

use tokio::time::timeout;

use crate::{ClaimLoss, ErrorKind, lock::fake::Fake};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn candidates_lead_one_after_another_in_greater_epochs() {
    let (fake, client) = Fake::start().await;
    let election = client.election("e");
    assert_eq!(election.leader().await.unwrap(), None);
    let first = election.campaign("one").principal("p").await.unwrap();
    let leader = election.leader().await.unwrap().unwrap();
    assert_eq!(
        (leader.epoch, &leader.value[..]),
        (first.epoch(), &b"one"[..])
    );
    assert_eq!(
        (leader.lease, leader.principal.as_str()),
        (first.lease(), "p")
    );

    let waiter = tokio::spawn(election.campaign("two").into_future());
    fake.until(|store| store.claims("e") == 2).await;
    fake.break_streams();
    let epoch = first.epoch();
    first.resign().await.unwrap();
    let second = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    assert!(second.epoch() > epoch && second.is_leader());
    assert_eq!(
        fake.store.lock().claimed,
        2,
        "the break made no other candidate"
    );
}

#[tokio::test]
async fn observers_see_leaders_and_their_values_across_a_break() {
    let (fake, client) = Fake::start().await;
    let election = client.election("e");
    let mut observer = election.observe().await.unwrap();
    let mut next = async || {
        let leader = timeout(PATIENCE, observer.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        leader.map(|leader| String::from_utf8(leader.value.to_vec()).unwrap())
    };
    assert_eq!(next().await, None);
    let leader = election.campaign("one").await.unwrap();
    assert_eq!(next().await.as_deref(), Some("one"));
    leader.proclaim("two").await.unwrap();
    assert_eq!(next().await.as_deref(), Some("two"));
    fake.break_streams();
    leader.proclaim("three").await.unwrap();
    assert_eq!(next().await.as_deref(), Some("three"));
    leader.resign().await.unwrap();
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn a_leader_that_was_ended_by_force_can_do_nothing() {
    let (_fake, client) = Fake::start().await;
    let mut leader = client.election("e").campaign("one").await.unwrap();
    client.force_release("e", None, "test").await.unwrap();
    assert_eq!(
        timeout(PATIENCE, leader.lost()).await.unwrap(),
        ClaimLoss::Taken
    );
    assert_eq!(
        leader.proclaim("two").await.unwrap_err().kind(),
        ErrorKind::NotHolder
    );
    assert_eq!(
        leader.hand_over(1).await.unwrap_err().kind(),
        ErrorKind::NotHolder
    );
    assert_eq!(
        leader.resign().await.unwrap_err().kind(),
        ErrorKind::NotHolder
    );
}

#[tokio::test]
async fn a_leader_hands_over_to_the_candidate_it_names() {
    let (fake, client) = Fake::start().await;
    let session = client.session(Duration::from_secs(30)).await.unwrap();
    let election = client.election("e");
    let mut first = election.campaign("one").await.unwrap();
    let waiter = tokio::spawn(election.campaign("two").session(&session).into_future());
    fake.until(|store| store.claims("e") == 2).await;
    let leader = first.hand_over(session.lease()).await.unwrap();
    assert_eq!(&leader.value[..], b"two");
    assert_eq!(first.lost().await, ClaimLoss::GivenUp);
    let second = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(second.epoch(), leader.epoch);
}
