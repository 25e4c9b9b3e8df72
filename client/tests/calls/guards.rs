//! Guards: every write of a guarded handle carries them, and a write whose guard cannot be checked
//! is not sent.

use bytes::Bytes;
use tenure::{Client, Error, ErrorKind, Get, Guard, LeaseId, MemberRole, Put, Revision, Token};

use crate::fake::{Cluster, PATIENCE};

const LOCK: &str = "jobs/42";

/// Every write that can be guarded, once.
async fn write_everything(client: &Client) -> Vec<Result<(), Error>> {
    vec![
        client.put("k", "v").await.map(drop),
        client.delete("k").await.map(drop),
        client.txn().and_then(Put::new("k", "v")).await.map(drop),
        client.compact(Revision::new(1)).await.map(drop),
        client.lease_grant(PATIENCE).await.map(drop),
        client.lease_revoke(LeaseId::new(1)).await.map(drop),
    ]
}

fn guard(token: i64) -> (Bytes, i64) {
    (Bytes::from(LOCK), token)
}

#[tokio::test]
async fn every_write_of_a_guarded_handle_carries_the_guard() {
    let cluster = Cluster::of(1).await;
    cluster.store.lock().held.insert(LOCK.into(), 7);
    let holder = cluster
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    let written = write_everything(&holder).await;
    assert_eq!(written.iter().filter(|written| written.is_err()).count(), 0);
    let arrivals = cluster.arrivals();
    assert_eq!(arrivals.len(), written.len());
    for arrival in arrivals {
        assert_eq!(arrival.guards, [guard(7)], "{}", arrival.call);
    }
}

#[tokio::test]
async fn a_stale_guard_refuses_every_write_and_names_the_token_that_holds() {
    let cluster = Cluster::of(1).await;
    cluster.store.lock().held.insert(LOCK.into(), 9);
    let former = cluster
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    for written in write_everything(&former).await {
        let error = written.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StaleGuard);
        assert_eq!(error.current_token(), Some(Token::new(9)));
        assert!(!error.outcome_unknown() && !error.is_retryable());
    }
    assert!(cluster.executed().is_empty());
    cluster.store.lock().held.clear();
    let error = former.put("k", "v").await.unwrap_err();
    assert_eq!(error.current_token(), None, "nobody holds");
}

#[tokio::test]
async fn guards_of_the_handle_and_of_the_write_all_count() {
    let cluster = Cluster::of(1).await;
    cluster.store.lock().held = [(LOCK.into(), 7), ("other".into(), 8)].into();
    let client = cluster.client().await;
    let holder = client
        .guarded([Guard::new(LOCK, Token::new(7))])
        .guarded([Guard::new(LOCK, Token::new(7))]);
    assert_eq!(holder.guards(), [Guard::new(LOCK, Token::new(7))]);
    let put = holder
        .put("k", "v")
        .guard("other", Token::new(8))
        .guard(LOCK, Token::new(7));
    put.await.unwrap();
    let arrivals = cluster.arrivals();
    assert_eq!(arrivals[0].guards, [("other".into(), 8), guard(7)]);
    assert_eq!(
        client.guards(),
        [],
        "the client it was made from is as it was"
    );
}

#[tokio::test]
async fn reads_carry_no_guards() {
    let cluster = Cluster::of(1).await;
    let holder = cluster
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    holder.get("k").await.unwrap();
    holder.txn().and_then(Get::new("k")).await.unwrap();
    assert!(
        cluster
            .arrivals()
            .iter()
            .all(|arrival| arrival.guards.is_empty())
    );
}

#[tokio::test]
async fn handles_made_from_a_guarded_one_stay_guarded() {
    let cluster = Cluster::of(1).await;
    let holder = cluster
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    let session = holder.session(PATIENCE).await.unwrap();
    let handles = [
        holder.clone(),
        holder.with_timeout(PATIENCE),
        holder.only(cluster.nodes[0].wire.address()).unwrap(),
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
    let cluster = Cluster::of_etcd().await;
    let holder = cluster
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    for written in write_everything(&holder).await {
        let error = written.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unimplemented);
        assert!(!error.outcome_unknown());
    }
    assert_eq!(cluster.arrivals(), []);
}

#[tokio::test]
async fn a_call_that_cannot_be_guarded_is_refused_instead_of_being_sent_without() {
    let cluster = Cluster::of(1).await;
    let holder = cluster
        .client()
        .await
        .guarded([Guard::new(LOCK, Token::new(7))]);
    let added = holder
        .member_add(["http://10.0.0.9:2380"], MemberRole::Voter)
        .await;
    assert_eq!(added.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
