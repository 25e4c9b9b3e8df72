//! Tests of elections against an in-process server with fault injection.

use std::{future::IntoFuture, time::Duration};

use tokio::time::timeout;

use crate::{ClaimLoss, ErrorKind, LeaseId, Token, fake::Fake};

/// Test timeout: longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn candidates_lead_one_after_another_in_greater_epochs() {
    let (fake, client) = Fake::start().await;
    let election = client.elections().named("e");
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
    let election = client.elections().named("e");
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
    let mut leader = client.elections().named("e").campaign("one").await.unwrap();
    client.locks().force_release("e", "test").await.unwrap();
    assert_eq!(
        timeout(PATIENCE, leader.lost()).await.unwrap(),
        ClaimLoss::Revoked
    );
    assert_eq!(
        leader.proclaim("two").await.unwrap_err().kind(),
        ErrorKind::NotHolder
    );
    assert_eq!(
        leader.hand_over(LeaseId::new(1)).await.unwrap_err().kind(),
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
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let election = client.elections().named("e");
    let mut first = election.campaign("one").await.unwrap();
    let waiter = tokio::spawn(election.campaign("two").session(&session).into_future());
    fake.until(|store| store.claims("e") == 2).await;
    let leader = first.hand_over(session.lease()).await.unwrap();
    assert_eq!(&leader.value[..], b"two");
    assert_eq!(first.lost().await, ClaimLoss::Released);
    let second = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(second.epoch(), leader.epoch);
}

#[tokio::test]
async fn an_operator_hands_an_election_over_in_the_epoch_that_was_looked_at() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let election = client.elections().named("e");
    let first = election.campaign("one").await.unwrap();
    let missing = election.hand_over(session.lease(), first.epoch()).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    let waiter = tokio::spawn(election.campaign("two").session(&session).into_future());
    fake.until(|store| store.claims("e") == 2).await;
    let early = election
        .hand_over(session.lease(), Token::new(first.epoch().get() - 1))
        .await;
    assert_eq!(early.unwrap_err().kind(), ErrorKind::NotHolder);
    let leader = election.hand_over(session.lease(), first.epoch()).await;
    let leader = leader.unwrap();
    assert_eq!(&leader.value[..], b"two");
    let second = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(second.epoch(), leader.epoch);
    let loss = timeout(PATIENCE, first.lost()).await.unwrap();
    assert_eq!(loss, ClaimLoss::Revoked);
}

#[tokio::test]
async fn a_hand_over_whose_answer_is_lost_is_found_out_in_a_session() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let first = client.elections().named("e").campaign("one").await.unwrap();
    let candidacy = client
        .elections()
        .named("e")
        .campaign("two")
        .session(&session);
    let waiter = tokio::spawn(candidacy.into_future());
    fake.until(|store| store.claims("e") == 2).await;
    fake.lose_answer();
    let exact = session.client().elections().named("e");
    // A second execution would be refused, because the epoch has ended.
    let leader = exact
        .hand_over(session.lease(), first.epoch())
        .await
        .unwrap();
    assert!(leader.epoch > first.epoch());
    let second = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(second.epoch(), leader.epoch);
}

#[tokio::test]
async fn a_hand_over_whose_answer_is_lost_may_have_happened_and_a_stale_guard_refuses_one() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let operator = client.locks().acquire("operators").await.unwrap();
    let holder = operator.guarded().elections().named("e");
    operator.release().await.unwrap();
    let first = client.elections().named("e").campaign("one").await.unwrap();
    let candidacy = client
        .elections()
        .named("e")
        .campaign("two")
        .session(&session);
    let waiter = tokio::spawn(candidacy.into_future());
    fake.until(|store| store.claims("e") == 2).await;
    let refused = holder.hand_over(session.lease(), first.epoch()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::StaleGuard);
    assert!(first.is_leader());
    fake.lose_answer();
    let election = client.elections().named("e");
    let lost = election.hand_over(session.lease(), first.epoch()).await;
    assert!(lost.unwrap_err().outcome_unknown());
    let second = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    assert!(second.epoch() > first.epoch(), "it happened");
}
