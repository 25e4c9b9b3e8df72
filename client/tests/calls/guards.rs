//! Guards: every write of a guarded handle carries them, and a write whose guard cannot be checked
//! is not sent.

use bytes::Bytes;
use tenure::{Client, Error, ErrorKind, Get, Guard, LeaseId, MemberRole, Put, Revision, Token};

use crate::fake::{Fake, PATIENCE};

const LOCK: &str = "jobs/42";

/// Every write that can be guarded, once.
async fn write_everything(client: &Client) -> Vec<Result<(), Error>> {
    vec![
        client.put("k", "v").await.map(drop),
        client.delete("k").await.map(drop),
        client.txn().and_then(Put::new("k", "v")).await.map(drop),
        client
            .maintenance()
            .compact(Revision::new(1))
            .await
            .map(drop),
        client.leases().grant(PATIENCE).await.map(drop),
        client.leases().revoke(LeaseId::new(1)).await.map(drop),
    ]
}

fn guard(token: i64) -> (Bytes, i64) {
    (Bytes::from(LOCK), token)
}

#[tokio::test]
async fn every_write_of_a_guarded_handle_carries_the_guard() {
    let fake = Fake::of(1).await;
    let token = fake.change(|store| store.hold(LOCK));
    let holder = fake
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(token))]);
    let written = write_everything(&holder).await;
    assert_eq!(written.iter().filter(|written| written.is_err()).count(), 0);
    let arrivals = fake.arrivals();
    assert_eq!(arrivals.len(), written.len());
    for arrival in arrivals {
        assert_eq!(arrival.guards, [guard(token)], "{}", arrival.call);
    }
}

#[tokio::test]
async fn a_stale_guard_refuses_every_write_and_names_the_token_that_holds() {
    let fake = Fake::of(1).await;
    let token = fake.change(|store| store.hold(LOCK));
    let former = fake
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(token - 1))]);
    for written in write_everything(&former).await {
        let error = written.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StaleGuard);
        assert_eq!(error.current_token(), Some(Token::new(token)));
        assert!(!error.outcome_unknown() && !error.is_retryable());
    }
    assert!(fake.executed().is_empty());
    fake.change(|store| store.delete(LOCK.as_bytes()));
    let error = former.put("k", "v").await.unwrap_err();
    assert_eq!(error.current_token(), None, "nobody holds");
}

#[tokio::test]
async fn guards_of_the_handle_and_of_the_write_all_count() {
    let fake = Fake::of(1).await;
    let [token, other] = [LOCK, "other"].map(|key| fake.change(|store| store.hold(key)));
    let client = fake.client().await;
    let holder = client
        .guarded([Guard::new(LOCK, Token::new(token))])
        .guarded([Guard::new(LOCK, Token::new(token))]);
    assert_eq!(holder.guards(), [Guard::new(LOCK, Token::new(token))]);
    let put = holder
        .put("k", "v")
        .guard("other", Token::new(other))
        .guard(LOCK, Token::new(token));
    put.await.unwrap();
    let arrivals = fake.arrivals();
    assert_eq!(arrivals[0].guards, [("other".into(), other), guard(token)]);
    assert_eq!(
        client.guards(),
        [],
        "the client it was made from is as it was"
    );
}

#[tokio::test]
async fn reads_carry_no_guards() {
    let fake = Fake::of(1).await;
    let holder = fake
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    holder.get("k").await.unwrap();
    holder.txn().and_then(Get::new("k")).await.unwrap();
    assert!(
        fake.arrivals()
            .iter()
            .all(|arrival| arrival.guards.is_empty())
    );
}

#[tokio::test]
async fn handles_made_from_a_guarded_one_stay_guarded() {
    let fake = Fake::of(1).await;
    let holder = fake
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    let session = holder.sessions().open(PATIENCE).await.unwrap();
    let handles = [
        holder.clone(),
        holder.with_timeout(PATIENCE),
        holder.only(fake.nodes[0].wire.address()).unwrap(),
        session.client(),
    ];
    for handle in handles {
        let error = handle.put("k", "v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StaleGuard, "{handle:?}");
    }
}

/// A server that does not know guards would write without checking them.
#[tokio::test]
async fn a_guarded_write_is_not_sent_to_a_server_that_would_not_check() {
    let fake = Fake::of_etcd().await;
    let holder = fake
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    for written in write_everything(&holder).await {
        let error = written.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unimplemented);
        assert!(!error.outcome_unknown());
    }
    assert_eq!(fake.arrivals(), []);
}

#[tokio::test]
async fn a_bound_that_another_server_would_ignore_is_refused() {
    let fake = Fake::of_etcd().await;
    let client = fake.client().await;
    let bound = Revision::new(3);
    for error in [
        client.get("k").at_least_revision(bound).await.unwrap_err(),
        client.get("k").max_staleness(PATIENCE).await.unwrap_err(),
        client.sessions().open(PATIENCE).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unimplemented);
        assert!(error.message().contains("needs a tenure server"), "{error}");
    }
    assert_eq!(fake.arrivals(), [], "nothing was read");
}

#[tokio::test]
async fn a_call_that_cannot_be_guarded_is_refused_instead_of_being_sent_without() {
    let fake = Fake::of(1).await;
    let holder = fake
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    let added = holder
        .cluster()
        .add_member(["http://10.0.0.9:2380"], MemberRole::Voter)
        .await;
    assert_eq!(added.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
